package tlsmux

import (
	"sync"
	"time"
)

// SetDeadline implements net.Conn.
func (ch *Channel) SetDeadline(t time.Time) error {
	ch.rd.set(t)
	ch.wd.set(t)
	return nil
}

// SetReadDeadline implements net.Conn.
func (ch *Channel) SetReadDeadline(t time.Time) error {
	ch.rd.set(t)
	return nil
}

// SetWriteDeadline implements net.Conn.
func (ch *Channel) SetWriteDeadline(t time.Time) error {
	ch.wd.set(t)
	return nil
}

// deadline is one direction's.
type deadline struct {
	mu    sync.Mutex
	timer *time.Timer
	c     chan struct{}
}

// over is closed when the deadline has passed.
func (d *deadline) over() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.c == nil {
		d.c = make(chan struct{})
	}
	return d.c
}

func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil && !d.timer.Stop() {
		<-d.c // it is about to close it
	}
	d.timer = nil
	select {
	case <-d.c:
		d.c = nil // it has passed: the next is another
	default:
	}
	if d.c == nil {
		d.c = make(chan struct{})
	}
	switch c := d.c; {
	case t.IsZero():
	case !t.After(time.Now()):
		close(c)
	default:
		d.timer = time.AfterFunc(time.Until(t), func() { close(c) })
	}
}
