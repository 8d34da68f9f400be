package collect

import (
	"time"
)

// parked is a barrier behind data whose Template has not come yet.
type parked struct {
	done  func()
	since time.Time
}

// Barrier implements transport.Receiver. What waits for its Template is not
// written, so it is not answered for either, as long as the Template may
// still come.
func (r *receiver) Barrier(done func()) {
	r.mu.Lock()
	r.n.Barriers++
	if r.store.Held() > 0 && len(r.parked) < maxBarriers && !r.c.cfg.Offline {
		r.parked = append(r.parked, parked{done, r.c.now()})
		r.unpark()
		r.mu.Unlock()
		return
	}
	r.mu.Unlock()
	r.c.barrier(barrier{r, done})
}

// unpark lets barriers go on that wait no more. r.mu is held.
func (r *receiver) unpark() {
	kept := r.parked[:0]
	for _, p := range r.parked {
		if r.store.Held() > 0 && r.c.now().Sub(p.since) < heldPatience && r.unsure(p.since) {
			kept = append(kept, p)
			continue
		}
		r.c.barrier(barrier{r, p.done})
	}
	clear(r.parked[len(kept):])
	r.parked = kept
}

// unsure reports whether data waits that came before a time, but not so long
// before that its Template is given up.
func (r *receiver) unsure(before time.Time) bool {
	for _, d := range r.domains {
		if d.store.Waits(before.Add(-heldPatience), before) {
			return true
		}
	}
	return false
}
