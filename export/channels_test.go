package export

import (
	"log/slog"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"ipfixsuite/transport"
)

const (
	standsLine  = `level=WARN msg="channel stands still"`
	channelOn   = `level=INFO msg="channel goes on"`
	channelGone = `level=WARN msg="channel given up: it begins anew"`
)

// channels is an Exporter with three Observation Domains on the streams 1 to 3
// of a collector whose process lives whatever it confirms.
type channels struct {
	*running
	w   *farWorld
	s   *farSource
	log journal
}

func startChannels(t *testing.T, cfg Config, before func(w *farWorld)) *channels {
	t.Helper()
	c := &channels{w: newFarWorld(1, mtaLike)}
	c.w.heard = true
	before(c.w)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the log says:\n%s", &c.log)
		}
	})
	cfg.Dialer, cfg.MaxDelay, cfg.Log = c.w, 10*time.Millisecond, slog.New(slog.NewTextHandler(&c.log, nil))
	c.running = start(t, cfg)
	c.s = newFarSource(t, c.Exporter, rand.New(rand.NewPCG(1, 1)), 3, 2)
	return c
}

// writes gives each domain a record, n times.
func (c *channels) writes(n int) {
	for i := range n {
		for d := range c.s.slots {
			c.s.write(d, i%2)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// missing is how many records of a domain nobody has written.
func (c *channels) missing(domain uint32) (n int) {
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	for i := uint32(1); i <= c.s.next[domain-1]; i++ {
		if c.w.written[farRecord{domain, i}] == 0 {
			n++
		}
	}
	return n
}

func (c *channels) others(t *testing.T, when string) {
	t.Helper()
	soon(t, "the others have theirs "+when, func() bool { return c.missing(2)+c.missing(3) == 0 })
}

func (c *channels) stands(stream uint16, until time.Time) {
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	c.w.stalls[stream] = until
}

// end closes the Exporter and checks that nothing is missing, or was told wrongly.
func (c *channels) end(t *testing.T) Summary {
	t.Helper()
	if err := c.close(time.Minute); err != nil {
		t.Error(err)
	}
	c.w.wg.Wait()
	sum := c.Summary()
	if n := c.s.missing(c.w); n > 0 || c.w.lost > 0 || len(c.w.problems) > 0 || sum.RecordsDropped+sum.RecordsUnconfirmed > 0 {
		t.Errorf("%d records missing, gaps of %d, %q, %+v\n%s", n, c.w.lost, c.w.problems, sum, &c.log)
	}
	return sum
}

// A stream that stands still from its first Template keeps neither the first
// session nor those after it from being proven and carrying the data of others.
// What is its own is kept, told of once, and delivered when it goes on.
func TestChannels_OneStandsStillFromItsFirstTemplate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startChannels(t, Config{Rotate: 10 * time.Second, StallAfter: 10 * time.Minute}, func(w *farWorld) {
			w.stalls[1] = time.Now().Add(time.Hour)
		})
		for range 5 {
			c.writes(500)
			c.others(t, "beside it")
		}
		st := c.Stats()
		if st.Rotations < 2 || st.CollectorsLost+st.CollectorsStalled != 0 || st.Stalled || st.StalledChannels != 1 || st.ChannelsStalled != 1 || st.ChannelsRenewed != 0 {
			t.Errorf("%+v\n%s", st, &c.log)
		}
		if n := c.missing(1); n != 2500 {
			t.Errorf("%d records of the stream that stands still are missing", n)
		}
		c.stands(1, time.Now())
		soon(t, "it has its own", func() bool { return c.missing(1) == 0 })
		soon(t, "it is said", func() bool { return c.log.count(channelOn) == 1 && c.Stats().StalledChannels == 0 })
		c.writes(100)
		sum := c.end(t)
		if sum.CollectorsLost != 0 || c.log.count(standsLine) != 1 || c.log.count(channelOn) != 1 || c.log.count(stallsLine) != 0 {
			t.Errorf("%+v\n%s", sum, &c.log)
		}
	})
}

// Once it has stood still for StallAfter a stream begins anew on the same
// session, as a Transport Session of its own, with what it had under way.
func TestChannels_StallAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startChannels(t, Config{StallAfter: 8 * time.Second}, func(*farWorld) {})
		c.writes(100)
		c.others(t, "at first")
		c.stands(1, time.Now().Add(time.Hour))
		c.writes(500) // 5 s
		if c.log.count(standsLine) != 1 || c.log.count(channelGone) != 0 {
			t.Errorf("the log says:\n%s", &c.log)
		}
		c.writes(500)
		soon(t, "it is given up", func() bool { return c.log.count(channelGone) == 1 })
		c.others(t, "beside it")
		c.stands(1, time.Now())
		soon(t, "its records are here", func() bool { return c.missing(1) == 0 })
		soon(t, "it is said", func() bool { return c.log.count(channelOn) == 1 })
		c.writes(100)
		sum := c.end(t)
		if sum.SessionsOpened != 1 || sum.ChannelsRenewed != 1 || sum.ChannelsStalled != 1 || sum.RecordsReplayed == 0 || sum.CollectorsLost != 0 {
			t.Errorf("%+v\n%s", sum, &c.log)
		}
	})
}

// The end of a stream is not that of its session, whether the collector does
// not take it at all or ends it later: it begins anew until it is taken.
func TestChannels_Ended(t *testing.T) {
	for _, row := range []struct {
		name  string
		least uint64 // how often it begins anew
		when  func(c *channels)
	}{
		{"refused from the beginning", 2, nil},
		{"later", 2, func(c *channels) {
			c.writes(200)
			c.w.mu.Lock()
			c.w.refuses[2] = time.Now().Add(5 * time.Second)
			c.w.mu.Unlock()
		}},
		{"now and then", 5, func(c *channels) {
			c.w.mu.Lock()
			c.w.falls = 0.002
			c.w.mu.Unlock()
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := startChannels(t, Config{}, func(w *farWorld) {
					if row.when == nil {
						w.refuses[2] = time.Now().Add(10 * time.Second)
					}
				})
				if row.when != nil {
					row.when(c)
				}
				c.writes(400)
				if row.least == 2 {
					soon(t, "the others have theirs", func() bool { return c.missing(1)+c.missing(3) == 0 })
					if c.missing(2) == 0 {
						t.Error("the stream that is not taken has all")
					}
				}
				c.writes(1200)
				c.w.mu.Lock()
				c.w.falls = 0
				c.w.mu.Unlock()
				sum := c.end(t)
				if sum.SessionsOpened != 1 || sum.ChannelsRenewed < row.least || int(sum.ChannelsRenewed) != c.w.fallen || sum.CollectorsLost+sum.CollectorsClosed != 0 {
					t.Errorf("%d streams fell: %+v\n%s", c.w.fallen, sum, &c.log)
				}
			})
		})
	}
}

// A collector that confirms nothing on any stream is one that stalls: no session
// is proven by that, and one that carried data is given up after StallAfter.
func TestChannels_AllStandStill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := func(w *farWorld, until time.Time) {
			for i := range uint16(mtaLike.Streams) {
				w.stalls[i] = until
			}
		}
		began := time.Now()
		c := startChannels(t, Config{StallAfter: 20 * time.Second}, func(w *farWorld) { all(w, began.Add(30*time.Second)) })
		time.Sleep(20 * time.Second)
		if c.log.count(`msg="new session given up"`) < 2 || c.log.count(errStalled.Error()) == 0 || c.log.count("session carries data") != 0 {
			t.Errorf("the log says:\n%s", &c.log)
		}
		time.Sleep(20 * time.Second)
		c.writes(100)
		c.others(t, "afterwards")
		c.w.mu.Lock()
		all(c.w, time.Now().Add(time.Minute))
		c.w.mu.Unlock()
		c.writes(100)
		soon(t, "it says so", func() bool { return c.log.count(stallsLine) == 1 })
		time.Sleep(30 * time.Second)
		if c.Stats().CollectorsLost != 1 || c.log.count(standsLine) != 0 {
			t.Errorf("%+v\n%s", c.Stats(), &c.log)
		}
		time.Sleep(40 * time.Second)
		c.end(t)
	})
}

// Who has a collector that takes all does not leave it for one that is preferred,
// but of which a stream stands still; once it does not any more that one is
// returned to.
func TestChannels_NoReturnToOneThatStandsStill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		second := newFarWorld(2, mtaLike)
		second.heard = true
		c := startChannels(t, Config{Fallback: []transport.Dialer{second}, ReturnAfter: 5 * time.Second, StallAfter: time.Hour}, func(w *farWorld) {
			w.down = time.Now().Add(5 * time.Second)
			w.stalls[1] = time.Now().Add(30 * time.Second)
		})
		written := func() int {
			second.mu.Lock()
			defer second.mu.Unlock()
			return len(second.written)
		}
		c.writes(2000) // 20 s
		soon(t, "the second has all", func() bool { return written() == 6000 })
		if c.log.count(`msg="new session given up"`) == 0 || c.missing(1)+c.missing(2)+c.missing(3) != 6000 {
			t.Error("the first was not tried, or carries data")
		}
		time.Sleep(2 * time.Minute)
		c.writes(100)
		if err := c.close(time.Minute); err != nil {
			t.Error(err)
		}
		c.w.wg.Wait()
		second.wg.Wait()
		if len(c.w.written) != 300 || written() != 6000 || len(c.w.problems)+len(second.problems) > 0 {
			t.Errorf("%d records at the first, %d at the second: %q, %q", len(c.w.written), written(), c.w.problems, second.problems)
		}
	})
}

// Streams stand still for longer than a collector passes for dead, and are ended
// one by one, while sessions are replaced and the collector crashes: nothing is
// lost, nothing overtakes its Template, no Sequence Number has a gap.
func TestChannels_Simulation(t *testing.T) {
	seeds := uint64(60)
	if testing.Short() || raceEnabled {
		seeds = 12
	}
	var fallen, renewed, stalled, rotations, crashes, replayed uint64
	for seed := range seeds {
		synctest.Test(t, func(t *testing.T) {
			w := newFarWorld(seed, mtaLike)
			w.heard, w.busy, w.falls = true, float64(seed%3)/20, float64(seed%2)/1000
			rng := rand.New(rand.NewPCG(seed, 2))
			cfg := Config{Dialer: w, Rotate: time.Duration(rng.IntN(4)) * 3 * time.Second, MaxDelay: 20 * time.Millisecond, StatsInterval: time.Second,
				StallAfter: time.Duration(4+rng.IntN(20)) * time.Second}
			if seed%3 == 2 {
				w.crashes = 0.0005
			}
			if seed%4 == 3 {
				cfg.SpoolDir, cfg.SpoolRate, cfg.QueueBytes = t.TempDir(), -1, 16<<10
			}
			e := start(t, cfg)
			s := newFarSource(t, e.Exporter, rng, 2+rng.IntN(5), 1+rng.IntN(4))
			for range 300 {
				s.step()
				if rng.IntN(15) == 0 {
					w.mu.Lock()
					w.stalls[uint16(rng.IntN(8))] = time.Now().Add(time.Duration(rng.IntN(15000)) * time.Millisecond)
					if rng.IntN(4) == 0 {
						w.refuses[uint16(rng.IntN(8))] = time.Now().Add(time.Duration(rng.IntN(5000)) * time.Millisecond)
					}
					w.mu.Unlock()
				}
				time.Sleep(time.Duration(rng.IntN(200)) * time.Millisecond)
			}
			w.mu.Lock()
			w.crashes, w.falls = 0, 0
			clear(w.stalls)
			clear(w.refuses)
			w.mu.Unlock()
			if err := e.close(5 * time.Minute); err != nil {
				t.Errorf("seed %d: %v", seed, err)
			}
			w.wg.Wait()
			sum := e.Summary()
			if n := s.missing(w); n > 0 || w.lost > 0 || len(w.problems) > 0 || sum.RecordsUnconfirmed > 0 {
				t.Errorf("seed %d: %d records missing, gaps of %d, %d crashes, %q, %+v", seed, n, w.lost, w.crashed, w.problems, sum)
			}
			fallen, renewed, stalled, rotations = fallen+uint64(w.fallen), renewed+sum.ChannelsRenewed, stalled+sum.ChannelsStalled, rotations+sum.Rotations
			crashes, replayed = crashes+uint64(w.crashed), replayed+sum.RecordsReplayed
		})
		if t.Failed() {
			return
		}
	}
	t.Logf("%d seeds: %d streams ended by the collector, %d stood still, %d began anew, %d rotations, %d crashes, %d records replayed", seeds, fallen, stalled, renewed, rotations, crashes, replayed)
	if fallen == 0 || stalled == 0 || renewed == 0 || rotations == 0 || crashes == 0 {
		t.Error("something was never tried")
	}
}
