package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"time"

	"ipfixsuite/collect"
	"ipfixsuite/ie"
	"ipfixsuite/ipfix"
	"ipfixsuite/pki"
	"ipfixsuite/templates"
	"ipfixsuite/test/workload"
	"ipfixsuite/transport"
	"ipfixsuite/transport/credentials"
	"ipfixsuite/transport/dtls"
	"ipfixsuite/transport/udp"
)

const (
	sessionLimit  = 6000 // octets
	templateLimit = 600
)

// memory prints what a collector keeps for each idle session and template.
func memory(out io.Writer, sessions int) error {
	fmt.Fprint(out, "| kept in a collector | octets | target | |\n|---|---:|---:|---|\n")
	template, err := perTemplate()
	if err != nil {
		return err
	}
	row(out, "template of 20 fields (T20)", template, templateLimit)
	bare, err := perSession(sessions, bareHandler{})
	if err != nil {
		return err
	}
	row(out, "idle DTLS/UDP session, transport alone", bare, sessionLimit)
	whole, err := perSession(sessions, collect.New(collect.Config{}))
	if err != nil {
		return err
	}
	row(out, "idle DTLS/UDP session, with its state in the Collecting Process", whole, sessionLimit)
	fmt.Fprintf(out, "\nHeap and stacks in use after collection, %d sessions of one exporter by full handshakes with X.509 on both sides.\n\n", sessions)
	return nil
}

func row(out io.Writer, what string, octets, limit float64) {
	word := "met"
	if octets > limit {
		word = "missed"
	}
	fmt.Fprintf(out, "| %s | %.0f | %.0f | %s |\n", what, octets, limit, word)
}

// inUse is the memory in use by heap objects and stacks.
func inUse() float64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc + m.StackInuse)
}

// perTemplate fills many stores, since one session's templates are bounded.
func perTemplate() (float64, error) {
	const each, stores = 1000, 50
	w := workload.T20(1)
	var set ipfix.Set
	for s, err := range ipfix.Sets(w.Setup) {
		if err != nil {
			return 0, err
		}
		set = s
	}
	all := make([]*templates.Store, stores)
	before := inUse()
	for i := range all {
		all[i] = templates.NewStore(templates.StoreConfig{Registry: ie.IANA()}, nil)
		for id := range each {
			body := append([]byte(nil), set.Body...)
			n := 256 + id
			body[0], body[1] = byte(n>>8), byte(n)
			all[i].Domain(1).Templates(templates.Message{Now: time.Unix(1, 0)}, ipfix.Set{ID: set.ID, Offset: set.Offset, Body: body}, func(templates.Change) {})
		}
		if all[i].Lookup(1, 256+each-1) == nil {
			return 0, fmt.Errorf("a store takes less than %d templates", each)
		}
	}
	after := inUse()
	runtime.KeepAlive(all)
	return (after - before) / (each * stores), nil
}

// bareHandler gives sessions a Receiver that keeps nothing.
type bareHandler struct{}

func (bareHandler) Open(transport.Peer, transport.Properties) (transport.Receiver, error) {
	return bareReceiver{}, nil
}

type bareReceiver struct{}

func (bareReceiver) Message(transport.Incoming) {}
func (bareReceiver) Barrier(done func())        { done() }
func (bareReceiver) Closed(error)               {}

// perSession serves n sessions of another process.
func perSession(n int, h transport.Handler) (float64, error) {
	dir, err := os.MkdirTemp("", "ipfix-bench-pki-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	creds, err := makePKI(dir)
	if err != nil {
		return 0, err
	}
	conn, err := udp.Listen(netip.MustParseAddrPort("127.0.0.1:0"), udp.Config{})
	if err != nil {
		return 0, err
	}
	l := dtls.NewListener(conn, dtls.Config{Credentials: creds})
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- l.Serve(ctx, h) }() // ended by stop
	defer func() {
		stop()
		<-served
	}()

	// The first batch warms up what is there once: tables, pools, caches.
	warm := n / 4
	first, err := startClient(l.Addr(), dir, warm)
	if err != nil {
		return 0, err
	}
	defer first.stop()
	before := inUse()
	second, err := startClient(l.Addr(), dir, n)
	if err != nil {
		return 0, err
	}
	defer second.stop()
	time.Sleep(200 * time.Millisecond) // what ends with a handshake ends
	after := inUse()
	if open := l.Stats().SessionsOpened; open != uint64(warm+n) {
		return 0, fmt.Errorf("%d sessions opened, want %d", open, warm+n)
	}
	return (after - before) / float64(n), nil
}

func makePKI(dir string) (*credentials.Credentials, error) {
	if err := pki.Init(dir, pki.Options{}); err != nil {
		return nil, err
	}
	for _, name := range []string{"collector", "exporter"} {
		if err := pki.Issue(dir, name, []string{"127.0.0.1"}, pki.Options{}); err != nil {
			return nil, err
		}
	}
	return load(dir, "collector")
}

func load(dir, name string) (*credentials.Credentials, error) {
	file := func(s string) string { return filepath.Join(dir, s) }
	return credentials.Load(credentials.Config{CertFile: file(name + ".pem"), KeyFile: file(name + "-key.pem"), CAFile: file("ca.pem")})
}

// client is this program holding sessions until its standard input ends.
type client struct {
	cmd *exec.Cmd
	in  io.WriteCloser
}

func startClient(to netip.AddrPort, dir string, n int) (*client, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := &client{cmd: exec.Command(self, "-client", to.String(), "-pki", dir, "-sessions", strconv.Itoa(n))}
	c.cmd.Stderr = os.Stderr
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	if !bufio.NewScanner(out).Scan() { // "ready"
		return nil, fmt.Errorf("client: %w", c.cmd.Wait())
	}
	return c, nil
}

func (c *client) stop() {
	_ = c.in.Close()
	_ = c.cmd.Wait()
}

// holdSessions is the client's process.
func holdSessions(to, dir string, n int) error {
	addr, err := netip.ParseAddrPort(to)
	if err != nil {
		return err
	}
	creds, err := load(dir, "exporter")
	if err != nil {
		return err
	}
	held := make([]transport.Session, n)
	for i := range held {
		// A Dialer of its own resumes nothing.
		d := dtls.Dialer{
			Connect: func(ctx context.Context) (transport.DatagramConn, netip.AddrPort, error) {
				c, err := udp.Connect(ctx, addr, udp.Config{})
				return c, addr, err
			},
			Config: dtls.Config{Credentials: creds, ServerName: addr.Addr().String()},
		}
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		held[i], err = d.Dial(ctx)
		if err == nil {
			err = held[i].Probe(ctx) // with this the handshake is over for both
		}
		cancel()
		if err != nil {
			return err
		}
	}
	fmt.Println("ready")
	_, err = io.Copy(io.Discard, os.Stdin)
	for _, s := range held {
		_ = s.Close(context.Background())
	}
	return err
}
