package tcp

import (
	"sync"

	"ipfixsuite/transport"
)

// writer gathers messages and writes them in large pieces. While one buffer is
// being written the other is filled.
type writer struct {
	conn  *Conn
	limit int // of piece
	max   int // of the buffer being filled

	mu      sync.Mutex
	filled  []byte
	cuts    []cut // of filled: pieces of whole messages
	taken   uint64
	wake    chan struct{} // to run: there is something to do
	room    chan struct{} // closed when filled is empty again; nil: nobody waits
	closing bool          // no more comes
	stopped bool

	// marks tell where on the connection pieces ended, oldest first, for those
	// not known to be acknowledged.
	marks []mark
	told  uint64 // the last message whose fate was told
	final uint64 // arrived, when it was stopped
}

// cut ends a piece.
type cut struct {
	end  int    // in the buffer
	last uint64 // message
}

type mark struct {
	end  uint64 // of the connection's octets
	last uint64 // message
}

func (w *writer) init(c *Conn, buffer int) {
	w.conn, w.max, w.limit = c, buffer, plainMax
	if c.tls != nil {
		w.limit = piece
	}
	w.wake = make(chan struct{}, 1)
}

// put takes a message; else it returns a channel that is closed when there may
// be room.
func (w *writer) put(m []byte) <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closing || w.stopped || len(w.filled)+len(m) > w.max {
		if w.room == nil {
			w.room = make(chan struct{})
		}
		return w.room
	}
	w.taken++
	begin := 0
	if n := len(w.cuts); n > 1 {
		begin = w.cuts[n-2].end
	}
	if len(w.cuts) == 0 || len(w.filled)-begin+len(m) > w.limit {
		w.cuts = append(w.cuts, cut{})
	}
	w.filled = append(w.filled, m...)
	w.cuts[len(w.cuts)-1] = cut{len(w.filled), w.taken}
	w.signal()
	return nil
}

func (w *writer) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// run writes until stop, finish or an error of the connection.
func (w *writer) run() error {
	var buf []byte
	var cuts []cut
	for range w.wake {
		for {
			w.mu.Lock()
			if w.stopped {
				w.mu.Unlock()
				return nil
			}
			if len(w.filled) == 0 {
				closing := w.closing
				w.mu.Unlock()
				if closing {
					return w.conn.CloseWrite()
				}
				break
			}
			buf, w.filled = w.filled, buf[:0]
			cuts, w.cuts = w.cuts, cuts[:0]
			if w.room != nil {
				close(w.room)
				w.room = nil
			}
			w.mu.Unlock()
			begin := 0
			for _, c := range cuts {
				if _, err := w.conn.Write(buf[begin:c.end]); err != nil {
					return err
				}
				begin = c.end
				w.mu.Lock()
				w.settle()
				w.marks = append(w.marks, mark{w.conn.Written(), c.last})
				w.mu.Unlock()
			}
		}
	}
	return nil
}

// settle forgets marks that are acknowledged, but for the newest of them. mu
// is held.
func (w *writer) settle() {
	if len(w.marks) < cap(w.marks) {
		return // there is room: no need to ask the kernel
	}
	n := w.acknowledged()
	if n > 1 {
		w.marks = append(w.marks[:0], w.marks[n-1:]...)
	}
}

// acknowledged is how many of the marks are. mu is held.
func (w *writer) acknowledged() int {
	octets := w.final
	if !w.stopped {
		octets = w.arrived()
	}
	n := 0
	for n < len(w.marks) && w.marks[n].end <= octets {
		n++
	}
	return n
}

// arrived is how many octets of the connection the peer's host has, at least.
func (w *writer) arrived() uint64 {
	// In this order: what is written in between must not count as arrived.
	written := w.conn.Written()
	out, ok := w.conn.Unacknowledged()
	if !ok || uint64(out) > written {
		return 0
	}
	return written - uint64(out)
}

func (w *writer) fates(dst []transport.Fate) []transport.Fate {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := w.acknowledged()
	if n == 0 {
		return dst
	}
	last := w.marks[n-1].last
	w.marks = append(w.marks[:0], w.marks[n:]...)
	dst = append(dst, transport.Fate{First: w.told + 1, Last: last, Arrived: true})
	w.told = last
	return dst
}

// finish lets run write what there is and end the stream.
func (w *writer) finish() {
	w.mu.Lock()
	w.closing = true
	w.mu.Unlock()
	w.signal()
}

func (w *writer) finished() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.closing && len(w.filled) == 0
}

// stop ends run, and notes how much the peer's host has; the connection is
// closed afterwards.
func (w *writer) stop() {
	w.mu.Lock()
	if !w.stopped {
		w.final = w.arrived()
		w.stopped = true
	}
	w.mu.Unlock()
	w.signal()
}
