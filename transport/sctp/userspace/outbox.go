package userspace

import (
	"net/netip"
	"sync"

	"ipfixsuite/transport"
)

// outbox gathers packets for the socket's writer, so that what is made while
// it is in one system call goes into the next.
type outbox struct {
	mu      sync.Mutex
	changed sync.Cond
	waiting []transport.Datagram
	closed  bool
}

// maxWaiting bounds the packets between associations and the writer.
const maxWaiting = 1024

func (o *outbox) init() { o.changed.L = &o.mu }

// put takes a packet in a buffer of take. It waits for room if wait is set,
// else drops the packet for want of it: false.
func (o *outbox) put(p []byte, to netip.AddrPort, from netip.Addr, wait bool) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	for wait && len(o.waiting) >= maxWaiting && !o.closed {
		o.changed.Wait()
	}
	if o.closed || len(o.waiting) >= maxWaiting {
		give(p)
		return false
	}
	o.waiting = append(o.waiting, transport.Datagram{Peer: to, Local: from, Data: p})
	if len(o.waiting) == 1 {
		o.changed.Broadcast()
	}
	return true
}

// fetch waits for packets and swaps them for batch, which is empty; false when
// the outbox is closed and everything was fetched.
func (o *outbox) fetch(batch []transport.Datagram) ([]transport.Datagram, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for len(o.waiting) == 0 {
		if o.closed {
			return batch, false
		}
		o.changed.Wait()
	}
	batch, o.waiting = o.waiting, batch
	o.changed.Broadcast()
	return batch, true
}

func (o *outbox) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	o.changed.Broadcast()
}
