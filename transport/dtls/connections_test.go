package dtls

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ipfixsuite/transport"
)

// lines are connections in memory: each is a network of two ends.
type lines struct {
	offered chan *memConn
	closed  chan struct{}
	once    sync.Once
}

func newLines() *lines { return &lines{offered: make(chan *memConn, 16), closed: make(chan struct{})} }

func (l *lines) Accept(ctx context.Context) (transport.DatagramConn, netip.AddrPort, error) {
	select {
	case c := <-l.offered:
		return c, netip.MustParseAddrPort(addrN(1)), nil
	case <-l.closed:
		return nil, netip.AddrPort{}, errors.New("closed")
	case <-ctx.Done():
		return nil, netip.AddrPort{}, ctx.Err()
	}
}
func (l *lines) Addr() netip.AddrPort { return netip.MustParseAddrPort(collectorAddr) }
func (l *lines) Close() error         { l.once.Do(func() { close(l.closed) }); return nil }

// connect makes a connection and returns a dialer that has its other end.
func (l *lines) connect(cfg Config) *Dialer {
	return &Dialer{Config: cfg, Connect: func(context.Context) (transport.DatagramConn, netip.AddrPort, error) {
		n := newMemNetwork()
		l.offered <- n.listen(collectorAddr)
		return n.listen(addrN(1)), netip.MustParseAddrPort(collectorAddr), nil
	}}
}

func serveLines(t *testing.T, l *lines, cfg Config) (*connections, *sink) {
	t.Helper()
	c := NewConnectionListener(l, cfg).(*connections)
	k := newSink()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- c.Serve(ctx, k) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Serve: %v", err)
		}
		if len(c.living) > 0 || c.half != 0 || len(c.prefix) > 0 {
			t.Errorf("left: %d connections, %d half-open", len(c.living), c.half)
		}
	})
	return c, k
}

// One session on each connection; its end is the connection's (RFC 5238,
// Section 3.2), and the next is resumed on another one.
func TestConnections(t *testing.T) {
	collector, exporter := mutual(t)
	l := newLines()
	c, k := serveLines(t, l, collector)
	d := l.connect(exporter)
	for i := range 3 {
		s := dial(t, d)
		send(t, s, "hello")
		wait(t, k.opened, "session")
		probe(t, s)
		if s.Peer().Resumed != (i > 0) {
			t.Errorf("session %d resumed: %v", i, s.Peer().Resumed)
		}
		if err := s.Close(t.Context()); err != nil {
			t.Error(err)
		}
		eventually(t, "the connection's end", func() bool {
			c.mu.Lock()
			defer c.mu.Unlock()
			return len(c.living) == 0
		})
	}
	if st := c.Stats(); st.SessionsOpened != 3 || st.SessionsClosed != 3 || st.SessionsResumed != 2 || st.ProbesAnswered != 3 || len(st.Dropped) != 0 {
		t.Errorf("stats %+v", st)
	}
}

// A connection without a session is not kept, and their number is bounded.
func TestConnections_HalfOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		collector, _ := mutual(t)
		collector.HandshakeTimeout, collector.MaxHalfOpen = 50*time.Millisecond, 2
		l := newLines()
		c, _ := serveLines(t, l, collector)
		n := newMemNetwork()
		for range 3 {
			l.offered <- n.listen(collectorAddr)
		}
		eventually(t, "the third to be refused", func() bool { return c.Stats().HandshakesLimited == 1 })
		eventually(t, "the others' end", func() bool {
			c.mu.Lock()
			defer c.mu.Unlock()
			return len(c.living) == 0
		})
	})
}

// The carrier's end is the session's.
func TestConnections_CarrierEnds(t *testing.T) {
	collector, exporter := mutual(t)
	l := newLines()
	_, k := serveLines(t, l, collector)
	n := newMemNetwork()
	conn := n.listen(collectorAddr)
	l.offered <- conn
	d := memDialer(n, collectorAddr, exporter, addrN(1))
	dial(t, d)
	var s *sunk
	select {
	case s = <-k.opened:
	case <-time.After(patience):
		t.Fatal("no session")
	}
	_ = conn.Close()
	wait(t, s.closed, "the session's end")
	if s.reason == nil {
		t.Error("a lost connection is no orderly end")
	}
}
