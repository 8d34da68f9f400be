package export

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// simTally is what happened, in short.
type simTally struct {
	seeds, rotations, crashes, stops, lost, replayed, overtaken, excused, unreadable uint64
}

func (a *simTally) add(b simTally) {
	a.seeds += b.seeds
	a.rotations += b.rotations
	a.crashes += b.crashes
	a.stops += b.stops
	a.lost += b.lost
	a.replayed += b.replayed
	a.overtaken += b.overtaken
	a.excused += b.excused
	a.unreadable += b.unreadable
}

// simulate runs one seed.
func simulate(t *testing.T, seed uint64) simTally {
	rng := rand.New(rand.NewPCG(seed, 3))
	w := &simWorld{
		rng: rng, durable: &simDisk{written: map[int]int{}}, lost: map[int]bool{}, late: map[int]bool{},
		delay: time.Duration(1+rng.IntN(40)) * time.Millisecond,
	}
	w.begin()
	if seed%3 != 0 {
		w.loss, w.dup = 0.2*rng.Float64()*rng.Float64(), 0.05
		w.jitter = time.Duration(rng.IntN(300)) * time.Millisecond
	}
	if seed%3 != 1 {
		w.crashes = 0.01
	}
	if seed%4 == 2 {
		w.stops = 0.01
	}
	const n = 600
	cfg := Config{
		Dialer: w, Rotate: time.Duration(1+rng.IntN(4)) * time.Second, FullHandshakeEvery: 3, MaxDelay: 20 * time.Millisecond,
		Window: 16 << 10, StatsInterval: 5 * time.Second, Streams: Streams(seed % 4),
	}
	e := start(t, cfg)
	source := rand.New(rand.NewPCG(seed, 4)) // the other one is the world's now
	for i := 1; i <= n; i++ {
		e.write(i, i)
		if i%10 == 0 {
			time.Sleep(time.Duration(source.IntN(500)) * time.Millisecond)
		}
	}
	w.mu.Lock()
	w.crashes, w.stops = 0, 0
	w.mu.Unlock()
	if err := e.close(10 * time.Minute); err != nil {
		t.Errorf("seed %d: %v", seed, err)
	}
	// What is on its way arrives, and the collector's flusher, which sends its
	// answers, has nothing left to do.
	time.Sleep(5 * time.Second)
	w.wg.Wait()
	sum := e.Summary()
	for _, s := range w.sessions {
		if s.epoch == w.epoch && !s.gone {
			s.close()
		}
	}
	w.account()
	w.wg.Wait() // for answers that nobody waits for
	missing, excused, gone, unreadable := 0, uint64(0), uint64(0), w.unreadable()
	for i := 1; i <= n; i++ {
		if w.durable.written[i] > 0 {
			continue
		}
		gone++
		// What a probe overtook is there, unless that was by far, and the
		// process ended before it came, or had written again.
		switch {
		case w.lost[i] || unreadable[i]:
		case w.late[i] && w.crashed+w.stopped > 0:
			excused++
		default:
			missing++
		}
	}
	for _, s := range w.sessions {
		for _, p := range s.problem {
			t.Errorf("seed %d, session %d: %s", seed, s.id, p)
		}
	}
	if missing > 0 || w.most > 2 || sum.RecordsSent != n || sum.RecordsDropped != 0 || sum.RecordsUnconfirmed != 0 {
		t.Errorf("seed %d: %d records missing, %d sessions at most, %+v", seed, missing, w.most, sum)
	}
	if w.crashed == 0 && w.loss == 0 && sum.CollectorsLost > 0 || w.stopped == 0 && sum.CollectorsClosed > 0 {
		t.Errorf("seed %d: %d crashes, %d ends in order: %+v", seed, w.crashed, w.stopped, sum)
	}
	if w.crashed+w.stopped == 0 && seed%3 == 0 && sum.RecordsReplayed > 0 {
		t.Errorf("seed %d: %d replayed without a crash or a loss", seed, sum.RecordsReplayed)
	}
	// The collector knows what did not arrive, but for what nothing came after,
	// and what it forgot with its process.
	if told, silent := w.unarrived(); w.crashed == 0 {
		// Between sets that could not be read it does not know which are lost.
		a := &w.told
		if a.Lost > told || a.Lost+a.Unreadable < told || a.Unreadable == 0 && a.Lost != told || gone > told+silent+uint64(len(unreadable)) {
			t.Errorf("seed %d: %d records are nowhere, %d did not arrive and %d as the last of a session, the collector's account is %+v",
				seed, gone, told, silent, w.told)
		}
	}
	for i := 1; i < len(w.dials); i++ {
		if gap := w.dials[i].Sub(w.dials[i-1]); gap < time.Second {
			t.Errorf("seed %d: dialled again after %v", seed, gap)
		}
	}
	return simTally{1, sum.Rotations, uint64(w.crashed), uint64(w.stopped), sum.CollectorsLost, sum.RecordsReplayed, uint64(w.overtaken), excused, uint64(len(unreadable))}
}

// Over thousands of seeds every record is written at least once, unless the
// network itself lost it, and then the collector knows; none goes before its
// Template; there are never more than two sessions.
func TestSimulation_CrashesAtEveryStep(t *testing.T) {
	seeds := uint64(2000)
	if testing.Short() {
		seeds = 100
	}
	var mu sync.Mutex
	var all simTally
	t.Run("seeds", func(t *testing.T) {
		for part := range uint64(4) {
			t.Run(fmt.Sprint(part), func(t *testing.T) {
				t.Parallel()
				for seed := part; seed < seeds && !t.Failed(); seed += 4 {
					synctest.Test(t, func(t *testing.T) {
						one := simulate(t, seed)
						mu.Lock()
						defer mu.Unlock()
						all.add(one)
					})
				}
			})
		}
	})
	t.Logf("%d seeds: %d rotations, %d crashes, %d ends in order, %d sessions lost, %d records sent again, %d overtaken by a probe (%d of them missing), %d without a Template",
		all.seeds, all.rotations, all.crashes, all.stops, all.lost, all.replayed, all.overtaken, all.excused, all.unreadable)
	if all.rotations == 0 || all.crashes == 0 || all.stops == 0 || all.overtaken == 0 {
		t.Error("nothing happened")
	}
	if all.unreadable > all.seeds { // of 600 each
		t.Error("Templates are not repeated")
	}
}
