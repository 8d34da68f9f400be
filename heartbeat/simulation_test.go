package heartbeat

import (
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// path is a network and the peer behind it.
type path struct {
	loss   float64       // of each datagram, either way
	delay  time.Duration // one way
	jitter time.Duration // one way, uniform on top
	flush  time.Duration // what the peer's sinks take before it answers, uniform
	busy   bool          // the owner asks again as soon as it is answered
	deaf   bool          // handshakes are never reported: no second opinion
	first  time.Duration // retransmission interval of handshakes; 0: 1 s
}

// transit is how long a datagram travels; false: it does not arrive.
func (p *path) transit(r *rand.Rand) (time.Duration, bool) {
	d := p.delay
	if p.jitter > 0 {
		d += time.Duration(r.Int64N(int64(p.jitter)))
	}
	return d, p.loss == 0 || r.Float64() >= p.loss
}

// outcome is what one simulated session saw.
type outcome struct {
	dead                             time.Duration // the verdict; 0: none
	cause                            Cause
	requests, transmissions, suspect int
	handshakes                       int
}

// simulate runs the two machines over p until end or the verdict; the peer
// dies at crash.
func simulate(p *path, cfg LivenessConfig, seed uint64, end, crash time.Duration) outcome {
	r := rand.New(rand.NewPCG(seed, 6520))
	epoch := time.Unix(0, 0)
	now := epoch
	live := NewLiveness(cfg, now, r.Float64)
	timer := NewTimer(TimerConfig{}, r.Float64)
	var o outcome
	var answers []time.Time // of the request in flight, on their way
	var dialed time.Time    // the handshake is complete
	crashed := epoch.Add(crash)
	stop := epoch.Add(end)
	state := Alive
	start := func() {
		o.requests++
		answers = answers[:0]
		timer.Start(now)
	}
	for now.Before(stop) {
		if i := slices.IndexFunc(answers, func(t time.Time) bool { return !t.After(now) }); i >= 0 && live.Waiting() {
			timer.Answered(now)
			live.Answered(now)
			answers = answers[:0]
			if p.busy && live.Ask(now) {
				start()
			}
		}
		if due(dialed, now) {
			dialed = time.Time{}
			live.SecondOpinion(now, true)
		}
		for a := live.Advance(now); a != None; a = live.Advance(now) {
			if a == Probe {
				start()
				continue
			}
			o.handshakes++
			if t, ok := p.handshake(r, now, crashed); ok && !p.deaf {
				dialed = t
			}
		}
		if s := live.State(); s != state {
			if s == Suspect {
				o.suspect++
			}
			if state = s; s == Dead {
				o.dead, o.cause = now.Sub(epoch), live.Cause()
				return o
			}
		}
		if timer.Due(now) {
			o.transmissions++
			if t, ok := p.answer(r, now, crashed); ok {
				answers = append(answers, t)
			}
		}
		next := stop
		for _, t := range []time.Time{live.Next(), timer.Next(), dialed} {
			next = sooner(t, next)
		}
		for _, t := range answers {
			next = sooner(t, next)
		}
		now = next
	}
	return o
}

// answer is when the answer to a request sent now arrives.
func (p *path) answer(r *rand.Rand, now, crashed time.Time) (time.Time, bool) {
	there, ok := p.transit(r)
	at := now.Add(there)
	if p.flush > 0 {
		at = at.Add(time.Duration(r.Int64N(int64(p.flush))))
	}
	if !ok || !at.Before(crashed) {
		return time.Time{}, false
	}
	back, ok := p.transit(r)
	return at.Add(back), ok
}

// handshake is three round trips whose flights are sent again after 1, 2, 4 …
// times the first interval.
func (p *path) handshake(r *rand.Rand, now, crashed time.Time) (time.Time, bool) {
	quick := *p
	quick.flush = 0
	for range 3 {
		wait, sent := p.first, now
		setDefault(&wait, time.Second)
		for {
			if t, ok := quick.answer(r, sent, crashed); ok {
				now = t
				break
			}
			sent = sent.Add(wait)
			wait *= 2
			if sent.Sub(now) > time.Minute {
				return time.Time{}, false
			}
		}
	}
	return now, true
}

// inParallel runs f for n seeds on all cores.
func inParallel(n int, f func(seed uint64)) {
	var next atomic.Uint64
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for {
				i := next.Add(1)
				if i > uint64(n) {
					return
				}
				f(i)
			}
		})
	}
	wg.Wait()
}

var bad = path{loss: 0.2, delay: 10 * time.Millisecond, jitter: 300 * time.Millisecond}

var paths = []struct {
	name  string
	seeds int // of an hour each
	path
}{
	{"local network", 300, path{delay: 100 * time.Microsecond, flush: 2 * time.Millisecond}},
	{"far, 2 % loss", 300, path{loss: 0.02, delay: 80 * time.Millisecond, jitter: 20 * time.Millisecond, flush: 10 * time.Millisecond}},
	{"20 % loss, 300 ms jitter", 2000, bad},
	{"the same, without second opinion", 1000, path{loss: bad.loss, delay: bad.delay, jitter: bad.jitter, deaf: true}},
	{"the same, busy", 500, path{loss: bad.loss, delay: bad.delay, jitter: bad.jitter, busy: true}},
	{"sinks that take up to 1.5 s", 300, path{delay: time.Millisecond, flush: 1500 * time.Millisecond}},
}

// A peer that lives is never called dead: thousands of sessions of an hour.
func TestSimulation_NoFalseAlarm(t *testing.T) {
	length := time.Hour
	if raced || testing.Short() {
		length /= 10
	}
	for _, c := range paths {
		t.Run(c.name, func(t *testing.T) {
			seeds := c.seeds
			var mu sync.Mutex
			var sum outcome
			alarms := 0
			inParallel(seeds, func(seed uint64) {
				o := simulate(&c.path, LivenessConfig{}, seed, length, 2*length)
				mu.Lock()
				defer mu.Unlock()
				if o.dead != 0 {
					alarms++
				}
				sum.requests += o.requests
				sum.transmissions += o.transmissions
				sum.suspect += o.suspect
				sum.handshakes += o.handshakes
			})
			days := float64(seeds) * length.Hours() / 24
			t.Logf("%.0f virtual days: %d false alarms; a day: %.0f requests, %.0f transmissions, %.1f suspicions, %.1f handshakes",
				days, alarms, float64(sum.requests)/days, float64(sum.transmissions)/days, float64(sum.suspect)/days, float64(sum.handshakes)/days)
			if alarms > 0 {
				t.Errorf("%d false alarms", alarms)
			}
		})
	}
}

// A peer that dies is known as dead within 3 s, whenever it dies.
func TestSimulation_Detection(t *testing.T) {
	seeds := 20000
	if raced || testing.Short() {
		seeds = 2000
	}
	for _, c := range paths {
		t.Run(c.name, func(t *testing.T) {
			took := make([]time.Duration, seeds)
			inParallel(seeds, func(seed uint64) {
				r := rand.New(rand.NewPCG(seed, 1))
				crash := 10*time.Second + time.Duration(r.Int64N(int64(20*time.Second)))
				o := simulate(&c.path, LivenessConfig{}, seed, time.Minute, crash)
				took[seed-1] = o.dead - crash
				if o.dead == 0 || o.cause != Silent {
					took[seed-1] = time.Hour
				}
			})
			slices.Sort(took)
			q := func(f float64) time.Duration { return took[int(f*float64(seeds-1))].Round(time.Millisecond) }
			t.Logf("%d deaths: detected after p50 %v, p95 %v, max %v", seeds, q(0.5), q(0.95), q(1))
			if q(1) > 3*time.Second {
				t.Errorf("one took %v", q(1))
			}
			if q(0) < 0 {
				t.Errorf("a false alarm %v early", q(0))
			}
		})
	}
}
