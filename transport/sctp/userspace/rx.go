package userspace

import (
	"errors"
	"io"
	"math"
	"net/netip"
	"sync"
	"sync/atomic"

	pion "github.com/pion/sctp"

	"ipfixsuite/transport/sctp"
	"ipfixsuite/transport/sctp/shim"
)

// item is something Receive is to tell.
type item struct {
	kind    sctp.EventKind
	message sctp.Message // its data is in a buffer of take
	path    netip.AddrPort
	number  uint64 // of a message that failed
}

// rx holds what Receive is to tell. Messages beyond its limit stay with pion,
// where they take from the window that the peer is told.
type rx struct {
	mu      sync.Mutex
	arrived sync.Cond
	items   []item
	first   int
	bytes   int // of messages in items
	limit   int

	// awaited are streams that pion got something on and that are not yet
	// read: of the packet it has at hand; ready those it has dealt with.
	awaited, ready []uint16

	last    []byte   // what the last Receive handed out
	failed  []uint64 // numbers of failed messages that are not yet told
	telling bool     // the last Receive handed the first of them out
	err     error    // the association has ended
	drained bool     // pion has dealt with the last packet

	use              *usage
	messages, octets uint64
	tooLarge         func() // called once when pion holds a message over the limit
}

func (r *rx) init(limit int, use *usage, tooLarge func()) {
	r.arrived.L = &r.mu
	r.limit, r.use, r.tooLarge = limit, use, tooLarge
}

// expect notes the streams of the packet that pion gets next.
func (r *rx) expect(s *streams) {
	if len(s.touched) == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range s.touched {
		s.get(id) // opened before pion would
	}
	r.awaited = append(r.awaited, s.touched...)
	s.touched = s.touched[:0]
}

// collect fetches what pion has ready: it has dealt with the packet that was
// awaited.
func (r *rx) collect(s *streams) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.awaited) == 0 {
		return
	}
	for _, id := range r.awaited {
		r.ready = appendOnce(r.ready, id)
	}
	r.awaited = r.awaited[:0]
	r.fetch(s)
}

func appendOnce(list []uint16, id uint16) []uint16 {
	for _, have := range list {
		if have == id {
			return list
		}
	}
	return append(list, id)
}

// fetch reads the streams in ready as far as there is room; r.mu is held.
func (r *rx) fetch(s *streams) {
	if r.bytes >= r.limit {
		return
	}
	buf := large.Get().(*engineMessage)
	defer large.Put(buf)
	zeroLast(r.ready)
	for i, id := range r.ready {
		// A stream that cannot be opened any more has nothing.
		if st := s.get(id); st != nil && !r.read(st, id, buf[:]) {
			r.ready = r.ready[:copy(r.ready, r.ready[i:])]
			return
		}
	}
	r.ready = r.ready[:0]
}

// read takes a stream's messages; false when there is no more room.
func (r *rx) read(st *pion.Stream, id uint16, buf []byte) bool {
	for r.bytes < r.limit {
		n, engine, err := st.ReadSCTP(buf)
		data, ppid, unordered := shim.ReadMessage(buf[:min(n, len(buf))], uint32(engine))
		if errors.Is(err, io.ErrShortBuffer) || len(data) > maxMessage {
			if r.tooLarge != nil {
				go r.tooLarge()
				r.tooLarge = nil
			}
			return true
		}
		if err != nil {
			return true
		}
		if id == shim.SinkStream {
			continue
		}
		it := r.push()
		it.kind = sctp.EventMessage
		it.message.Stream, it.message.PPID, it.message.Unordered = id, ppid, unordered
		it.message.Data = append(take(len(data)), data...)
		r.charge(it.message.Data, 1)
	}
	return false
}

// itemCost is what an item takes beside its buffer.
const itemCost = 128

// charge accounts for a message that comes (1) or goes (-1); r.mu is held.
func (r *rx) charge(data []byte, sign int) {
	n := sign * (cap(data) + itemCost)
	r.bytes += n
	r.use.add(n)
}

// uncharge takes what is left off the account: the association has ended, and
// whether somebody reads it is no longer the socket's concern.
func (r *rx) uncharge() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.use.add(-r.bytes)
	r.use = &usage{total: new(atomic.Int64)}
}

// push adds an empty item; r.mu is held.
func (r *rx) push() *item {
	if r.first > 0 && len(r.items) == cap(r.items) {
		n := copy(r.items, r.items[r.first:])
		clear(r.items[n:])
		r.items, r.first = r.items[:n], 0
	}
	r.items = append(r.items, item{})
	r.arrived.Signal()
	return &r.items[len(r.items)-1]
}

// put adds an item.
func (r *rx) put(it *item) {
	r.mu.Lock()
	defer r.mu.Unlock()
	*r.push() = *it
}

// event adds what the shim has to tell.
func (r *rx) event(ev *shim.Event, path netip.AddrPort) {
	it := item{path: path}
	switch ev.Kind {
	case shim.EventGivenUp:
		it.kind = sctp.EventSendFailed
		it.message.Stream, it.message.Tag = ev.GivenUp.Stream, ev.GivenUp.Tag
		it.number = ev.GivenUp.Number
	case shim.EventPathDown:
		it.kind = sctp.EventPathDown
	case shim.EventPathUp:
		it.kind = sctp.EventPathUp
	case shim.EventPeerShutdown:
		it.kind = sctp.EventPeerShutdown
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	*r.push() = it
	if it.number > 0 {
		r.failed = append(r.failed, it.number)
	}
}

// end notes that and how the association has ended.
func (r *rx) end(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil {
		r.err = err
	}
	r.arrived.Broadcast()
}

// exhausted notes that pion has dealt with everything.
func (r *rx) exhausted() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.drained = true
	r.arrived.Broadcast()
}

// idle tells whether there is nothing to read, here or in pion.
func (r *rx) idle() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.first == len(r.items) && len(r.ready) == 0 && len(r.awaited) == 0
}

// acknowledged bounds a number of acknowledged messages by the failures that
// are not yet told. Who receives may still be at the one handed out last: it is
// told when the next event is asked for.
func (r *rx) acknowledged(settled uint64) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	least := uint64(math.MaxUint64)
	for _, n := range r.failed {
		least = min(least, n)
	}
	return min(settled, least-1)
}

// receive waits for the next item.
func (r *rx) receive(s *streams, ev *sctp.Event) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.last != nil {
		give(r.last)
		r.last = nil
	}
	if r.telling {
		r.failed, r.telling = r.failed[1:], false
	}
	for {
		if r.first < len(r.items) {
			r.hand(ev)
			if r.bytes < r.limit/2 && len(r.ready) > 0 {
				r.fetch(s)
			}
			return nil
		}
		if len(r.ready) > 0 {
			r.fetch(s)
			if r.first < len(r.items) {
				continue
			}
		}
		if r.err != nil && r.drained {
			return r.err
		}
		r.arrived.Wait()
	}
}

// hand takes the first item; r.mu is held.
func (r *rx) hand(ev *sctp.Event) {
	it := &r.items[r.first]
	*ev = sctp.Event{Kind: it.kind, Message: it.message, Path: it.path}
	switch it.kind {
	case sctp.EventMessage:
		r.last = it.message.Data
		r.charge(r.last, -1)
		r.messages++
		r.octets += uint64(len(r.last))
	case sctp.EventSendFailed:
		// Failures are told in the order in which they came.
		r.telling = true
	}
	*it = item{}
	if r.first++; r.first == len(r.items) {
		r.items, r.first = r.items[:0], 0
	}
}

// Receive implements sctp.Association.
func (a *association) Receive(ev *sctp.Event) error { return a.rx.receive(&a.streams, ev) }
