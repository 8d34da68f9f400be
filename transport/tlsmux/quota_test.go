package tlsmux

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"ipfixsuite/transport"
	"ipfixsuite/transport/tlsmux/core"
)

// However many sessions a peer has, its channels' windows stay within their
// bound, and those of all peers within theirs; each window has room for the
// longest message, and what is given back can be had again.
func TestQuota(t *testing.T) {
	const most, mostPerPrefix = 600 << 20, 256 << 20
	rng := rand.New(rand.NewPCG(1, 4740))
	q := quota{most: most, mostPerPrefix: mostPerPrefix}
	type grant struct {
		from   netip.Prefix
		window uint32
	}
	var out []grant
	var all int64
	used := map[netip.Prefix]int64{}
	refused := 0
	for range 100_000 {
		if len(out) > 0 && rng.IntN(5) == 0 {
			i := rng.IntN(len(out))
			g := out[i]
			out[i] = out[len(out)-1]
			out = out[:len(out)-1]
			q.give(g.from, g.window)
			all, used[g.from] = all-int64(g.window), used[g.from]-int64(g.window)
			continue
		}
		from := transport.SourcePrefix(netip.AddrFrom4([4]byte{192, 0, byte(rng.IntN(4)), byte(rng.Uint32())}))
		window, err := q.take(from, core.DefaultWindow)
		if err != nil {
			refused++
			if !errors.Is(err, core.ErrFull) || mostPerPrefix-used[from] >= leastWindow && most-all >= leastWindow {
				t.Fatalf("%v with %d octets in use, %d of all", err, used[from], all)
			}
			continue
		}
		if window < leastWindow || window > core.DefaultWindow {
			t.Fatalf("a window of %d", window)
		}
		out = append(out, grant{from, window})
		all, used[from] = all+int64(window), used[from]+int64(window)
		if all > most || used[from] > mostPerPrefix {
			t.Fatalf("%d octets in use, %d of all", used[from], all)
		}
	}
	if refused == 0 {
		t.Error("nothing was refused")
	}
	for _, g := range out {
		q.give(g.from, g.window)
	}
	if q.all != 0 || len(q.byPrefix) != 0 {
		t.Errorf("%d octets and %d networks are left", q.all, len(q.byPrefix))
	}
	// An exporter with as many domains as there can be replaces its session.
	q = quota{most: DefaultMaxWindows, mostPerPrefix: DefaultMaxWindowsPerPrefix}
	for range 2 * streams {
		if _, err := q.take(netip.Prefix{}, core.DefaultWindow); err != nil {
			t.Fatal(err)
		}
	}
}

// The sum counts over sessions: a second one gets what the first has left, and
// all when that has ended.
func TestQuota_OverSessions(t *testing.T) {
	p := start(t, true, CollectorConfig{MaxWindowsPerPrefix: 4 * leastWindow})
	open := func(s transport.Session, n int) (refused error) {
		m := s.(*session).mux
		for range n {
			if _, err := m.Open(t.Context(), Address(s.Peer().Local), s.(*session).to); err != nil {
				refused = err
			}
		}
		return refused
	}
	first := p.dial(t) // with a channel
	if err := open(first, 2); err != nil {
		t.Error(err)
	}
	second := p.dial(t)
	if e, ok := errors.AsType[*RefusedError](open(second, 1)); !ok || e.Reason != core.ErrFull.Error() {
		t.Errorf("a channel beyond the bound: %v", e)
	}
	if n := p.listener.Stats().Dropped["channel-refused"]; n != 1 {
		t.Errorf("channel-refused %d", n)
	}
	_ = first.Close(t.Context())
	late := time.Now().Add(20 * time.Second)
	for err := open(second, 1); err != nil; err = open(second, 1) { // its channels end now
		if time.Now().After(late) {
			t.Fatal(err)
		}
	}
}
