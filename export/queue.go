package export

import (
	"slices"
	"time"

	"ipfixsuite/export/spool"
	"ipfixsuite/ipfix"
)

// A message is one IPFIX Message that was packed, or the order to withdraw a
// Template at this place between messages. Its header is written when it is
// sent: sequence numbers belong to a session.
type message struct {
	dom  *domain
	lane *lane
	// uses are the Templates of what is in it, or is withdrawn, as they were
	// when it was packed; with StreamPerTemplate it is one.
	uses    []*Template
	buf     []byte // storage, reused
	data    []byte // what to send, in buf
	records int    // Data Records in it
	options int    // of these, options records
	// gap is the number of Data Records dropped between the message before
	// and this one: the sequence number jumps over them, so that the
	// collector learns of the loss.
	gap      uint32
	version  uint64 // of dom.active: all Templates it needs are in there
	since    time.Time
	withdraw *Template
	// replay: it was sent before, on a session that was lost, and is in the
	// counters already.
	replay bool
	// pos is where it stands in the spool; the zero value: it does not.
	pos spool.Position
	// number is its place among all that entered the queue.
	number uint64
}

// queue holds sealed messages in order, and spare ones. It is a ring.
type queue struct {
	ring   []*message
	head   int
	n      int
	octets int // storage of what is in the ring
	spare  []*message
}

func (q *queue) len() int { return q.n }

func (q *queue) at(i int) *message { return q.ring[(q.head+i)%len(q.ring)] }

func (q *queue) grow() {
	ring := make([]*message, max(64, 2*len(q.ring)))
	for i := range q.n {
		ring[i] = q.at(i)
	}
	q.ring, q.head = ring, 0
}

func (q *queue) push(m *message) {
	if q.n == len(q.ring) {
		q.grow()
	}
	q.ring[(q.head+q.n)%len(q.ring)] = m
	q.n++
	q.octets += cap(m.buf)
	m.lane.queued += cap(m.buf)
}

func (q *queue) pushFront(m *message) {
	if q.n == len(q.ring) {
		q.grow()
	}
	q.head = (q.head + len(q.ring) - 1) % len(q.ring)
	q.ring[q.head] = m
	q.n++
	q.octets += cap(m.buf)
	m.lane.queued += cap(m.buf)
}

func (q *queue) pop() *message {
	m := q.ring[q.head]
	q.ring[q.head] = nil
	q.head = (q.head + 1) % len(q.ring)
	q.n--
	q.octets -= cap(m.buf)
	m.lane.queued -= cap(m.buf)
	return m
}

// get returns a message with room for size octets.
func (q *queue) get(size int) *message {
	var m *message
	if n := len(q.spare); n > 0 {
		m = q.spare[n-1]
		q.spare = q.spare[:n-1]
	} else {
		m = &message{uses: make([]*Template, 0, 4)}
	}
	if cap(m.buf) < size {
		m.buf = make([]byte, 0, size)
	}
	return m
}

// put takes a message back for reuse. Few storages of another size linger:
// get replaces those that are too small.
func (q *queue) put(m *message) {
	clear(m.uses)
	*m = message{buf: m.buf[:0], uses: m.uses[:0]}
	q.spare = append(q.spare, m)
}

// each calls f for each Data Record of a finished message with the
// Template that the domain has for it.
func (m *message) each(f func(t *Template, rec []byte)) {
	for set, err := range ipfix.Sets(m.data) {
		if err != nil {
			return
		}
		t := m.template(set.ID)
		if t == nil {
			continue
		}
		var r ipfix.Records
		r.Reset(t.Template, set.Body)
		for r.Next() {
			f(t, r.Raw())
		}
	}
}

// use notes a Template that the message needs.
func (m *message) use(t *Template) {
	if !slices.Contains(m.uses, t) {
		m.uses = append(m.uses, t)
	}
}

// template returns the one that a Data Set of the message was packed with.
func (m *message) template(id uint16) *Template {
	for _, t := range m.uses {
		if t.ID == id {
			return t
		}
	}
	return nil
}

// Lookup and All make a message what the spool asks for Templates: its own
// stay those that it was packed with, whatever their ids mean now.
func (m *message) Lookup(id uint16) *ipfix.Template {
	if t := m.template(id); t != nil {
		return t.Template
	}
	return m.dom.active.Lookup(id)
}

// All implements spool.Templates.
func (m *message) All() []*ipfix.Template {
	var list []*ipfix.Template
	for _, t := range m.uses {
		list = append(list, t.Template)
	}
	for _, t := range m.dom.active.All() {
		if m.template(t.ID) == nil {
			list = append(list, t)
		}
	}
	return list
}
