package export

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ipfixsuite/transport"
)

// simWorld is a collector that crashes behind a network that loses, doubles,
// delays and reorders; the Exporter under test is the real one.
type simWorld struct {
	mu  sync.Mutex
	rng *rand.Rand

	loss, dup float64
	delay     time.Duration // one way
	jitter    time.Duration
	crashes   float64 // the chance of one in each step
	stops     float64 // of an end in order

	epoch    int // of the collector's process; 0: it is down
	epochs   int
	sessions []*simSession
	handling int // handshakes under way
	most     int
	dials    []time.Time

	durable map[int]int  // how often a record was written
	excused map[int]bool // lost by the network, or overtaken by a probe
	crashed int
	stopped int
	wg      sync.WaitGroup
}

// simSession is the exporter's end. Its testSession insists that Templates are
// sent before data; here is what becomes of it on the way.
type simSession struct {
	*testSession
	w       *simWorld
	epoch   int
	pending []int     // read by the collector, not yet written
	barrier time.Time // when the last request to arrive was first sent
	gone    bool      // the collector knows that it is over
}

func (w *simWorld) chance(p float64) bool { return w.rng.Float64() < p }

func (w *simWorld) trip() time.Duration {
	return w.delay + time.Duration(w.rng.Float64()*float64(w.jitter))
}

// step is a moment at which the collector may crash.
func (w *simWorld) step() {
	if w.epoch != 0 && w.chance(w.crashes) {
		w.crash()
	}
	if w.epoch != 0 && w.stops > 0 && w.chance(w.stops) {
		w.stop()
	}
}

// stop ends the collector in order: what it read is written, and the sessions
// are told.
func (w *simWorld) stop() {
	for _, s := range w.sessions {
		if s.epoch != w.epoch || s.gone {
			continue
		}
		s.write()
		w.later(func() { s.fail(transport.ErrPeerClosed) })
	}
	w.stopped++
	w.restart()
}

func (w *simWorld) crash() {
	w.crashed++
	for _, s := range w.sessions {
		s.pending = nil
	}
	w.restart()
}

func (w *simWorld) restart() {
	w.epoch = 0
	down := time.Duration(w.rng.Float64() * w.rng.Float64() * float64(8*time.Second))
	w.wg.Go(func() {
		time.Sleep(down)
		w.mu.Lock()
		defer w.mu.Unlock()
		w.epochs++
		w.epoch = w.epochs
	})
}

// later runs f at the other end, or never.
func (w *simWorld) later(f func()) (lost bool) {
	if w.chance(w.loss) {
		return true
	}
	copies := 1
	if w.chance(w.dup) {
		copies = 2
	}
	for range copies {
		d := w.trip()
		w.wg.Go(func() {
			time.Sleep(d)
			w.mu.Lock()
			defer w.mu.Unlock()
			f()
		})
	}
	return false
}

func (w *simWorld) Dial(ctx context.Context) (transport.Session, error) {
	w.mu.Lock()
	w.dials = append(w.dials, time.Now())
	w.handling++
	open := w.handling
	for _, s := range w.sessions {
		if !ended(s) {
			open++
		}
	}
	w.most = max(w.most, open)
	w.step()
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		w.handling--
		w.mu.Unlock()
	}()
	for flight, wait := 0, 200*time.Millisecond; flight < 2; {
		w.mu.Lock()
		d := w.trip() + w.trip()
		ok := w.epoch != 0 && !w.chance(2*w.loss)
		w.mu.Unlock()
		if ok {
			flight++
		} else {
			d, wait = wait, 2*wait
		}
		select {
		case <-time.After(d):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.epoch == 0 {
		return nil, errRefused
	}
	s := &simSession{testSession: newTestSession(uint64(len(w.sessions)+1), dtlsLike, 500), w: w, epoch: w.epoch}
	w.sessions = append(w.sessions, s)
	w.step()
	return s, nil
}

func (s *simSession) Send(ctx context.Context, batch []transport.Outgoing) (int, error) {
	for i := range batch {
		before := len(numbers(s.domain()))
		if n, err := s.testSession.Send(ctx, batch[i:i+1]); n == 0 {
			return i, err
		}
		records := numbers(s.domain())[before:]
		s.w.mu.Lock()
		sent := time.Now()
		lost := s.w.later(func() { s.arrive(records, sent) })
		if lost {
			s.w.excuse(records)
		}
		s.w.step()
		s.w.mu.Unlock()
	}
	return len(batch), nil
}

func (s *simSession) domain() *testDomain {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.domains[0]
}

func (w *simWorld) excuse(records []int) {
	for _, n := range records {
		w.excused[n] = true
	}
}

func (s *simSession) arrive(records []int, sent time.Time) {
	if s.gone || !s.barrier.IsZero() && !sent.After(s.barrier) {
		s.w.excuse(records) // reordered behind what confirmed it
	}
	if s.w.epoch == s.epoch && !s.gone {
		s.pending = append(s.pending, records...)
	}
}

// write is the sinks' part.
func (s *simSession) write() {
	for _, n := range s.pending {
		s.w.durable[n]++
	}
	s.pending = nil
}

func (s *simSession) Probe(ctx context.Context) error {
	answer := make(chan struct{}, 64)
	begun := time.Now()
	for wait := 200 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		s.w.mu.Lock()
		s.w.step()
		s.w.later(func() {
			if s.w.epoch != s.epoch || s.gone {
				return
			}
			if begun.After(s.barrier) {
				s.barrier = begun
			}
			s.write()
			s.w.step()
			if s.w.epoch == 0 {
				return
			}
			s.w.later(func() { answer <- struct{}{} })
		})
		s.w.mu.Unlock()
		select {
		case <-answer:
			s.mu.Lock()
			s.answered++
			s.mu.Unlock()
			return nil
		case <-s.done:
			return transport.ErrClosed
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
}

func (s *simSession) Close(ctx context.Context) error {
	s.fail(nil)
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	s.w.later(func() { s.gone = true })
	return nil
}

// simulate runs one seed and returns what happened, in short.
func simulate(t *testing.T, seed uint64) (rotations, lost, crashes, stops, replayed uint64) {
	rng := rand.New(rand.NewPCG(seed, 3))
	w := &simWorld{
		rng: rng, durable: map[int]int{}, excused: map[int]bool{}, epoch: 1, epochs: 1,
		delay: time.Duration(1+rng.IntN(40)) * time.Millisecond,
	}
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
	w.wg.Wait()
	sum := e.Summary()
	missing := 0
	for i := 1; i <= n; i++ {
		if w.durable[i] == 0 && !w.excused[i] {
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
	for i := 1; i < len(w.dials); i++ {
		if gap := w.dials[i].Sub(w.dials[i-1]); gap < time.Second {
			t.Errorf("seed %d: dialled again after %v", seed, gap)
		}
	}
	return sum.Rotations, sum.CollectorsLost, uint64(w.crashed), uint64(w.stopped), sum.RecordsReplayed
}

// Over thousands of seeds every record is written at least once, unless the
// network itself lost it; none goes before its Template; there are never more
// than two sessions.
func TestSimulation_CrashesAtEveryStep(t *testing.T) {
	seeds := uint64(2000)
	if testing.Short() || raceEnabled {
		seeds = 100
	}
	var mu sync.Mutex
	var rotations, lost, crashes, stops, replayed uint64
	t.Run("seeds", func(t *testing.T) {
		for part := range uint64(4) {
			t.Run(fmt.Sprint(part), func(t *testing.T) {
				t.Parallel()
				for seed := part; seed < seeds && !t.Failed(); seed += 4 {
					synctest.Test(t, func(t *testing.T) {
						r, l, c, s, a := simulate(t, seed)
						mu.Lock()
						defer mu.Unlock()
						rotations, lost, crashes, stops, replayed = rotations+r, lost+l, crashes+c, stops+s, replayed+a
					})
				}
			})
		}
	})
	t.Logf("%d seeds: %d rotations, %d crashes, %d ends in order, %d sessions lost, %d records sent again", seeds, rotations, crashes, stops, lost, replayed)
}
