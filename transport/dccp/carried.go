package dccp

import (
	"context"
	"errors"
	"slices"
	"time"

	"ipfixsuite/transport"
)

// patience is how long a session waits for room in the queue: whoever sends
// has to look after other things as well, above all whether the peer lives.
const patience = 100 * time.Millisecond

// patiently is Send that gives up soon: transport.ErrBusy.
func (c *Conn) patiently(ctx context.Context, msg []byte) (uint64, error) {
	id, err := c.tryQueue(msg)
	if !errors.Is(err, ErrQueueFull) {
		return id, err
	}
	wait, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	id, err = c.Send(wait, msg)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		err = transport.ErrBusy
	}
	return id, err
}

// sendAll is patiently for several messages: those that congestion control
// lets go leave together. It returns how many the queue took.
func (c *Conn) sendAll(ctx context.Context, batch []transport.Outgoing) (n int, err error) {
	for n < len(batch) {
		m, err := c.tryQueueAll(batch[n:])
		n += m
		if err == nil {
			continue
		}
		if !errors.Is(err, ErrQueueFull) {
			return n, err
		}
		if _, err := c.patiently(ctx, batch[n].Data); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// tryQueueAll queues messages as far as there is room, and sends what may go.
func (c *Conn) tryQueueAll(batch []transport.Outgoing) (n int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	for n < len(batch) && err == nil {
		if err = c.take(now, batch[n].Data); err == nil {
			n++
		}
	}
	if n > 0 {
		c.drive(now)
	}
	return n, err
}

// maxCarried bounds the messages whose fate is open.
const maxCarried = 1 << 16

// carried finds, of a connection's messages, those that carry data: DTLS's
// handshakes and heartbeats have numbers too.
type carried struct {
	ids     []uint64 // ascending; ids[i] is that of data message base+i
	decided []bool
	base    uint64
	buf     []transport.Fate
}

func (m *carried) sent(id uint64) {
	if m.base == 0 {
		m.base = 1
	}
	if len(m.ids) == maxCarried {
		// Nobody asks: the oldest are forgotten.
		m.forget(maxCarried / 2)
	}
	m.ids = append(m.ids, id)
	m.decided = append(m.decided, false)
}

// tell turns the fates of all messages into those of data.
func (m *carried) tell(dst []transport.Fate, all func([]transport.Fate) []transport.Fate) []transport.Fate {
	m.buf = all(m.buf[:0])
	for _, f := range m.buf {
		i, _ := slices.BinarySearch(m.ids, f.First)
		j, found := slices.BinarySearch(m.ids, f.Last)
		if found {
			j++
		}
		if i == j {
			continue
		}
		for k := i; k < j; k++ {
			m.decided[k] = true
		}
		dst = append(dst, transport.Fate{First: m.base + uint64(i), Last: m.base + uint64(j) - 1, Arrived: f.Arrived})
	}
	known := slices.Index(m.decided, false)
	if known < 0 {
		known = len(m.decided)
	}
	if known > len(m.ids)/2 {
		m.forget(known)
	}
	return dst
}

func (m *carried) forget(n int) {
	m.base += uint64(n)
	m.ids = slices.Delete(m.ids, 0, n)
	m.decided = slices.Delete(m.decided, 0, n)
}
