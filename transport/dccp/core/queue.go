package core

import "errors"

// Errors of Send.
var (
	// ErrQueueFull: wait for EventWritable.
	ErrQueueFull = errors.New("dccp: send queue is full")
	// ErrTooLarge: the message exceeds the MPS in force.
	ErrTooLarge = errors.New("dccp: message exceeds the maximum packet size")
	// ErrClosed: the connection takes no messages any more.
	ErrClosed = errors.New("dccp: connection is closed")
)

// queue holds messages, each in one piece, in a ring of octets which grows to
// its bound and is then reused: nothing is allocated per message.
type queue struct {
	octets  []byte
	end     int // where the last message ends
	used    int
	marks   []mark // a ring; its length is a power of two
	head, n int
}

type mark struct {
	id       uint64
	at, size int
}

func (q *queue) mark(i int) *mark { return &q.marks[(q.head+i)&(len(q.marks)-1)] }

func (q *queue) push(id uint64, msg []byte) {
	at, ok := q.place(len(msg))
	if !ok {
		q.grow(len(msg))
		at = q.end
	}
	copy(q.octets[at:], msg)
	q.end = at + len(msg)
	q.used += len(msg)
	if q.n == len(q.marks) {
		grown := make([]mark, max(8, 2*len(q.marks)))
		for i := range q.n {
			grown[i] = *q.mark(i)
		}
		q.marks, q.head = grown, 0
	}
	q.n++
	*q.mark(q.n - 1) = mark{id, at, len(msg)}
}

// place finds room for size octets in a row.
func (q *queue) place(size int) (at int, ok bool) {
	if q.used == 0 {
		return 0, size <= len(q.octets)
	}
	first := q.first()
	switch {
	case q.end > first && size <= len(q.octets)-q.end:
		return q.end, true
	case q.end > first:
		return 0, size <= first // the rest at the end stays unused for a while
	}
	return q.end, size <= first-q.end
}

// first is where the oldest octet lies; messages of none lie anywhere.
func (q *queue) first() int {
	for i := range q.n {
		if m := q.mark(i); m.size > 0 {
			return m.at
		}
	}
	return 0
}

func (q *queue) grow(more int) {
	size := max(2048, len(q.octets))
	for size < q.used+more || size == len(q.octets) {
		size *= 2
	}
	grown, at := make([]byte, size), 0
	for i := range q.n {
		m := q.mark(i)
		copy(grown[at:], q.octets[m.at:m.at+m.size])
		m.at = at
		at += m.size
	}
	q.octets, q.end = grown, at
}

// front is the message that goes next; the view holds until the next push.
func (q *queue) front() (id uint64, msg []byte) {
	m := q.mark(0)
	return m.id, q.octets[m.at : m.at+m.size]
}

// dropLarger takes out the messages of more than size octets. The octets between
// those that stay are free again when these have gone.
func (q *queue) dropLarger(size int, dropped func(id uint64)) {
	kept := 0
	for i := range q.n {
		m := *q.mark(i)
		if m.size > size {
			q.used -= m.size
			dropped(m.id)
			continue
		}
		*q.mark(kept) = m
		kept++
	}
	q.n = kept
}

func (q *queue) pop() mark {
	m := *q.mark(0)
	q.head = (q.head + 1) & (len(q.marks) - 1)
	q.n--
	q.used -= m.size
	return m
}
