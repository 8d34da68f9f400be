package tcp

import (
	"context"
	"encoding/binary"
	"errors"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"ipfixsuite/pki"
	"ipfixsuite/transport"
	"ipfixsuite/transport/credentials"
)

// message is an IPFIX Message of n octets that can be told from others.
func message(n, number int) []byte {
	b := make([]byte, n)
	binary.BigEndian.PutUint16(b, ipfixNumber)
	binary.BigEndian.PutUint16(b[2:], uint16(n))
	binary.BigEndian.PutUint32(b[8:], uint32(number))
	for i := headerLen; i < n; i++ {
		b[i] = byte(number + i)
	}
	return b
}

// sink opens sessions and keeps what they bring.
type sink struct {
	refuse error
	opened chan *sunk
}

type sunk struct {
	peer   transport.Peer
	props  transport.Properties
	mu     sync.Mutex
	got    [][]byte
	more   chan struct{}
	closed chan error
}

func newSink() *sink { return &sink{opened: make(chan *sunk, 4096)} }

func (k *sink) Open(p transport.Peer, props transport.Properties) (transport.Receiver, error) {
	if k.refuse != nil {
		return nil, k.refuse
	}
	s := &sunk{peer: p, props: props, more: make(chan struct{}, 1), closed: make(chan error, 1)}
	k.opened <- s
	return s, nil
}

func (s *sunk) Message(m transport.Incoming) {
	s.mu.Lock()
	s.got = append(s.got, append([]byte(nil), m.Data...))
	s.mu.Unlock()
	select {
	case s.more <- struct{}{}:
	default:
	}
}
func (s *sunk) Barrier(func())      {}
func (s *sunk) Closed(reason error) { s.closed <- reason }

// messages waits until n have come.
func (s *sunk) messages(t testing.TB, n int) [][]byte {
	t.Helper()
	for {
		s.mu.Lock()
		got := s.got
		s.mu.Unlock()
		if len(got) >= n {
			return got
		}
		wait(t, s.more, "a message")
	}
}

func wait[T any](t testing.TB, c <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(20 * time.Second):
		t.Fatalf("no %s after 20 s", what)
		panic("unreachable")
	}
}

// serving is a Listener at work.
type serving struct {
	transport.Listener
	*sink
	stop context.CancelFunc
	over chan error
}

func serve(t testing.TB, cfg Config) *serving {
	t.Helper()
	return serveAt(t, "127.0.0.1:0", cfg, newSink())
}

func serveAt(t testing.TB, addr string, cfg Config, k *sink) *serving {
	t.Helper()
	l, err := Listen(netip.MustParseAddrPort(addr), cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	s := &serving{Listener: l, sink: k, stop: stop, over: make(chan error, 1)}
	go func() { s.over <- l.Serve(ctx, k) }() // ended by stop
	t.Cleanup(func() {
		stop()
		select {
		case err := <-s.over:
			if err != nil {
				t.Errorf("Serve: %v", err)
			}
		case <-time.After(20 * time.Second):
			t.Error("Serve does not end")
		}
	})
	return s
}

// end stops the listener and waits.
func (s *serving) end(t testing.TB) {
	t.Helper()
	s.stop()
	s.over <- wait(t, s.over, "end of Serve")
}

func dial(t testing.TB, d *Dialer) transport.Session {
	t.Helper()
	s, err := d.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = s.Close(ctx)
	})
	return s
}

// send hands messages over, however long that takes.
func send(t testing.TB, s transport.Session, batch ...[]byte) {
	t.Helper()
	out := make([]transport.Outgoing, len(batch))
	for i, m := range batch {
		out[i].Data = m
	}
	for len(out) > 0 {
		n, err := s.Send(t.Context(), out)
		out = out[n:]
		if err != nil && !errors.Is(err, transport.ErrBusy) {
			t.Fatal(err)
		}
	}
}

// authority is a CA with certificates of an exporter and a collector.
type authority string

func newAuthority(t testing.TB) authority {
	t.Helper()
	dir := t.TempDir()
	if err := pki.Init(dir, pki.Options{}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"collector", "exporter", "other"} {
		if err := pki.Issue(dir, name, []string{"127.0.0.1"}, pki.Options{}); err != nil {
			t.Fatal(err)
		}
	}
	return authority(dir)
}

func (a authority) file(name string) string { return filepath.Join(string(a), name) }

func (a authority) config(name string, allow ...string) credentials.Config {
	return credentials.Config{CertFile: a.file(name + ".pem"), KeyFile: a.file(name + "-key.pem"), CAFile: a.file("ca.pem"), Allow: allow}
}

func (a authority) creds(t testing.TB, name string, allow ...string) *credentials.Credentials {
	t.Helper()
	c, err := credentials.Load(a.config(name, allow...))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (a authority) dialer(t testing.TB, to netip.AddrPort) *Dialer {
	return &Dialer{Remote: to, Config: Config{Credentials: a.creds(t, "exporter"), ServerName: "collector"}}
}
