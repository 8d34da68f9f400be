package sctp

import (
	"bytes"
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"testing"
	"time"

	"ipfixsuite/pki"
	"ipfixsuite/transport"
	"ipfixsuite/transport/credentials"
	"ipfixsuite/transport/dtls"
)

const patience = 20 * time.Second

// sunk is what one session brought.
type sunk struct {
	peer   transport.Peer
	props  transport.Properties
	got    chan transport.Incoming
	closed chan error
	hold   func(done func()) // takes barriers; nil: done at once
}

func (s *sunk) Message(m transport.Incoming) {
	m.Data = bytes.Clone(m.Data)
	s.got <- m
}

func (s *sunk) Barrier(done func()) {
	if s.hold != nil {
		s.hold(done)
		return
	}
	done()
}
func (s *sunk) Closed(reason error) { s.closed <- reason }

// sink is a Handler that keeps everything.
type sink struct {
	opened chan *sunk
	refuse error
	hold   func(done func())
	slow   chan struct{} // Open waits for it
}

func (k *sink) Open(p transport.Peer, props transport.Properties) (transport.Receiver, error) {
	if k.slow != nil {
		<-k.slow
	}
	if k.refuse != nil {
		return nil, k.refuse
	}
	s := &sunk{peer: p, props: props, got: make(chan transport.Incoming, 1<<14), closed: make(chan error, 1), hold: k.hold}
	k.opened <- s
	return s, nil
}

// serving is a listener that serves.
type serving struct {
	*listener
	acceptor *memoryAcceptor
	sink     *sink
	stop     func() error // and wait for Serve
}

func serve(t testing.TB, cfg SessionConfig, edit ...func(*sink)) *serving {
	t.Helper()
	a := newMemoryAcceptor()
	k := &sink{opened: make(chan *sunk, 64)}
	for _, e := range edit {
		e(k)
	}
	cfg.Log = slog.New(slog.DiscardHandler)
	l := NewListener(a, cfg).(*listener)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- l.Serve(ctx, k) }()
	s := &serving{listener: l, acceptor: a, sink: k}
	var once sync.Once
	var err error
	s.stop = func() error {
		once.Do(func() { cancel(); err = <-ended })
		return err
	}
	t.Cleanup(func() { _ = s.stop() })
	return s
}

func (s *serving) session(t testing.TB) *sunk {
	t.Helper()
	return receive(t, s.sink.opened, "session")
}

func receive[T any](t testing.TB, c <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatalf("no %s", what)
	}
	panic("unreachable")
}

// connect offers one end to the listener and dials with the other.
func connect(t testing.TB, s *serving, cfg SessionConfig, client, server *memory) *session {
	t.Helper()
	s.acceptor.offered <- server
	d := &Dialer{Config: cfg, Connect: func(context.Context) (Association, error) { return client, nil }}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	got, err := d.Dial(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = got.Close(atOnce) })
	return got.(*session)
}

var listed = []byte{ChunkData, ChunkForwardTSN}

func send(t testing.TB, s transport.Session, batch ...transport.Outgoing) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if n, err := s.Send(ctx, batch); err != nil || n != len(batch) {
		t.Fatalf("sent %d of %d: %v", n, len(batch), err)
	}
}

func expect(t testing.TB, s *sunk, want ...transport.Outgoing) {
	t.Helper()
	for _, w := range want {
		if got := receive(t, s.got, "message"); got.Stream != w.Stream || !bytes.Equal(got.Data, w.Data) {
			t.Fatalf("got %.40q on stream %d, want %.40q on %d", got.Data, got.Stream, w.Data, w.Stream)
		}
	}
}

func out(stream uint16, data string) transport.Outgoing {
	return transport.Outgoing{Stream: stream, Data: []byte(data)}
}

func closeSession(t testing.TB, s transport.Session) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	return s.Close(ctx)
}

func ask(t testing.TB, s transport.Session) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	return s.Probe(ctx)
}

// mutual are configurations with certificates of one authority.
func mutual(t testing.TB) (collector, exporter SessionConfig) {
	t.Helper()
	a := newAuthority(t)
	return SessionConfig{DTLS: &dtls.Config{Credentials: a.issue(t, "collector.test")}},
		SessionConfig{DTLS: &dtls.Config{Credentials: a.issue(t, "exporter.test"), ServerName: "collector.test"}}
}

type authority struct{ dir string }

func newAuthority(t testing.TB) *authority {
	t.Helper()
	a := &authority{t.TempDir()}
	if err := pki.Init(a.dir, pki.Options{}); err != nil {
		t.Fatal(err)
	}
	return a
}

func (a *authority) issue(t testing.TB, name string, edit ...func(*credentials.Config)) *credentials.Credentials {
	t.Helper()
	cfg := credentials.Config{CAFile: a.dir + "/ca.pem", CertFile: a.dir + "/" + name + ".pem", KeyFile: a.dir + "/" + name + "-key.pem"}
	if err := pki.Issue(a.dir, name, nil, pki.Options{}); err != nil {
		t.Fatal(err)
	}
	for _, e := range edit {
		e(&cfg)
	}
	c, err := credentials.Load(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func addrPort(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

// until waits for what comes about beside the test.
func until(t testing.TB, what string, so func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	late := time.After(patience)
	for !so() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("no %s", what)
		}
	}
}
