package endpoint

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipfixsuite/transport"
)

func ports(list ...string) (out []netip.AddrPort) {
	for _, a := range list {
		out = append(out, netip.AddrPortFrom(netip.MustParseAddr(a), 4740))
	}
	return out
}

func TestInterleave_RFC8305_4(t *testing.T) {
	for _, c := range []struct{ in, want []netip.AddrPort }{
		{ports("2001:db8::1", "2001:db8::2", "192.0.2.1", "192.0.2.2"), ports("2001:db8::1", "192.0.2.1", "2001:db8::2", "192.0.2.2")},
		{ports("192.0.2.1", "2001:db8::1", "2001:db8::2", "2001:db8::3"), ports("192.0.2.1", "2001:db8::1", "2001:db8::2", "2001:db8::3")},
		{ports("192.0.2.2", "192.0.2.1"), ports("192.0.2.2", "192.0.2.1")},
		{ports("2001:db8::1"), ports("2001:db8::1")},
	} {
		if diff := cmp.Diff(c.want, interleave(c.in), cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
			t.Error(diff)
		}
	}
}

// session is a transport.Session that can only be closed.
type session struct {
	transport.Session
	closed *atomic.Int32
}

func (s session) Close(context.Context) error { s.closed.Add(1); return nil }

// Addresses are tried a quarter of a second apart, or as soon as the one
// before has failed; the first that answers wins.
func TestRace_RFC8305_5(t *testing.T) {
	const never = time.Hour
	fails := func(after time.Duration) time.Duration { return -after }
	for _, c := range []struct {
		name   string
		takes  []time.Duration // until it answers; negative: until it fails
		first  time.Duration   // the first one's head start
		winner int             // -1: none
		took   time.Duration
		begun  []time.Duration
	}{
		{"the first answers at once", []time.Duration{100 * time.Millisecond, 0}, attemptDelay, 0, 100 * time.Millisecond, []time.Duration{0}},
		{"the first is mute", []time.Duration{never, 100 * time.Millisecond, 0}, attemptDelay, 1, 350 * time.Millisecond, []time.Duration{0, 250 * time.Millisecond}},
		{"the first is slow, and still the first", []time.Duration{300 * time.Millisecond, 100 * time.Millisecond}, attemptDelay, 0, 300 * time.Millisecond, []time.Duration{0, 250 * time.Millisecond}},
		{"the first is known", []time.Duration{900 * time.Millisecond, 0}, knownDelay, 0, 900 * time.Millisecond, []time.Duration{0}},
		{"the first is known and dead", []time.Duration{never, 50 * time.Millisecond}, knownDelay, 1, 1050 * time.Millisecond, []time.Duration{0, time.Second}},
		{"no route", []time.Duration{fails(0), fails(10 * time.Millisecond), 20 * time.Millisecond}, attemptDelay, 2, 30 * time.Millisecond, []time.Duration{0, 0, 10 * time.Millisecond}},
		{"all fail", []time.Duration{fails(400 * time.Millisecond), fails(0), fails(0)}, attemptDelay, -1, 400 * time.Millisecond, []time.Duration{0, 250 * time.Millisecond, 250 * time.Millisecond}},
		{"all are mute", []time.Duration{never, never}, attemptDelay, -1, 5 * time.Second, []time.Duration{0, 250 * time.Millisecond}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				var mu sync.Mutex
				var begun []time.Duration
				delay := func(i int) time.Duration {
					if i == 0 {
						return c.first
					}
					return attemptDelay
				}
				s, winner, errs := race(ctx, len(c.takes), delay, func(ctx context.Context, i int) (transport.Session, error) {
					mu.Lock()
					begun = append(begun, time.Since(began))
					mu.Unlock()
					d := c.takes[i]
					select {
					case <-time.After(max(d, -d)):
					case <-ctx.Done():
						return nil, ctx.Err()
					}
					if d < 0 || d == 0 && c.winner != i {
						return nil, fmt.Errorf("address %d", i)
					}
					return session{closed: new(atomic.Int32)}, nil
				})
				if took := time.Since(began); took != c.took {
					t.Errorf("took %v, want %v", took, c.took)
				}
				mu.Lock()
				defer mu.Unlock()
				if !slices.Equal(begun, c.begun) {
					t.Errorf("begun at %v, want %v", begun, c.begun)
				}
				if (s != nil) != (c.winner >= 0) || s != nil && winner != c.winner {
					t.Errorf("won by %d, %v", winner, errs)
				}
				if c.winner < 0 && len(errs) != len(c.takes) {
					t.Errorf("errors %v", errs)
				}
			})
		})
	}
}

// Who answers too late is told goodbye.
func TestRace_latecomersAreClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var closed atomic.Int32
		s, winner, _ := race(t.Context(), 3, func(int) time.Duration { return time.Millisecond }, func(_ context.Context, i int) (transport.Session, error) {
			time.Sleep(time.Duration(10-3*i) * time.Millisecond) // deaf to its context
			return session{closed: &closed}, nil
		})
		synctest.Wait()
		if s == nil || winner != 2 || closed.Load() != 0 {
			t.Fatalf("winner %d, closed %d", winner, closed.Load())
		}
		time.Sleep(time.Second)
		if closed.Load() != 2 {
			t.Errorf("%d of 2 closed", closed.Load())
		}
	})
}

// names is a resolver whose answers a test changes.
type names struct {
	mu    sync.Mutex
	addrs []netip.Addr
	err   error
}

func (n *names) set(err error, addrs ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.err, n.addrs = err, nil
	for _, a := range addrs {
		n.addrs = append(n.addrs, netip.MustParseAddr(a))
	}
}

func (n *names) lookup(context.Context, string) ([]netip.Addr, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.addrs), n.err
}

// A name's addresses change under a session.
func TestDialer_Moved(t *testing.T) {
	exporter, collector := creds(t)
	l, err := Listen(parse(t, "dtls+udp://:0"), Config{Credentials: collector})
	if err != nil {
		t.Fatal(err)
	}
	serve(t, l)
	var dns names
	e := parse(t, "dtls+udp://collector.example")
	e.Port = l.Addr().Port()
	d, err := Dialer(e, Config{Credentials: exporter, Lookup: dns.lookup})
	if err != nil {
		t.Fatal(err)
	}
	moves := func(remote netip.AddrPort) (bool, error) {
		return d.(interface {
			Moved(context.Context, netip.AddrPort) (bool, error)
		}).Moved(t.Context(), remote)
	}
	dns.set(nil, "127.0.0.1")
	s, err := d.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	remote := s.Peer().Remote
	for _, c := range []struct {
		name  string
		err   error
		addrs []string
		moved bool
	}{
		{"the same", nil, []string{"127.0.0.1"}, false},
		{"one more", nil, []string{"127.0.0.2", "127.0.0.1"}, false},
		{"nobody knows", errors.New("server misbehaving"), nil, false},
		{"moved", nil, []string{"127.0.0.2"}, true},
		{"to another family", nil, []string{"::1"}, true},
	} {
		dns.set(c.err, c.addrs...)
		moved, err := moves(remote)
		if moved != c.moved || (err != nil) != (c.err != nil) {
			t.Errorf("%s: %v, %v", c.name, moved, err)
		}
	}
	if moved, err := moves(netip.MustParseAddrPort("192.0.2.1:4740")); moved || err != nil {
		t.Errorf("an address that is not ours: %v, %v", moved, err)
	}
	dns.set(nil, "127.0.0.2")
	next, err := d.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := next.Peer().Remote; got.Addr() != netip.MustParseAddr("127.0.0.2") {
		t.Errorf("the next session goes to %v", got)
	}
	if moved, _ := moves(next.Peer().Remote); moved {
		t.Error("moved again")
	}
	_, _ = s.Close(t.Context()), next.Close(t.Context())

	// An address does not move.
	a := parse(t, "dtls+udp://127.0.0.1")
	a.Port = l.Addr().Port()
	if d, err = Dialer(a, Config{Credentials: exporter, Lookup: dns.lookup}); err != nil {
		t.Fatal(err)
	}
	if s, err = d.Dial(t.Context()); err != nil {
		t.Fatal(err)
	}
	if moved, err := moves(s.Peer().Remote); moved || err != nil {
		t.Errorf("an address moved: %v, %v", moved, err)
	}
	_ = s.Close(t.Context())
}

// Of a name that leads to IPv6 and IPv4 the family that answers is used, and
// from then on first.
func TestDialer_bothFamilies(t *testing.T) {
	exporter, collector := creds(t)
	l, err := Listen(parse(t, "dtls+udp://127.0.0.1:0"), Config{Credentials: collector})
	if err != nil {
		t.Fatal(err)
	}
	in := serve(t, l)
	var dns names
	dns.set(nil, "2001:db8::1", "2001:db8::2", "127.0.0.1")
	e := parse(t, "dtls+udp://collector.example")
	e.Port = l.Addr().Port()
	d, err := Dialer(e, Config{Credentials: exporter, Lookup: dns.lookup})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		s, err := d.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if s.Peer().Remote != l.Addr() || s.Peer().Resumed != (i == 1) {
			t.Errorf("session %d: to %v, resumed %v", i, s.Peer().Remote, s.Peer().Resumed)
		}
		if n, err := s.Send(t.Context(), []transport.Outgoing{{Data: []byte("hello")}}); n != 1 || err != nil {
			t.Fatalf("%d, %v", n, err)
		}
		select {
		case <-in.got: // the collector's end is done with its handshake, too: it keeps the session
		case <-time.After(time.Minute):
			t.Fatal("nothing arrives")
		}
		_ = s.Close(t.Context())
	}
}
