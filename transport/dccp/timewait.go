package dccp

import (
	"sync"
	"time"

	"ipfixsuite/transport/dccp/core"
)

const (
	// timeWait is how long the end that a Reset has reached lets nobody have
	// the connection's addresses and ports (RFC 4340, Section 8.3).
	timeWait = 2 * core.MSL
	// maxTimeWaits bounds what is remembered. Beyond, the oldest give way: a
	// Dial draws its ports at random, from 2^14 or 2^28 pairs.
	maxTimeWaits = 4096
)

// timeWaits remembers the connections that were dialled and are no more, above
// all those of Dial, which take their sockets with them. Whichever end holds
// TIMEWAIT, their ports are kept from the next connections of this process for
// as long. The zero value works.
type timeWaits struct {
	mu    sync.Mutex
	until map[core.Tuple]time.Time
	order []core.Tuple // the oldest first
}

// departed is the process's.
var departed timeWaits

func (w *timeWaits) add(now time.Time, key core.Tuple) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.expire(now)
	if _, ok := w.until[key]; ok {
		return // it cannot have been used since
	}
	if len(w.order) == maxTimeWaits {
		w.drop()
	}
	if w.until == nil {
		w.until = make(map[core.Tuple]time.Time)
	}
	w.until[key] = now.Add(timeWait)
	w.order = append(w.order, key)
}

// waits reports whether the connection is in TIMEWAIT.
func (w *timeWaits) waits(now time.Time, key core.Tuple) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.expire(now)
	_, ok := w.until[key]
	return ok
}

func (w *timeWaits) expire(now time.Time) {
	for len(w.order) > 0 && !now.Before(w.until[w.order[0]]) {
		w.drop()
	}
}

// drop forgets the oldest.
func (w *timeWaits) drop() {
	delete(w.until, w.order[0])
	w.order = w.order[1:]
}

// depart takes c from those that live; e.mu is held.
func (e *Endpoint) depart(c *Conn) {
	if p := prefix(c.peer.Addr()); e.near[p] > 1 {
		e.near[p]--
	} else {
		delete(e.near, p)
	}
}

// maxRests bounds the connections in TIMEWAIT: whoever resets what he has just
// opened costs no more than that, and keeps nobody else out.
const maxRests = 1024

// rest notes that a connection is in TIMEWAIT; c.mu is held. That of the oldest
// ends when they are too many.
func (e *Endpoint) rest(c *Conn) {
	e.mu.Lock()
	if c.rests || e.conns[c.key] != c {
		e.mu.Unlock()
		return
	}
	c.rests = true
	e.depart(c)
	e.rests = append(e.rests, c)
	var oldest *Conn
	if len(e.rests) > maxRests {
		oldest = e.rests[0]
	}
	e.mu.Unlock()
	if oldest == nil || oldest == c {
		return
	}
	// Only one that comes to rest locks another, and only one that rests
	// already: they cannot wait for each other.
	oldest.mu.Lock()
	defer oldest.mu.Unlock()
	oldest.retire()
}

// quit ends what is in TIMEWAIT: it goes with the socket.
func (e *Endpoint) quit() {
	for _, c := range e.all() {
		c.mu.Lock()
		if !c.retired && c.m.State() == core.StateTimeWait {
			c.retire()
		}
		c.mu.Unlock()
	}
}
