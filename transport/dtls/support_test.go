package dtls

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"testing"
	"time"

	"ipfixsuite/transport"
)

// sink is a Handler and keeps what its sessions bring.
type sink struct {
	mu       sync.Mutex
	sessions []*sunk
	opened   chan *sunk
	refuse   error
	open     func()                     // in Open
	barrier  func(s *sunk, done func()) // default: done at once
}

type sunk struct {
	sink     *sink
	peer     transport.Peer
	props    transport.Properties
	mu       sync.Mutex
	messages []string
	closed   chan struct{}
	reason   error
	got      chan string
}

func newSink() *sink { return &sink{opened: make(chan *sunk, 1024)} }

func (k *sink) Open(p transport.Peer, props transport.Properties) (transport.Receiver, error) {
	if k.refuse != nil {
		return nil, k.refuse
	}
	if k.open != nil {
		k.open()
	}
	s := &sunk{sink: k, peer: p, props: props, closed: make(chan struct{}), got: make(chan string, 4096)}
	k.mu.Lock()
	k.sessions = append(k.sessions, s)
	k.mu.Unlock()
	k.opened <- s
	return s, nil
}

func (s *sunk) Message(m transport.Incoming) {
	s.mu.Lock()
	s.messages = append(s.messages, string(m.Data))
	s.mu.Unlock()
	s.got <- string(m.Data)
}

func (s *sunk) Barrier(done func()) {
	if s.sink.barrier != nil {
		s.sink.barrier(s, done)
		return
	}
	done()
}

func (s *sunk) Closed(reason error) {
	s.reason = reason
	close(s.closed)
}

// serving is a listener that serves.
type serving struct {
	transport.Listener
	l    *listener
	sink *sink
	log  *lockedBuffer
	stop func() error
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func serve(t testing.TB, conn transport.DatagramConn, cfg Config) *serving {
	t.Helper()
	log := &lockedBuffer{}
	cfg.Log = slog.New(slog.NewTextHandler(log, nil))
	l := NewListener(conn, cfg)
	s := &serving{Listener: l, l: l.(*listener), sink: newSink(), log: log}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- l.Serve(ctx, s.sink) }()
	var once sync.Once
	s.stop = func() (err error) {
		once.Do(func() {
			cancel()
			err = <-ended
		})
		return err
	}
	t.Cleanup(func() {
		if err := s.stop(); err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return s
}

// memDialer dials over a memory network from the given addresses, one after the
// other; the last serves for all that follow.
func memDialer(n *memNetwork, to string, cfg Config, from ...string) *Dialer {
	var mu sync.Mutex
	return &Dialer{Config: cfg, Connect: func(context.Context) (transport.DatagramConn, netip.AddrPort, error) {
		mu.Lock()
		defer mu.Unlock()
		addr := from[0]
		if len(from) > 1 {
			from = from[1:]
		}
		return n.listen(addr), netip.MustParseAddrPort(to), nil
	}}
}

func dial(t testing.TB, d *Dialer) *session {
	t.Helper()
	return dialWithin(t, d, 30*time.Second)
}

func dialWithin(t testing.TB, d *Dialer, most time.Duration) *session {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), most)
	defer cancel()
	s, err := d.Dial(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close(context.Background()) })
	return s.(*session)
}

func send(t testing.TB, s transport.Session, messages ...string) {
	t.Helper()
	var batch []transport.Outgoing
	for _, m := range messages {
		batch = append(batch, transport.Outgoing{Data: []byte(m)})
	}
	if n, err := s.Send(context.Background(), batch); err != nil || n != len(batch) {
		t.Fatalf("sent %d of %d: %v", n, len(batch), err)
	}
}

const patience = 10 * time.Second

func expect(t testing.TB, s *sunk, want ...string) {
	t.Helper()
	for _, w := range want {
		select {
		case got := <-s.got:
			if got != w {
				t.Fatalf("received %q, want %q", got, w)
			}
		case <-time.After(patience):
			t.Fatalf("%q never came", w)
		}
	}
}

func (s *serving) session(t testing.TB) *sunk {
	t.Helper()
	select {
	case got := <-s.sink.opened:
		return got
	case <-time.After(patience):
		t.Fatalf("no session opened; log: %s", s.log)
		return nil
	}
}

func wait[T any](t testing.TB, c <-chan T, what string) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(patience):
		t.Fatalf("%s never happened", what)
	}
}

// eventually polls: for counters that another goroutine moves.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if f() {
			return
		}
	}
	t.Fatalf("%s never happened", what)
}

func probe(t testing.TB, s transport.Session) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.Probe(ctx); err != nil {
		t.Fatalf("probe: %v", err)
	}
}

// mutual is a collector and an exporter of one authority.
func mutual(t testing.TB) (collector, exporter Config) {
	t.Helper()
	a := newAuthority(t, "test CA")
	collector = Config{Credentials: a.creds(t, "collector.test", nil, nil)}
	exporter = Config{Credentials: a.creds(t, "exporter.test", nil, nil), ServerName: "collector.test"}
	return collector, exporter
}

func addrN(i int) string { return fmt.Sprintf("192.0.2.%d:%d", 1+i%250, 10000+i) }

// inbound is the session of a listener that has one; Open is told of one before it is
// installed.
func (s *serving) inbound(t testing.TB) (first *inbound) {
	t.Helper()
	eventually(t, "a session's installation", func() bool {
		s.l.mu.Lock()
		defer s.l.mu.Unlock()
		for _, in := range s.l.sessions() {
			first = in
		}
		return first != nil
	})
	return first
}
