package userspace

import "sync"

// inbox holds packets until their association takes them.
type inbox struct {
	mu      sync.Mutex
	arrived sync.Cond
	packets [][]byte
	first   int
	bytes   int
	limit   int
	use     *usage
	closed  bool
}

// inboxLimit is how much a receive window takes in packets: their buffers are
// counted, which messages that fill the packets badly fill to a third. What a
// peer may send by its window must not be dropped here: it would wait for a
// retransmission timeout.
func inboxLimit(window int) int { return 3*window + 1<<16 }

func (q *inbox) init(limit int, use *usage) {
	q.arrived.L = &q.mu
	q.limit, q.use = limit, use
}

// put takes a packet in a buffer of take; false when there is no room.
func (q *inbox) put(p []byte) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || q.bytes+cap(p) > q.limit {
		return false
	}
	q.bytes += cap(p)
	q.use.add(cap(p))
	if q.first > 0 && len(q.packets) == cap(q.packets) {
		n := copy(q.packets, q.packets[q.first:])
		clear(q.packets[n:])
		q.packets, q.first = q.packets[:n], 0
	}
	q.packets = append(q.packets, p)
	q.arrived.Signal()
	return true
}

// get waits for a packet; false when the inbox is closed and empty.
func (q *inbox) get() ([]byte, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.first == len(q.packets) {
		if q.closed {
			return nil, false
		}
		q.arrived.Wait()
	}
	p := q.packets[q.first]
	q.packets[q.first] = nil
	if q.first++; q.first == len(q.packets) {
		q.packets, q.first = q.packets[:0], 0
	}
	q.bytes -= cap(p)
	q.use.add(-cap(p))
	return p, true
}

// close makes get fail when what is there has been taken.
func (q *inbox) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.arrived.Broadcast()
}
