package collect

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ipfixsuite/transport"
)

// Many exporters at a time, looked at from outside, with sessions that come and
// go: every record is counted once.
func TestCollector_Concurrent(t *testing.T) {
	const exporters, sessions, messages = 8, 3, 200
	g := new(gate)
	c := New(Config{Sinks: []Sink{g, new(discard)}, FlushInterval: time.Millisecond})
	var exporting, looking sync.WaitGroup
	stop := make(chan struct{})
	looking.Go(func() {
		var last uint64
		for {
			select {
			case <-stop:
				return
			default:
			}
			st := c.Stats()
			if st.Busy == 0 && st.Records < last {
				t.Errorf("%d records after %d", st.Records, last)
			}
			last = max(last, st.Records)
			c.ExporterStats()
		}
	})
	var answered atomic.Int64
	for i := range exporters {
		exporting.Go(func() {
			for s := range uint64(sessions) {
				r, err := c.Open(peer(fmt.Sprintf("exporter %d", i), uint64(i)*10+s), udp)
				if err != nil {
					t.Error(err)
					return
				}
				for n := range uint32(messages) {
					now(r, message(uint32(i), n, set(2, addresses), set(256, flow)))
				}
				done := make(chan struct{})
				r.Barrier(func() { answered.Add(1); close(done) })
				<-done
				r.Closed(transport.ErrPeerClosed)
			}
		})
	}
	exporting.Wait()
	close(stop)
	looking.Wait()
	if err := c.Close(t.Context()); err != nil {
		t.Error(err)
	}
	st := c.Stats()
	const want = exporters * sessions * messages
	if s := st.Summary(); s.RecordsReceived != want || s.RecordsWritten != want || s.RecordsLost != 0 || s.SessionsOpened != exporters*sessions || answered.Load() != exporters*sessions {
		t.Errorf("%+v, %d barriers answered", s, answered.Load())
	}
	if len(c.ExporterStats()) != exporters || st.SessionsOpen != 0 {
		t.Errorf("%d exporters, %d sessions open", len(c.ExporterStats()), st.SessionsOpen)
	}
}
