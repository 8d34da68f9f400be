package userspace

import (
	"io"
	"net"
	"slices"
	"sync"
	"time"

	pion "github.com/pion/sctp"

	"ipfixsuite/transport/sctp/shim"
)

// engineConn is the network as pion sees it: packets that the shim has gone
// through. Reading and writing fail only when the association has ended: any
// error would end pion's.
type engineConn struct{ a *association }

// Read hands pion the next packet. Pion reads in one goroutine and has dealt
// with each packet when it comes for the next: then the messages that the last
// one completed are fetched.
func (c engineConn) Read(b []byte) (int, error) {
	a := c.a
	a.rx.collect(&a.streams)
	for {
		if a.streams.packet != nil {
			if n := a.resume(b); n > 0 {
				return n, nil
			}
			give(a.streams.packet)
			a.streams.packet = nil
		}
		p, ok := a.in.get()
		if !ok {
			a.rx.exhausted()
			return 0, io.EOF
		}
		a.streams.packet, a.streams.fresh = p, true
	}
}

// resume runs the packet at hand, or what is left of it, through the shim.
func (a *association) resume(b []byte) int {
	now := time.Now()
	a.mu.Lock()
	before, signs := a.core.Settled(), a.core.Signs()
	var out []byte
	if a.streams.fresh {
		out = a.core.Inbound(now, a.streams.packet, b[:0])
	} else {
		out = a.core.Resume(now, b[:0])
	}
	a.streams.fresh = false
	a.streams.touched = a.core.Touched(a.streams.touched)
	a.flush(now)
	if a.core.Settled() != before || a.core.Signs() != signs {
		a.changed.tell()
	}
	a.mu.Unlock()
	a.rx.expect(&a.streams)
	return len(out)
}

// Write takes a packet of pion.
func (c engineConn) Write(b []byte) (int, error) {
	a := c.a
	now := time.Now()
	a.mu.Lock()
	p := a.core.Outbound(now, b, take(len(b)+64))
	to, from := a.remote, a.from
	shut := a.core.WindowShut()
	a.use.holds(a.core.EngineHolds())
	a.mu.Unlock()
	if len(p) == 0 {
		give(p)
	} else if !a.s.out.put(p, to, from, true) {
		a.queueDrops.Add(1)
	}
	a.mu.Lock()
	a.flush(now)
	a.mu.Unlock()
	if shut && a.rx.idle() && a.living() {
		// Nothing can be read, nothing is missing, and there is no room: a
		// message that is larger than the receive buffer.
		a.oversized("message larger than the receive buffer")
	}
	return len(b), nil
}

// living tells whether the association has not ended.
func (a *association) living() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return !a.ended()
}

// Close is called by pion when it has ended.
func (c engineConn) Close() error {
	a := c.a
	a.mu.Lock()
	defer a.mu.Unlock()
	a.core.Abort("")
	a.flush(time.Now())
	a.in.close()
	return nil
}

func (c engineConn) LocalAddr() net.Addr              { return net.UDPAddrFromAddrPort(c.a.s.UDPAddr()) }
func (c engineConn) RemoteAddr() net.Addr             { return &net.UDPAddr{} }
func (c engineConn) SetDeadline(time.Time) error      { return nil }
func (c engineConn) SetReadDeadline(time.Time) error  { return nil }
func (c engineConn) SetWriteDeadline(time.Time) error { return nil }

// streams are pion's streams, which are opened before pion finds that DATA
// came on them: those it opens itself wait in a short queue and lose their
// DATA when it is full.
type streams struct {
	mu     sync.Mutex
	engine *pion.Association
	begun  chan struct{} // closed when engine is set
	open   map[uint16]*pion.Stream

	// Of the goroutine that reads for pion.
	packet  []byte // at hand
	fresh   bool   // not yet begun
	touched []uint16
}

func (s *streams) init() {
	s.open = make(map[uint16]*pion.Stream)
	s.begun = make(chan struct{})
}

func (s *streams) start(e *pion.Association) {
	s.engine = e
	close(s.begun)
}

// get is a stream; nil when pion opens none any more.
func (s *streams) get(id uint16) *pion.Stream {
	<-s.begun
	s.mu.Lock()
	defer s.mu.Unlock()
	if st := s.open[id]; st != nil {
		return st
	}
	st, err := s.engine.OpenStream(id, 0)
	if err != nil {
		return nil
	}
	// Reads never wait: a deadline long past makes them fail when there is
	// nothing.
	_ = st.SetReadDeadline(time.Unix(1, 0))
	s.open[id] = st
	return st
}

// all opens every stream the peer may use: while pion shuts down it lets us
// open none, and DATA may still come.
func (s *streams) all(in uint16) {
	for id := range in {
		s.get(id)
	}
	s.get(shim.SinkStream)
}

// zeroLast puts stream 0 behind the others: on it RFC 6083 sends what changes
// keys or ends a session, before which everything else has to be read.
func zeroLast(streams []uint16) {
	if i := slices.Index(streams, 0); i >= 0 {
		copy(streams[i:], streams[i+1:])
		streams[len(streams)-1] = 0
	}
}
