//go:build linux

package sctp

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"ipfixsuite/pki"
	"ipfixsuite/test/harness"
	"ipfixsuite/test/uml"
	"ipfixsuite/transport"
	"ipfixsuite/transport/credentials"
	"ipfixsuite/transport/dtls"
	"ipfixsuite/transport/sctp"
	"ipfixsuite/transport/sctp/kernel"
	"ipfixsuite/transport/sctp/userspace"
)

const (
	// patience is for what comes at once, in a slow guest.
	patience = time.Minute

	plainPort  = 4739
	securePort = 4740
)

// newNetwork is two namespaces, A for exporters and B for collectors, whose
// kernels compute SCTP's checksums themselves, and cut packets before they
// leave: the kernel's own runs of SCTP in UDP, whole, get lost on a veth.
func newNetwork(t *testing.T) *harness.Network {
	t.Helper()
	n := harness.NewNetwork(t)
	n.Up()
	for ns, dev := range map[string]string{n.A: "va", n.B: "vb"} {
		n.Run(ns, "ethtool -K "+dev+" tx-checksum-sctp off tx-sctp-segmentation off gso off")
	}
	return n
}

func address(ip string, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr(ip), port)
}

// stack is one of ours, in a namespace.
type stack struct {
	name string
	dial func(ctx context.Context, to netip.AddrPort, c sctp.Config) (sctp.Association, error)
	open func(at netip.AddrPort, c sctp.Config) (sctp.Acceptor, error)
}

var kernelStack = stack{
	"kernel",
	func(ctx context.Context, to netip.AddrPort, c sctp.Config) (sctp.Association, error) {
		return kernel.Dial(ctx, nil, []netip.AddrPort{to}, c)
	},
	func(at netip.AddrPort, c sctp.Config) (sctp.Acceptor, error) {
		return kernel.Listen([]netip.AddrPort{at}, c)
	},
}

var userStack = stack{
	"user space",
	func(ctx context.Context, to netip.AddrPort, c sctp.Config) (sctp.Association, error) {
		return userspace.Dial(ctx, to, userspace.Config{Config: c})
	},
	func(at netip.AddrPort, c sctp.Config) (sctp.Acceptor, error) {
		return userspace.Listen(at, userspace.Config{Config: c})
	},
}

// sunk is what a collector has of one session.
type sunk struct {
	peer   transport.Peer
	got    chan transport.Incoming
	closed chan error
}

func (s *sunk) Message(m transport.Incoming) {
	m.Data = bytes.Clone(m.Data)
	s.got <- m
}
func (s *sunk) Barrier(done func()) { done() }
func (s *sunk) Closed(reason error) { s.closed <- reason }
func (s *sunk) next(t *testing.T) transport.Incoming {
	t.Helper()
	return receive(t, s.got, "message")
}

type sink chan *sunk

func (k sink) Open(p transport.Peer, _ transport.Properties) (transport.Receiver, error) {
	s := &sunk{peer: p, got: make(chan transport.Incoming, 1<<15), closed: make(chan error, 1)}
	k <- s
	return s, nil
}

func receive[T any](t *testing.T, c <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatalf("no %s", what)
	}
	panic("unreachable")
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// sides are the configurations of a collector and an exporter, in the clear or
// with certificates of one authority.
type sides struct {
	collector, exporter sctp.SessionConfig
	auth                bool
	port                uint16
	six                 bool // IPv6
}

// at is where the collector is.
func (s sides) at() netip.AddrPort {
	if s.six {
		return address("2001:db8::2", s.port)
	}
	return address("192.0.2.2", s.port)
}

func clear() sides { return sides{port: plainPort} }

func secure(t *testing.T) sides {
	t.Helper()
	cfg, _ := secureIn(t)
	return cfg
}

// secureIn tells the folder of the certificates, too.
func secureIn(t *testing.T) (cfg sides, dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := pki.Init(dir, pki.Options{}); err != nil {
		t.Fatal(err)
	}
	load := func(name, keylog string) *credentials.Credentials {
		if err := pki.Issue(dir, name, nil, pki.Options{}); err != nil {
			t.Fatal(err)
		}
		c, err := credentials.Load(credentials.Config{
			CertFile: filepath.Join(dir, name+".pem"), KeyFile: filepath.Join(dir, name+"-key.pem"), CAFile: filepath.Join(dir, pki.CAFile),
			KeyLogFile: keylog,
		})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	return sides{
		collector: sctp.SessionConfig{DTLS: &dtls.Config{Credentials: load("collector.test", "")}},
		exporter:  sctp.SessionConfig{DTLS: &dtls.Config{Credentials: load("exporter.test", uml.Shared("keys.log")), ServerName: "collector.test"}},
		auth:      true, port: securePort,
	}, dir
}

// there is a collector that serves in B.
type there struct {
	transport.Listener
	sessions sink
	stop     func() error
}

func serve(t *testing.T, n *harness.Network, s stack, cfg sides, c sctp.Config) *there {
	t.Helper()
	c.Auth = cfg.auth
	var a sctp.Acceptor
	var err error
	n.Inside(n.B, func() { a, err = s.open(cfg.at(), c) })
	if err != nil {
		t.Fatal(err)
	}
	l := &there{Listener: sctp.NewListener(a, cfg.collector), sessions: make(sink, 64)}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- l.Serve(ctx, l.sessions) }()
	l.stop = sync.OnceValue(func() error { cancel(); return <-ended })
	t.Cleanup(func() {
		if err := l.stop(); err != nil {
			t.Errorf("collector: %v", err)
		}
	})
	return l
}

// dial opens a session from A.
func dial(t *testing.T, n *harness.Network, s stack, cfg sides, c sctp.Config) transport.Session {
	t.Helper()
	session, err := tryDial(t, n, s, cfg, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = session.Close(within(t)) })
	return session
}

func tryDial(t *testing.T, n *harness.Network, s stack, cfg sides, c sctp.Config) (transport.Session, error) {
	t.Helper()
	c.Auth = cfg.auth
	d := sctp.Dialer{Config: cfg.exporter, Connect: func(ctx context.Context) (a sctp.Association, err error) {
		n.Inside(n.A, func() { a, err = s.dial(ctx, cfg.at(), c) })
		return a, err
	}}
	return d.Dial(within(t))
}

func send(t *testing.T, s transport.Session, batch ...transport.Outgoing) {
	t.Helper()
	if k, err := s.Send(within(t), batch); err != nil || k != len(batch) {
		t.Fatalf("sent %d of %d: %v", k, len(batch), err)
	}
}

// numbered is the i-th message of so many octets.
func numbered(i, size int) []byte {
	b := fmt.Appendf(make([]byte, 0, size), "message %d ", i)
	for len(b) < size {
		b = append(b, byte(i))
	}
	return b
}

func number(b []byte) (i int) {
	if _, err := fmt.Sscanf(string(b[:min(len(b), 30)]), "message %d ", &i); err != nil {
		return -1
	}
	return i
}
