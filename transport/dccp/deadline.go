package dccp

import (
	"sync"
	"time"
)

// A deadline ends waits. The zero value never does.
type deadline struct {
	mu    sync.Mutex
	timer *time.Timer
	// passed is closed by the deadline; a new one is made when it is moved
	// after that.
	passed chan struct{}
}

// set moves the deadline; the zero time removes it.
func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	select {
	case <-d.passed:
		d.passed = nil
	default:
	}
	if d.passed == nil {
		d.passed = make(chan struct{})
	}
	if t.IsZero() {
		return
	}
	left := time.Until(t)
	passed := d.passed
	if left <= 0 {
		close(passed)
		return
	}
	d.timer = time.AfterFunc(left, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		// It may have been moved while this was about to run.
		if d.passed == passed {
			select {
			case <-passed:
			default:
				close(passed)
			}
		}
	})
}

// wait is closed when the deadline passes.
func (d *deadline) wait() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.passed == nil {
		d.passed = make(chan struct{})
	}
	return d.passed
}

// over tells whether the deadline has passed.
func (d *deadline) over() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	select {
	case <-d.passed:
		return true
	default:
		return false
	}
}
