package collect

import (
	"bytes"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"ipfixsuite/record"
)

// A valve is a sink whose Write hangs while it is shut.
type valve struct {
	gate
	shut chan struct{} // nil: open
	took atomic.Int64  // octets
}

func (v *valve) Write(b *record.Batch) error {
	if v.shut != nil {
		<-v.shut
	}
	v.took.Add(int64(len(b.Body)))
	return v.gate.Write(b)
}

// bulk is a message with n records of the template "addresses".
func bulk(seq uint32, n int) []byte {
	one := unhex(flow)
	return message(1, seq, append([]byte{1, 0, 0, byte(4 + n*len(one))}, bytes.Repeat(one, n)...))
}

// A sink that hangs in a write holds no session up for long where others may
// share the socket: what it has no room for is dropped and counted, and the
// barriers of who lost something stay unanswered for good; others' only wait.
func TestStall_WriteHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		healthy, v := new(gate), &valve{shut: make(chan struct{})}
		c := New(Config{Sinks: []Sink{healthy, v}, FlushInterval: time.Hour})
		calm := open(t, c, "calm", 1, udp)
		now(calm, message(1, 0, set(2, addresses), set(256, flow)))
		loud := open(t, c, "loud", 2, udp)
		now(loud, message(1, 0, set(2, addresses)))
		perMessage := 248 / len(unhex(flow))
		messages := 2 * trayLimit / (perMessage * len(unhex(flow)))
		began, longest := time.Now(), time.Duration(0)
		for i := range messages {
			at := time.Now()
			now(loud, bulk(uint32(i*perMessage), perMessage))
			longest = max(longest, time.Since(at))
		}
		if took := time.Since(began); longest > patience+quickCall || took > 2*patience {
			t.Errorf("a message took %v, all together %v", longest, took)
		}
		var lost, good atomic.Bool
		loud.Barrier(func() { lost.Store(true) })
		calm.Barrier(func() { good.Store(true) })
		time.Sleep(5 * time.Second)
		synctest.Wait()
		st := c.Stats()
		if !st.Sinks[1].Stalled || st.Sinks[1].Dropped == 0 || st.Sinks[0].Dropped != 0 || lost.Load() || good.Load() {
			t.Errorf("%+v, answered %v %v", st.Sinks, lost.Load(), good.Load())
		}
		if n, _ := healthy.counts(); n != messages*perMessage+1 {
			t.Errorf("the healthy sink wrote %d of %d", n, messages*perMessage+1)
		}
		close(v.shut)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		st = c.Stats()
		if s := st.Sinks[1]; s.Stalled || s.Written+s.Dropped != uint64(messages*perMessage+1) || s.Written < trayLimit/uint64(len(unhex(flow)))*9/10 {
			t.Errorf("%+v", s)
		}
		if lost.Load() || !good.Load() {
			t.Errorf("answered: session with a loss %v, the other %v", lost.Load(), good.Load())
		}
		if err := c.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// On a reliable transport what is not read waits with the peer.
func TestStall_ReliableSessionWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &valve{shut: make(chan struct{})}
		c := New(Config{Sinks: []Sink{v}, FlushInterval: time.Hour})
		r := open(t, c, "exporter", 1, tcp)
		now(r, message(1, 0, set(2, addresses)))
		perMessage := 248 / len(unhex(flow))
		messages := 2 * trayLimit / (perMessage * len(unhex(flow)))
		var given atomic.Int64
		done := make(chan struct{})
		go func() {
			defer close(done)
			for i := range messages {
				now(r, bulk(uint32(i*perMessage), perMessage))
				given.Add(1)
			}
		}()
		time.Sleep(time.Minute)
		if n := int(given.Load()); n == messages || n < messages/3 {
			t.Errorf("%d of %d messages taken by a sink that hangs", n, messages)
		}
		close(v.shut)
		<-done
		if err := c.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if s := c.Stats().Sinks[0]; s.Dropped != 0 || s.Written != uint64(messages*perMessage) {
			t.Errorf("%+v", s)
		}
	})
}

// A short pause, such as a disk makes, costs nobody anything.
func TestStall_ShortPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &valve{shut: make(chan struct{})}
		c := New(Config{Sinks: []Sink{v}, FlushInterval: time.Hour})
		r := open(t, c, "exporter", 1, udp)
		now(r, message(1, 0, set(2, addresses)))
		perMessage := 248 / len(unhex(flow))
		messages := trayLimit / 2 / (perMessage * len(unhex(flow)))
		began := time.Now()
		for i := range messages {
			now(r, bulk(uint32(i*perMessage), perMessage))
		}
		if took := time.Since(began); took > 10*quickCall {
			t.Errorf("waited %v", took)
		}
		close(v.shut)
		if err := c.Flush(); err != nil {
			t.Error(err)
		}
		if s := c.Stats().Sinks[0]; s.Dropped != 0 || s.Written != uint64(messages*perMessage) {
			t.Errorf("%+v", s)
		}
		if err := c.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// What comes after the end waits for nobody.
func TestCollector_AfterClose(t *testing.T) {
	for _, offline := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			g := new(gate)
			c := New(Config{Sinks: []Sink{g}, Offline: offline})
			r := open(t, c, "exporter", 1, tcp)
			now(r, message(1, 0, set(2, addresses), set(256, flow)))
			if err := c.Close(t.Context()); err != nil {
				t.Error(err)
			}
			now(r, message(1, 1, set(2, addresses), set(256, flow)))
			if err := c.Flush(); !errors.Is(err, errEnding) {
				t.Errorf("flush: %v", err)
			}
			if s := c.Stats().Sinks[0]; s.Written != 1 || s.Dropped != 1 {
				t.Errorf("%+v", s)
			}
			if n, _ := g.counts(); n != 1 {
				t.Errorf("%d records written", n)
			}
		})
	}
}
