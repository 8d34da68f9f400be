package collect

import (
	"context"
	"sync"
	"time"
)

const (
	// flushPatience is how long a sink may take for a flush before the others
	// are flushed without it.
	flushPatience = time.Second
	// flushSpacing lets the barriers of one batch of datagrams, and of many
	// exporters, share a flush.
	flushSpacing = time.Millisecond
	// maxBarriers bounds what a session can have waiting. A peer has one
	// heartbeat in flight (RFC 6520, Section 3).
	maxBarriers = 8
)

// A barrier waits for everything its session brought before it to be written.
type barrier struct {
	r    *receiver
	done func()
}

// A flusher flushes the sinks when a barrier asks for it, and now and then.
type flusher struct {
	outputs []*output
	asked   []<-chan error // of outputs: flushes that have not ended
	kick    chan struct{}  // one is enough: it takes all that waits

	mu      sync.Mutex
	waiting []barrier
	lost    uint64 // barriers that will never be answered
}

// ask queues a barrier.
func (f *flusher) ask(b barrier) {
	f.mu.Lock()
	n := 0
	for i := range f.waiting {
		if f.waiting[i].r == b.r {
			n++
		}
	}
	if n >= maxBarriers {
		f.lost++
		f.mu.Unlock()
		return
	}
	f.waiting = append(f.waiting, b)
	f.mu.Unlock()
	select {
	case f.kick <- struct{}{}:
	default:
	}
}

// run flushes until stop is closed, and then once more.
func (f *flusher) run(interval time.Duration, stop <-chan struct{}) {
	timer := time.NewTimer(interval)
	defer timer.Stop()
	var last time.Time
	for {
		var ended bool
		select {
		case <-f.kick:
			if wait := flushSpacing - time.Since(last); wait > 0 {
				timer.Reset(wait)
				select {
				case <-timer.C:
				case <-stop:
					ended = true
				}
			}
		case <-timer.C:
		case <-stop:
			ended = true
		}
		next := interval
		if !f.flush() {
			next = min(next, retryMin)
		}
		if ended {
			return
		}
		last = time.Now()
		timer.Reset(next)
	}
}

// flush flushes every sink and answers the barriers that waited before it
// began. A barrier whose session lost a record at a sink is never answered: the
// exporter is to send it again (its confirmed window covers it).
func (f *flusher) flush() bool {
	f.mu.Lock()
	batch := f.waiting
	f.waiting = nil
	f.mu.Unlock()
	ok := f.flushOutputs()
	var lost uint64
	kept := batch[:0]
	for _, b := range batch {
		switch {
		case b.r.closed.Load() || b.r.broken.Load():
			lost++
		case ok:
			b.done()
		default:
			kept = append(kept, b)
		}
	}
	f.mu.Lock()
	f.lost += lost
	f.waiting = append(kept, f.waiting...)
	f.mu.Unlock()
	return ok
}

// flushOutputs flushes the sinks side by side, and reports whether everything
// that was given to them before is written. One that hangs is left behind.
func (f *flusher) flushOutputs() bool {
	ok := true
	asked := make([]<-chan error, len(f.outputs))
	for i, o := range f.outputs {
		if p := f.asked[i]; p != nil {
			select {
			case err := <-p: // says nothing of what came since
				f.asked[i] = nil
				ok = ok && err == nil
			default:
				ok = false
				continue
			}
		}
		asked[i] = o.ask(false)
		f.asked[i] = asked[i]
	}
	late, stop := context.WithTimeout(context.Background(), flushPatience)
	defer stop()
	for i, p := range asked {
		if p == nil {
			continue
		}
		select {
		case err := <-p:
			f.asked[i] = nil
			ok = ok && err == nil
		case <-late.Done():
			ok = false // the next round asks again
		}
	}
	return ok
}

func (f *flusher) pending() (waiting int, lost uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.waiting), f.lost
}
