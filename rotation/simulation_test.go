package rotation

import (
	"math/rand/v2"
	"testing"
	"time"
)

// world is an owner that obeys a Machine and is hit by every misfortune:
// reports that fail, come late, twice or never, and sessions that die at any
// moment. It holds the Machine to its promises.
type world struct {
	t    *testing.T
	rng  *rand.Rand
	m    *Machine
	now  time.Time
	kind map[ID]Op // the last Op asked for; a session lives from Build to Closed
	act  ID
	late []event

	lastBuild time.Time
	built     map[ID]bool
	calm      bool // misfortune is over

	rotations, losses, failures int
}

type event struct {
	at   time.Time
	what func()
}

func (w *world) fault(p float64) bool { return !w.calm && w.rng.Float64() < p }

// report calls f now or later, maybe twice, maybe never.
func (w *world) report(f func()) {
	if w.fault(0.05) {
		return
	}
	delay := time.Duration(w.rng.ExpFloat64() * float64(50*time.Millisecond))
	if w.fault(0.05) {
		delay += time.Duration(w.rng.IntN(20)) * time.Second
	}
	w.late = append(w.late, event{w.now.Add(delay), f})
	if w.fault(0.1) {
		w.late = append(w.late, event{w.now.Add(2 * delay), f})
	}
}

func (w *world) do(a Action) {
	id := a.ID
	after := func(want ...Op) {
		w.t.Helper()
		for _, op := range want {
			if w.kind[id] == op {
				w.kind[id] = a.Op
				return
			}
		}
		w.t.Fatalf("session %d: asked for %d after %d", id, a.Op, w.kind[id])
	}
	switch a.Op {
	case Build:
		if _, known := w.kind[id]; known {
			w.t.Fatalf("session %d built twice", id)
		}
		w.kind[id] = Build
		if len(w.kind) > 2 {
			w.t.Fatalf("%d sessions", len(w.kind))
		}
		if d := w.now.Sub(w.lastBuild); d < time.Second {
			w.t.Fatalf("built again after %v", d)
		}
		w.lastBuild = w.now
		ok := !w.fault(0.3)
		w.report(func() {
			w.built[id] = ok
			w.m.Built(w.now, id, ok, a.Full || w.rng.IntN(4) == 0)
		})
	case Prime:
		after(Build)
		if !w.built[id] {
			w.t.Fatalf("session %d primed before it was there", id)
		}
		w.report(func() { w.m.Primed(w.now, id) })
	case Prove:
		after(Prime)
		w.report(func() { w.m.Proved(w.now, id) })
	case Swap:
		after(Prove)
		if a.Old != w.act {
			w.t.Fatalf("swapped %d for %d, active was %d", id, a.Old, w.act)
		}
		if w.act != 0 {
			w.rotations++
		}
		w.act = id
	case Drain:
		after(Swap)
		if id == w.act {
			w.t.Fatal("the active session drains")
		}
		w.report(func() { w.m.Drained(w.now, id) })
	case Close:
		after(Build, Prime, Prove, Swap, Drain)
		if id == w.act {
			w.t.Fatalf("session %d closed while active and well", id)
		}
		if a.Failed {
			w.failures++
		}
		// The close itself is bounded by the owner; only how long is open.
		w.late = append(w.late, event{w.now.Add(time.Duration(w.rng.IntN(2000)) * time.Millisecond), func() {
			if w.kind[id] == Close {
				delete(w.kind, id)
			}
			w.m.Closed(w.now, id)
		}})
	}
}

func (w *world) step() {
	for {
		a := w.m.Advance(w.now)
		if a.Op == Nothing {
			break
		}
		w.do(a)
	}
	if got := w.m.Active(); got != w.act {
		w.t.Fatalf("active %d, want %d", got, w.act)
	}
	next := w.m.Next()
	for _, e := range w.late {
		if next.IsZero() || e.at.Before(next) {
			next = e.at
		}
	}
	if limit := w.now.Add(3 * time.Second); next.IsZero() || next.After(limit) {
		next = limit
	}
	if next.After(w.now) {
		w.now = next
	}
	late := w.late
	w.late = nil
	for _, e := range late {
		if e.at.After(w.now) {
			w.late = append(w.late, e)
			continue
		}
		e.what()
	}
	if w.fault(0.1) {
		w.m.Want(Cause(w.rng.IntN(int(Lost)))) // never a lie about Lost
	}
	if w.fault(0.05) {
		w.m.Elsewhere()
	}
	if w.fault(0.05) {
		w.m.Forgo(Cause(w.rng.IntN(int(Lost) + 1)))
	}
	if w.fault(0.1) {
		// One of the sessions dies, in whatever step it is.
		id := w.m.last - ID(w.rng.IntN(3))
		if w.kind[id] != Nothing && w.kind[id] != Close {
			if id == w.act {
				w.act = 0
			}
			w.losses++
			w.m.Lost(w.now, id)
		}
	}
	w.m.Carried(uint64(w.rng.IntN(1000)), 0)
}

func TestSimulation(t *testing.T) {
	seeds := uint64(5000)
	if testing.Short() {
		seeds = 500
	}
	var rotations, losses, failures int
	for seed := range seeds {
		rng := rand.New(rand.NewPCG(seed, 1))
		cfg := Config{Period: time.Duration(rng.IntN(30)) * time.Second, FullEvery: rng.IntN(4), Records: uint64(rng.IntN(2) * 20_000)}
		w := &world{t: t, rng: rng, now: epoch, m: New(cfg, rng.Float64), kind: map[ID]Op{}, built: map[ID]bool{}}
		for range 300 {
			w.step()
		}
		// Afterwards a session is there within the longest backoff.
		w.calm = true
		before := w.rotations
		end := w.now.Add(2*time.Minute + cfg.Period)
		for w.now.Before(end) {
			w.step()
		}
		for _, p := range w.m.places {
			if p.state == closing && w.now.Sub(p.since) > 10*time.Second {
				t.Fatalf("seed %d: session %d closes for ever", seed, p.id)
			}
		}
		if cfg.Period > 0 && w.rotations == before {
			t.Fatalf("seed %d: no session is replaced any more", seed)
		}
		if w.act == 0 || w.m.Active() != w.act || len(w.kind) > 2 {
			t.Fatalf("seed %d: active %d of %v", seed, w.act, w.kind)
		}
		rotations, losses, failures = rotations+w.rotations, losses+w.losses, failures+w.failures
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	t.Logf("%d seeds: %d rotations, %d losses, %d sessions given up", seeds, rotations, losses, failures)
	if rotations == 0 || losses == 0 || failures == 0 {
		t.Error("nothing happened")
	}
}
