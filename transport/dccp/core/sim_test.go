package core

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"ipfixsuite/transport/dccp/ccid"
	"ipfixsuite/transport/dccp/ccid2"
	"ipfixsuite/transport/dccp/ccid3"
	"ipfixsuite/transport/dccp/sim"
	"ipfixsuite/transport/dccp/wire"
)

// scenario draws a path, two applications and two configurations.
func scenario(seed uint64) (*sim.Net, *simEnd, *simEnd, []*sim.Link) {
	n := sim.New(seed, start)
	rnd := rand.New(rand.NewPCG(seed, 77))
	some := func(p float64, f func() float64) float64 {
		if rnd.Float64() < p {
			return f()
		}
		return 0
	}
	link := func() *sim.Link {
		cfg := sim.LinkConfig{
			Delay:     time.Duration(rnd.IntN(150)) * time.Millisecond,
			Jitter:    time.Duration(rnd.IntN(20)) * time.Millisecond,
			Loss:      some(0.6, func() float64 { return rnd.Float64() * 0.3 }),
			Duplicate: some(0.4, func() float64 { return rnd.Float64() * 0.2 }),
			Reorder:   some(0.4, func() float64 { return rnd.Float64() * 0.2 }),
			ReorderBy: time.Duration(rnd.IntN(200)) * time.Millisecond,
		}
		if rnd.IntN(3) == 0 {
			cfg.BurstStart, cfg.BurstEnd = rnd.Float64()*0.02, 0.05+rnd.Float64()*0.3
		}
		if rnd.IntN(3) == 0 {
			cfg.Rate, cfg.Queue = int64(100_000+rnd.IntN(5_000_000)), 5000+rnd.IntN(50_000)
		}
		l := n.Link(cfg)
		if rnd.IntN(4) == 0 { // a path that large packets do not pass
			most := 600 + rnd.IntN(900)
			l.Filter = func(_ time.Time, b []byte) bool { return len(b) <= most }
		}
		return l
	}
	lists := [][]ccid.CCID{{ccid2.New()}, {ccid3.New()}, {ccid2.New(), ccid3.New()}, {ccid3.New(), ccid2.New()}}
	// Lists that have something in common.
	both := rnd.IntN(2)
	pick := func() []ccid.CCID {
		if k := rnd.IntN(3); k < 2 {
			return lists[2+k]
		}
		return lists[both]
	}
	end := func(name string) *simEnd {
		cfg := Config{CCIDs: pick(), MTU: 576, QueueMessages: 1 + rnd.IntN(50), Policy: QueuePolicy(max(0, rnd.IntN(8)-5)),
			HoldTimeWait: rnd.IntN(2) == 0, DataChecksum: rnd.IntN(4) == 0}
		if rnd.IntN(2) == 0 {
			cfg.MaxMTU = 1460
		}
		if rnd.IntN(4) == 0 {
			cfg.SequenceWindow = 32 + rnd.Uint64N(100)
		}
		most := 20 + rnd.IntN(500)
		e := &simEnd{seed: seed, name: name, cfg: cfg, arrived: map[uint64]bool{}, wired: map[uint64]bool{},
			came: map[wire.Seq]bool{}, size: func() int { return 9 + rnd.IntN(most) }}
		if rnd.IntN(4) > 0 {
			e.toSend = 1 + rnd.IntN(200)
		}
		e.refuse = func() bool { return false }
		if rnd.IntN(5) == 0 {
			e.refuse = func() bool { return rnd.IntN(10) == 0 }
		}
		e.fates = make([]EventKind, e.toSend)
		return e
	}
	a, b := end("client"), end("server")
	a.peer, b.peer = b, a
	switch rnd.IntN(4) {
	case 0:
		a.closes = true
	case 1:
		b.closes = true
	case 2:
		a.closes, b.closes = true, true
	case 3:
		a.closes, b.aborts = true, rnd.IntN(2) == 0
	}
	a.tuple, b.tuple = Tuple{LocalPort: 40000, RemotePort: 5001}, Tuple{LocalPort: 5001, RemotePort: 40000}
	lc := ListenerConfig{Config: b.cfg, Services: []wire.ServiceCode{service}, Rand: testRand(seed)}
	switch rnd.IntN(8) {
	case 0, 1:
		lc.MaxHalfOpen = -1 // cookies for everybody
	case 2, 3: // cookies now and then
		some := rand.New(rand.NewPCG(seed, 78))
		b.crowded = func() bool { return some.IntN(2) == 0 }
	}
	a.listener, _ = NewListener(ListenerConfig{Rand: testRand(seed + 1)})
	b.listener, _ = NewListener(lc)
	a.c = NewClient(n.Now(), a.cfg, Ports{Local: 40000, Remote: 5001, Service: service}, wire.MakeSeq(rnd.Uint64()))
	links := []*sim.Link{link(), link()}
	a.node, b.node = n.Connect(a, b, links[:1], links[1:])
	return n, a, b, links
}

// simSeeds is how many runs there are: DCCP_SEEDS asks for more.
func simSeeds(t *testing.T, usual int) (from, to uint64) {
	if s := os.Getenv("DCCP_SEED"); s != "" {
		v, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return v, v + 1
	}
	if s := os.Getenv("DCCP_SEEDS"); s != "" {
		v, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return 0, v
	}
	return 0, uint64(usual)
}

// fates counts what became of messages.
type fates map[EventKind]int

// lives runs one scenario to its end and judges it.
func lives(t *testing.T, seed uint64, sum fates) {
	n, a, b, links := scenario(seed)
	bad := 10 * time.Minute
	if seed%3 == 0 {
		bad = 5 * time.Second // handshakes are under way
	}
	if err := n.Run(bad); err != nil {
		t.Errorf("seed %d: %v", seed, err)
		return
	}
	mid := fmt.Sprintf("%v %v", a.c.State(), stateOf(b))
	// From now on nothing is lost: what has not ended, ends.
	for _, l := range links {
		l.Set(sim.LinkConfig{Delay: 10 * time.Millisecond})
		l.Filter = nil
	}
	err := n.Run(3 * time.Minute)
	if s := a.c.State(); s == StatePartOpen {
		a.fault("still %v, three minutes after the path was mended; server %v", s, stateOf(b))
	}
	if err == nil {
		err = n.Run(40 * time.Minute)
	}
	for _, e := range []*simEnd{a, b} {
		if err != nil {
			e.fault("%v", err)
		}
		if e.c == nil {
			continue // every Request was lost
		}
		if s := e.c.State(); s != StateClosed {
			e.fault("still %v, %d of %d messages sent (after %v: %s)", s, e.sent, e.toSend, bad, mid)
		}
		unknown := 0
		for _, k := range e.fates[:e.sent] {
			sum[k]++
			if k == 0 {
				unknown++
			}
		}
		if unknown > 0 {
			e.fault("nothing known of %d messages", unknown)
		}
		if e.listener.halfOpen > 1 {
			e.fault("%d half-open connections", e.listener.halfOpen)
		}
		for _, f := range e.faults {
			t.Errorf("seed %d: %s", seed, f)
		}
	}
}

// TestSimulation lets connections of all kinds live their lives over paths of
// all kinds: none waits for ever, each packet keeps to the rules, and what is
// told of messages is true.
func TestSimulation(t *testing.T) {
	from, to := simSeeds(t, 2000)
	for half := range uint64(2) {
		t.Run([]string{"even", "odd"}[half], func(t *testing.T) {
			t.Parallel()
			sum, runs := fates{}, 0
			for seed := from + half; seed < to; seed += 2 {
				lives(t, seed, sum)
				runs++
			}
			t.Logf("%d lives: %d delivered, %d lost, %d unconfirmed, %d dropped", runs,
				sum[EventDelivered], sum[EventLost], sum[EventUnconfirmed], sum[EventDropped])
			if runs > 10 && (sum[EventDelivered] < 30*runs || sum[EventLost] < runs) {
				t.Error("too little happened: the test proves nothing")
			}
		})
	}
}

func stateOf(e *simEnd) State {
	if e.c == nil {
		return StateClosed
	}
	return e.c.State()
}
