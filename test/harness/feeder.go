package harness

import (
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Feeder gives exporters that read their standard input numbered records, one
// exporter after the other, evenly.
type Feeder struct {
	Rate int // records a second

	last int
	to   *Exporter
	stop chan struct{}
	wg   sync.WaitGroup
	now  atomic.Int64
}

// Begin feeds e from the next number on, until End, or until it is gone.
func (f *Feeder) Begin(e *Exporter) {
	f.to, f.stop = e, make(chan struct{})
	f.wg.Go(func() { // End stops it
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		began, first := time.Now(), f.last
		for {
			select {
			case <-f.stop:
				return
			case <-tick.C:
			}
			var lines []byte
			for due := first + int(time.Since(began).Seconds()*float64(f.Rate)); f.last < due; {
				f.last++
				lines = AppendNumbered(lines, f.last)
			}
			if _, err := e.Write(lines); err != nil {
				return
			}
			f.now.Store(int64(f.last))
		}
	})
}

// Given is the last number so far.
func (f *Feeder) Given() int { return int(f.now.Load()) }

// End ends the feeding and returns the last number, which an exporter that
// was killed may not have seen.
func (f *Feeder) End() int {
	close(f.stop)
	if in, ok := f.to.stdin.(*os.File); ok { // one that reads no more holds nobody up
		_ = in.SetWriteDeadline(time.Now().Add(time.Minute))
	}
	f.wg.Wait()
	return f.last
}
