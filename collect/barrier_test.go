package collect

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"ipfixsuite/record"
	"ipfixsuite/transport"
)

// A gate is a sink whose calls can be held up or made to fail.
type gate struct {
	mu       sync.Mutex
	buffered int
	written  int
	flushes  int
	err      error // of every call
	full     error // of Flush
	hold     chan struct{}
}

func (g *gate) Write(b *record.Batch) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.err != nil {
		return g.err
	}
	g.buffered += b.Records
	return nil
}

func (g *gate) Flush() error {
	g.mu.Lock()
	hold, err := g.hold, cmp.Or(g.err, g.full)
	g.mu.Unlock()
	if hold != nil {
		<-hold
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if err != nil {
		return err
	}
	g.flushes++
	g.written += g.buffered
	g.buffered = 0
	return nil
}

func (g *gate) Close() error { return g.Flush() }

func (g *gate) set(err error, hold chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.err, g.hold = err, hold
}

func (g *gate) counts() (written, flushes int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.written, g.flushes
}

func now(r transport.Receiver, b []byte) {
	r.Message(transport.Incoming{Data: b, Received: time.Now()})
}

func TestBarrier_AnswersAfterFlush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := new(gate), new(gate)
		c := New(Config{Sinks: []Sink{a, b}, FlushInterval: time.Hour})
		r := open(t, c, "exporter", 1, udp)
		now(r, message(1, 0, set(2, addresses), set(256, flow+flow2)))
		answered := 0
		r.Barrier(func() {
			for _, g := range []*gate{a, b} {
				if n, _ := g.counts(); n != 2 {
					t.Errorf("answered with %d records written", n)
				}
			}
			answered++
		})
		synctest.Wait()
		if answered != 1 {
			t.Errorf("answered %d times", answered)
		}
		if s := c.Stats(); s.Sinks[0].Written != 2 || s.Counters.Barriers != 1 {
			t.Errorf("%+v", s)
		}
		r.Closed(nil)
		if err := c.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// Many barriers of one batch of datagrams cost one flush, two at most.
func TestBarrier_Coalesced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := new(gate)
		c := New(Config{Sinks: []Sink{g}, FlushInterval: time.Hour})
		answered := 0
		for i := range uint64(100) {
			r := open(t, c, "exporter", i, udp)
			now(r, message(1, 0, set(2, addresses), set(256, flow)))
			r.Barrier(func() { answered++ })
		}
		time.Sleep(2 * flushSpacing)
		synctest.Wait()
		if _, n := g.counts(); answered != 100 || n > 2 {
			t.Errorf("%d answered with %d flushes", answered, n)
		}
		if err := c.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestBarrier_StalledSink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log lockedLog
		hold := make(chan struct{})
		g, healthy := &gate{hold: hold}, new(gate)
		c := New(Config{Sinks: []Sink{healthy, g}, FlushInterval: time.Hour, Log: textLog(&log)})
		r := open(t, c, "exporter", 1, udp)
		now(r, message(1, 0, set(2, addresses), set(256, flow)))
		answered := make(chan struct{})
		r.Barrier(func() { close(answered) })
		time.Sleep(5 * keeperEvery)
		synctest.Wait()
		select {
		case <-answered:
			t.Error("answered although a sink stalls")
		default:
		}
		st := c.Stats()
		if !st.Sinks[1].Stalled || st.Sinks[0].Stalled || st.Sinks[0].Written != 1 {
			t.Errorf("%+v", st.Sinks)
		}
		if !strings.Contains(log.String(), "sink stalls") {
			t.Errorf("log: %s", log.String())
		}
		close(hold)
		<-answered
		time.Sleep(2 * keeperEvery)
		if !strings.Contains(log.String(), "sink goes on") {
			t.Errorf("log: %s", log.String())
		}
		if err := c.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// A sink whose Flush fails keeps what it has; the barrier waits for success.
func TestBarrier_FlushFailsThenWorks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log lockedLog
		g, healthy := new(gate), new(gate)
		c := New(Config{Sinks: []Sink{g, healthy}, FlushInterval: time.Second, Log: textLog(&log)})
		r := open(t, c, "exporter", 1, udp)
		now(r, message(1, 0, set(2, addresses), set(256, flow)))
		g.mu.Lock()
		g.full = errors.New("no space left on device")
		g.mu.Unlock()
		answered := false
		r.Barrier(func() { answered = true })
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if n, _ := healthy.counts(); answered || n != 1 {
			t.Errorf("answered %v, the healthy sink wrote %d", answered, n)
		}
		st := c.Stats()
		if s := st.Summary(); s.RecordsWritten != 0 || st.Sinks[0].Errors == 0 || st.Sinks[0].Errors > 10 {
			t.Errorf("%+v %+v", s, st.Sinks)
		}
		g.mu.Lock()
		g.full = nil
		g.mu.Unlock()
		time.Sleep(2 * retryMax)
		synctest.Wait()
		st = c.Stats()
		if s := st.Summary(); !answered || s.RecordsWritten != 1 {
			t.Errorf("answered %v, %+v", answered, s)
		}
		for _, want := range []string{"sink fails", "no space left on device", "sink works again"} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("no %q in log: %s", want, log.String())
			}
		}
		if err := c.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// A sink that refuses a record breaks the promise of every later barrier of
// that session, not of others.
func TestBarrier_LostRecordIsNeverConfirmed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, healthy := new(gate), new(gate)
		c := New(Config{Sinks: []Sink{g, healthy}})
		r := open(t, c, "exporter", 1, udp)
		calm := open(t, c, "calm", 2, udp)
		g.set(errors.New("no space left on device"), nil)
		for i := range uint32(50) {
			now(r, message(1, i, set(2, addresses), set(256, flow)))
		}
		if err := c.Flush(); err == nil || !strings.Contains(err.Error(), "no space left") {
			t.Errorf("flush: %v", err)
		}
		g.set(nil, nil)
		time.Sleep(2 * retryMax)
		now(calm, message(1, 0, set(2, addresses), set(256, flow)))
		var lost, good bool
		r.Barrier(func() { lost = true })
		calm.Barrier(func() { good = true })
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if lost || !good {
			t.Errorf("answered: session with a loss %v, the other %v", lost, good)
		}
		st := c.Stats()
		if st.Sinks[0].Dropped != 50 || st.Sinks[0].Errors != 1 || st.Sinks[1].Written != 51 || st.Barriers.Lost != 1 {
			t.Errorf("%+v %+v", st.Sinks, st.Barriers)
		}
		if err := c.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestBarrier_Bounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hold := make(chan struct{})
		g := &gate{hold: hold}
		c := New(Config{Sinks: []Sink{g}})
		r := open(t, c, "exporter", 1, udp)
		now(r, message(1, 0, set(2, addresses), set(256, flow)))
		answered := 0
		for range 100 {
			r.Barrier(func() { answered++ })
		}
		synctest.Wait()
		close(hold)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if st := c.Stats(); answered < 1 || answered > 2*maxBarriers || st.Barriers.Lost+uint64(answered) != 100 {
			t.Errorf("%d answered, %+v", answered, st.Barriers)
		}
		if err := c.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestCollector_FlushesByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := new(gate)
		c := New(Config{Sinks: []Sink{g}})
		r := open(t, c, "exporter", 1, udp)
		now(r, message(1, 0, set(2, addresses), set(256, flow)))
		time.Sleep(DefaultFlushInterval + time.Millisecond)
		synctest.Wait()
		if n, _ := g.counts(); n != 1 {
			t.Errorf("%d records written", n)
		}
		if err := c.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// What waits ends in time on a session that has gone quiet.
func TestCollector_KeeperEndsHeldSets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(Config{HeldAge: 10 * time.Second})
		r := open(t, c, "exporter", 1, udp)
		now(r, message(1, 0, set(256, flow)))
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if st := c.Stats(); st.UndecodableSets != 1 || st.Templates.HeldSets != 0 {
			t.Errorf("%+v", st)
		}
		if err := c.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestCollector_Close(t *testing.T) {
	t.Run("writes what is there, twice is once", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			g := new(gate)
			c := New(Config{Sinks: []Sink{g}, FlushInterval: time.Hour})
			r := open(t, c, "exporter", 1, udp)
			now(r, message(1, 0, set(2, addresses), set(256, flow)))
			for range 2 {
				if err := c.Close(t.Context()); err != nil {
					t.Error(err)
				}
			}
			st := c.Stats()
			if s := st.Summary(); s.RecordsWritten != 1 || st.SessionsOpen != 0 {
				t.Errorf("%+v", s)
			}
			if _, err := c.Open(peer("late", 2), udp); err == nil {
				t.Error("a session after Close")
			}
			r.Closed(nil)
		})
	})
	t.Run("does not wait for ever", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			hold := make(chan struct{})
			g := &gate{hold: hold}
			c := New(Config{Sinks: []Sink{g}})
			r := open(t, c, "exporter", 1, udp)
			now(r, message(1, 0, set(2, addresses), set(256, flow)))
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if err := c.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v", err)
			}
			close(hold)
		})
	})
	t.Run("tells a sink that failed", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			g := new(gate)
			c := New(Config{Sinks: []Sink{g}})
			r := open(t, c, "exporter", 1, udp)
			now(r, message(1, 0, set(2, addresses), set(256, flow)))
			g.set(errors.New("no space left on device"), nil)
			if err := c.Close(t.Context()); err == nil || !strings.Contains(err.Error(), "no space") {
				t.Errorf("got %v", err)
			}
		})
	})
}

type lockedLog struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// What waits for its Template is not written: a barrier behind it is answered
// when the Template has come, or when it has had its time.
func TestBarrier_WaitsForTemplates(t *testing.T) {
	for _, row := range []struct {
		name  string
		comes bool
		after time.Duration
	}{{"it comes", true, 500 * time.Millisecond}, {"it never does", false, heldPatience}} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := new(gate)
				c := New(Config{Sinks: []Sink{g}, FlushInterval: time.Hour})
				r := open(t, c, "exporter", 1, udp)
				began := time.Now()
				var answered, quick atomic.Int64
				now(r, message(1, 0, set(256, flow+flow2)))
				r.Barrier(func() {
					answered.Store(int64(time.Since(began)))
					if n, _ := g.counts(); row.comes && n != 2 {
						t.Errorf("answered with %d records written", n)
					}
				})
				time.Sleep(500 * time.Millisecond)
				if answered.Load() != 0 {
					t.Error("answered for data that was not written")
				}
				if row.comes {
					now(r, message(1, 2, set(2, addresses)))
				}
				time.Sleep(heldPatience + keeperEvery)
				if at := time.Duration(answered.Load()); at < row.after || at > row.after+keeperEvery+flushSpacing {
					t.Errorf("answered after %v, want %v", at, row.after)
				}
				r.Barrier(func() { quick.Add(1) })
				time.Sleep(2 * flushSpacing)
				if quick.Load() != 1 {
					t.Error("the next one waits as well")
				}
				r.Closed(nil)
				if err := c.Close(t.Context()); err != nil {
					t.Error(err)
				}
			})
		})
	}
}
