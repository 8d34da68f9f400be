package udp

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipfixsuite/transport"
)

// collector records what a listener tells it, one line an event.
type collector struct {
	mu     sync.Mutex
	events []string
	refuse bool
	count  chan struct{} // one for each message, if not nil
}

type inboxOf struct {
	c    *collector
	name string
}

func (c *collector) note(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.events = append(c.events, fmt.Sprintf(format, args...))
}

func (c *collector) Open(p transport.Peer, props transport.Properties) (transport.Receiver, error) {
	c.note("open %v at %v %s %s", p.Remote, p.Local, p.Identity, p.Scheme)
	if c.refuse {
		return nil, errors.New("not wanted")
	}
	return &inboxOf{c, p.Remote.String()}, nil
}

func (r *inboxOf) Message(m transport.Incoming) {
	r.c.note("%s: %s", r.name, m.Data)
	if r.c.count != nil {
		r.c.count <- struct{}{}
	}
}
func (r *inboxOf) Barrier(func())   { r.c.note("barrier") }
func (r *inboxOf) Closed(err error) { r.c.note("%s closed: %v", r.name, err) }

// pipe is a DatagramConn without a network.
type pipe struct {
	in     chan transport.Datagram
	failed chan error
}

func (p *pipe) ReadBatch(ctx context.Context, dst []transport.Datagram) (int, error) {
	select {
	case d := <-p.in:
		dst[0] = d
		return 1, nil
	case err := <-p.failed:
		return 0, err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}
func (p *pipe) WriteBatch(b []transport.Datagram) (int, error) { return len(b), nil }
func (p *pipe) LocalAddr() netip.AddrPort                      { return netip.MustParseAddrPort("[::]:4739") }
func (p *pipe) MaxDatagram(netip.AddrPort) int                 { return 1232 }
func (p *pipe) SocketDrops() uint64                            { return 7 }
func (p *pipe) Unreachable() uint64                            { return 0 }
func (p *pipe) Close() error                                   { return nil }

func (p *pipe) send(peer, data string) {
	p.in <- transport.Datagram{Peer: netip.MustParseAddrPort(peer), Data: []byte(data)}
}

// bubble runs f against a listener in simulated time and returns the events,
// what Serve said, and the counters.
func bubble(t *testing.T, cfg Config, c *collector, f func(p *pipe, l transport.Listener)) (stats transport.ListenerStats, err error) {
	synctest.Test(t, func(t *testing.T) {
		p := &pipe{in: make(chan transport.Datagram), failed: make(chan error, 1)}
		l := NewListener(p, cfg)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- l.Serve(ctx, c) }()
		f(p, l)
		synctest.Wait()
		cancel()
		err = <-ended
		stats = l.Stats()
	})
	return stats, err
}

func TestListener_sessionsByAddressAndPort_RFC7011_10_3(t *testing.T) {
	c := &collector{}
	stats, err := bubble(t, Config{}, c, func(p *pipe, _ transport.Listener) {
		p.send("192.0.2.1:1", "a")
		p.send("192.0.2.1:1", "b")
		p.send("192.0.2.1:2", "c")
		p.send("[2001:db8::1]:1", "d")
		p.send("192.0.2.1:1", "e")
		p.in <- transport.Datagram{Peer: netip.MustParseAddrPort("192.0.2.1:1"), Local: netip.MustParseAddr("198.51.100.1"), Data: []byte("f")}
		p.send("192.0.2.9:1", "") // no session for nothing
		p.send("192.0.2.9:0", "x")
	})
	if err != nil {
		t.Error(err)
	}
	want := []string{
		"open 192.0.2.1:1 at [::]:4739 192.0.2.1 udp", "192.0.2.1:1: a", "192.0.2.1:1: b",
		"open 192.0.2.1:2 at [::]:4739 192.0.2.1 udp", "192.0.2.1:2: c",
		"open [2001:db8::1]:1 at [::]:4739 2001:db8::1 udp", "[2001:db8::1]:1: d",
		"192.0.2.1:1: e",
		"open 192.0.2.1:1 at 198.51.100.1:4739 192.0.2.1 udp", "192.0.2.1:1: f",
	}
	if d := cmp.Diff(want, c.events[:len(want)]); d != "" {
		t.Error(d)
	}
	closed := slices.Sorted(slices.Values(c.events[len(want):]))
	if d := cmp.Diff([]string{"192.0.2.1:1 closed: session closed", "192.0.2.1:1 closed: session closed", "192.0.2.1:2 closed: session closed", "[2001:db8::1]:1 closed: session closed"}, closed); d != "" {
		t.Error(d)
	}
	wantStats := transport.ListenerStats{DatagramsReceived: 8, BytesReceived: 7, SocketDrops: 7, SessionsOpened: 4, SessionsClosed: 4,
		Dropped: map[string]uint64{"empty": 1, "no-source": 1, "session-limit": 0, "prefix-limit": 0, "refused": 0}}
	if d := cmp.Diff(wantStats, stats); d != "" {
		t.Error(d)
	}
}

func TestListener_idle(t *testing.T) {
	c := &collector{}
	stats, _ := bubble(t, Config{IdleTimeout: 10 * time.Minute}, c, func(p *pipe, _ transport.Listener) {
		p.send("192.0.2.1:1", "a")
		p.send("192.0.2.2:1", "b")
		for range 11 {
			time.Sleep(time.Minute)
			p.send("192.0.2.2:1", "c")
		}
		p.send("192.0.2.1:1", "d")
	})
	// The closing falls between the ninth and eleventh minute.
	if at := slices.Index(c.events, "192.0.2.1:1 closed: idle"); at < 13 || at > 15 || slices.Contains(c.events, "192.0.2.2:1 closed: idle") {
		t.Error(strings.Join(c.events, "\n"))
	}
	if stats.SessionsOpened != 3 {
		t.Errorf("%+v", stats)
	}
}

func TestListener_limits(t *testing.T) {
	c := &collector{}
	stats, _ := bubble(t, Config{MaxSessions: 6, MaxSessionsPerPrefix: 2}, c, func(p *pipe, _ transport.Listener) {
		for i := range 5 {
			p.send(fmt.Sprintf("192.0.2.%d:1", i), "flood")
			p.send(fmt.Sprintf("[2001:db8:0:ff%02x::1]:1", i), "flood")
		}
		p.send("198.51.100.1:1", "x")
		p.send("198.51.101.1:1", "x")
		p.send("203.0.113.1:1", "too many in all")
		p.send("192.0.2.0:1", "a living session is not touched")
	})
	if stats.Dropped["prefix-limit"] != 6 || stats.Dropped["session-limit"] != 1 || stats.SessionsRefused != 7 || stats.SessionsOpened != 6 {
		t.Errorf("%+v", stats)
	}
	if !slices.Contains(c.events, "192.0.2.0:1: a living session is not touched") {
		t.Error(c.events)
	}
}

func TestListener_floodOfForgedAddressesPasses(t *testing.T) {
	c := &collector{}
	stats, _ := bubble(t, Config{MaxSessions: 8}, c, func(p *pipe, _ transport.Listener) {
		p.send("198.51.100.1:1", "a")
		p.send("198.51.100.1:1", "b")
		for i := range 10 {
			p.send(fmt.Sprintf("192.0.%d.1:1", i), "forged")
		}
		time.Sleep(2 * time.Minute)
		p.send("203.0.113.1:1", "new")
		p.send("198.51.100.1:1", "still there")
	})
	if stats.Dropped["session-limit"] != 3 || !slices.Contains(c.events, "203.0.113.1:1: new") || slices.Contains(c.events, "198.51.100.1:1 closed: idle") {
		t.Errorf("%+v\n%s", stats, strings.Join(c.events, "\n"))
	}
}

func TestListener_refusedByHandler(t *testing.T) {
	c := &collector{refuse: true}
	stats, _ := bubble(t, Config{}, c, func(p *pipe, _ transport.Listener) {
		for range 3 {
			p.send("192.0.2.1:1", "a")
		}
		time.Sleep(2 * time.Minute)
		p.send("192.0.2.1:1", "again")
	})
	if len(c.events) != 2 || stats.SessionsRefused != 2 || stats.Dropped["refused"] != 4 || stats.SessionsOpened != 0 || stats.SessionsClosed != 0 {
		t.Errorf("%v %+v", c.events, stats)
	}
}

func TestListener_socketFails(t *testing.T) {
	c := &collector{}
	_, err := bubble(t, Config{}, c, func(p *pipe, _ transport.Listener) {
		p.send("192.0.2.1:1", "a")
		p.failed <- errors.New("broken")
	})
	if err == nil || err.Error() != "udp listener on [::]:4739: broken" {
		t.Errorf("got %v", err)
	}
	if !slices.Contains(c.events, "192.0.2.1:1 closed: session closed") {
		t.Error(c.events)
	}
}

func TestSession(t *testing.T) {
	families(t, func(t *testing.T, addr netip.Addr) {
		in := listen(t, addr, Config{})
		l := NewListener(in, Config{})
		c := &collector{count: make(chan struct{}, 4096)}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		ended := make(chan error, 1)
		go func() { ended <- l.Serve(ctx, c) }()

		s, err := (&Dialer{Remote: l.Addr(), Config: Config{MTU: 1500}}).Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var batch []transport.Outgoing
		var want []string
		for i := range 600 {
			text := fmt.Sprintf("message %d", i)
			batch, want = append(batch, transport.Outgoing{Data: []byte(text)}), append(want, s.Peer().Local.String()+": "+text)
		}
		if n, err := s.Send(t.Context(), batch); n != len(batch) || err != nil {
			t.Fatalf("Send = %d, %v", n, err)
		}
		// Too large: nothing after it goes, what is before does.
		large := []transport.Outgoing{{Data: []byte("before")}, {Data: make([]byte, s.MaxMessage()+1)}, {Data: []byte("after")}}
		if n, err := s.Send(t.Context(), large); n != 1 || !errors.Is(err, transport.ErrTooLarge) {
			t.Errorf("Send = %d, %v", n, err)
		}
		for range len(batch) + 1 {
			select {
			case <-c.count:
			case <-soon(t).Done():
				t.Fatal("not all arrived")
			}
		}
		c.mu.Lock()
		if d := cmp.Diff(append(want, s.Peer().Local.String()+": before"), c.events[1:]); d != "" {
			t.Error(d)
		}
		c.mu.Unlock()
		if err := s.Probe(t.Context()); !errors.Is(err, transport.ErrNoProbe) {
			t.Errorf("Probe: %v", err)
		}
		st := s.Stats()
		if st.MessagesSent != 601 || st.SendErrors != 0 || st.UnreachableHints != 0 {
			t.Errorf("%+v", st)
		}
		// A batch sent just before the listener ends is not lost.
		if _, err := s.Send(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if got := l.Stats().DatagramsReceived; got != 1201 {
			t.Errorf("%d datagrams received, want 1201", got)
		}
		// The collector is gone: hints, nothing else.
		for range 20 {
			if n, err := s.Send(t.Context(), batch[:3]); n != 3 || err != nil {
				t.Fatalf("Send = %d, %v", n, err)
			}
		}
		if s.Stats().UnreachableHints == 0 {
			t.Error("no hint")
		}
		select {
		case <-s.Done():
			t.Errorf("ended: %v", s.Err())
		default:
		}
		for range 2 {
			if err := s.Close(t.Context()); err != nil {
				t.Error(err)
			}
		}
		<-s.Done()
		if _, err := s.Send(t.Context(), batch[:1]); !errors.Is(err, transport.ErrClosed) || s.Err() != nil {
			t.Errorf("after Close: Send %v, Err %v", err, s.Err())
		}
	})
}
