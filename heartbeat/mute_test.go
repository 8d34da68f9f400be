package heartbeat

import (
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"
)

// attempt bounds one handshake of the simulated owner.
const attempt = 10 * time.Second

// simulateMute is simulate for a peer without heartbeat: the session of each
// handshake takes over, as a rotation does it. hints says that dead hosts
// report ports nobody listens on.
func simulateMute(p *path, cfg LivenessConfig, seed uint64, end, crash time.Duration, hints bool) outcome {
	r := rand.New(rand.NewPCG(seed, 6347))
	epoch := time.Unix(0, 0)
	now := epoch
	cfg.Mute = true
	l := NewLiveness(cfg, now, r.Float64)
	var o outcome
	crashed, stop := epoch.Add(crash), epoch.Add(end)
	var result time.Time // of the handshake under way
	var good bool
	hint := crashed.Add(time.Millisecond)
	for now.Before(stop) {
		if due(result, now) {
			result = time.Time{}
			l.SecondOpinion(now, good)
			if good {
				l = l.Successor(now)
			}
		}
		if hints && !now.Before(hint) {
			l.Hint(now)
			hint = now.Add(time.Second)
		}
		for a := l.Advance(now); a != None; a = l.Advance(now) {
			o.handshakes++
			result, good = p.handshake(r, now, crashed)
			if last := now.Add(attempt); !good || result.After(last) {
				result, good = last, false
			}
		}
		if l.State() == Dead {
			o.dead, o.cause = now.Sub(epoch), l.Cause()
			return o
		}
		now = sooner(sooner(stop, l.Next()), result)
		if hints {
			now = sooner(now, hint)
		}
	}
	return o
}

// What is known of peers without heartbeat is worth less, but bounded: the
// period of the handshakes and what they may take.
func TestSimulation_Mute(t *testing.T) {
	// Handshakes after the first follow the path (transport/dtls).
	const first = 250 * time.Millisecond
	awful := bad
	awful.first = first
	far := path{first: first, loss: 0.02, delay: 80 * time.Millisecond, jitter: 20 * time.Millisecond}
	for _, c := range []struct {
		name  string
		path  path
		cfg   LivenessConfig
		hints bool
		bound time.Duration
	}{
		{"local network", path{delay: 100 * time.Microsecond}, LivenessConfig{Proven: true}, false, 30 * time.Second},
		{"the same, port unreachable", path{delay: 100 * time.Microsecond}, LivenessConfig{Proven: true}, true, 6 * time.Second},
		{"far, 2 % loss", far, LivenessConfig{Proven: true}, false, DefaultHandshakeEvery + DefaultHandshakeLimit},
		{"20 % loss, 300 ms jitter", awful, LivenessConfig{Proven: true}, false, DefaultHandshakeEvery + DefaultHandshakeLimit},
	} {
		t.Run(c.name, func(t *testing.T) {
			var mu sync.Mutex
			var took []time.Duration
			alarms, handshakes := 0, 0
			seeds, length := 500, 6*time.Hour
			if raced || testing.Short() {
				length /= 10
			}
			inParallel(seeds, func(seed uint64) {
				r := rand.New(rand.NewPCG(seed, 1))
				crash := 5*time.Minute + time.Duration(r.Int64N(int64(time.Minute)))
				o := simulateMute(&c.path, c.cfg, seed, time.Hour, crash, c.hints)
				alive := simulateMute(&c.path, c.cfg, seed+1e6, length, 2*length, false)
				mu.Lock()
				defer mu.Unlock()
				if o.dead > crash || o.dead == 0 {
					took = append(took, o.dead-crash)
				}
				if alive.dead != 0 {
					alarms++
				}
				handshakes += alive.handshakes
			})
			slices.Sort(took)
			n := len(took)
			days := float64(seeds) * length.Hours() / 24
			t.Logf("%d deaths: detected after p50 %v, p95 %v, max %v; %.0f virtual days: %d false alarms, %.0f handshakes a day",
				n, took[n/2].Round(time.Millisecond), took[n*95/100].Round(time.Millisecond), took[n-1].Round(time.Millisecond),
				days, alarms, float64(handshakes)/days)
			if took[n-1] > c.bound || took[0] < 0 {
				t.Errorf("detected after %v to %v, bound %v", took[0], took[n-1], c.bound)
			}
			if alarms > 0 {
				t.Errorf("%d false alarms", alarms)
			}
		})
	}
}
