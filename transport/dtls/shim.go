package dtls

import (
	"bytes"
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"ipfixsuite/transport/dtls/record"
)

const (
	// maxQueued bounds the datagrams that wait for a handshake to read them.
	maxQueued = 64
	// maxEarly and maxEarlyBytes bound protected records that came before the
	// handshake was over here, kept for the association that follows.
	maxEarly      = 256
	maxEarlyBytes = 256 << 10
	// maxFinished bounds what may be the peer's Finished: retransmissions and
	// what an attacker throws in. None is longer than maxFinishedRecord.
	maxFinished       = 64
	maxFinishedRecord = 128
	// maxProgress is how many of them are signs that the handshake goes on.
	maxProgress = 4
	// cidLen is the length of the Connection IDs a Listener grants.
	cidLen = 8
)

// shim is the net.PacketConn that pion sees. It lets pass only what a
// handshake consists of, reads along, keeps what comes too early, and can be
// muted: pion then writes into the void.
type shim struct {
	client bool
	cidLen int // of the Connection ID on the peer's records, 0 for none
	send   func(context.Context, []byte) error
	drops  *dropCounters
	local  net.Addr
	peer   net.Addr

	in     chan []byte
	closed chan struct{}
	once   sync.Once
	ctx    context.Context // of the handshake: pion's writes know of none
	rbuf   []byte          // owned by the reading goroutine

	sending atomic.Bool // a write is under way
	wmu     sync.Mutex  // held while a write is under way, which may take its time
	muted   bool
	fit     fitter
	// strict: what cannot be sent fails the handshake, rather than being as
	// good as lost.
	strict bool

	mu         sync.Mutex
	wake       chan struct{} // closed by a read deadline in the past
	sniff      sniffer
	early      [][]byte
	earlyBytes int
	lastFlight [][]byte // the last datagrams sent from a ChangeCipherSpec on
	finished   [][]byte // candidates for the peer's Finished
	swapCookie func()   // called instead of sending pion's HelloVerifyRequest
	alertCode  uint8    // replaces the description of pion's plaintext alert

	// onAlert is told of a plaintext fatal alert, onProgress of a handshake
	// record, onFinished of a candidate. They are called without the lock.
	onAlert    func(code uint8)
	onProgress func()
	onFinished func()
	// onContrary is told of a cookie that contradicts the one in use.
	onContrary func()
}

func newShim(client bool, local, peer netip.AddrPort, drops *dropCounters, send func(context.Context, []byte) error) *shim {
	return &shim{
		client: client, send: send, drops: drops, ctx: context.Background(),
		local: net.UDPAddrFromAddrPort(local), peer: net.UDPAddrFromAddrPort(peer),
		in: make(chan []byte, maxQueued), closed: make(chan struct{}), wake: make(chan struct{}),
		sniff:      sniffer{client: client},
		onAlert:    func(uint8) {},
		onProgress: func() {},
		onFinished: func() {},
	}
}

// push hands a datagram to the handshake; it copies. false: there was no room.
func (s *shim) push(b []byte) bool {
	if why, ok := plausible(b, s.client); !ok {
		s.drops.add(why)
		return true
	}
	select {
	case s.in <- bytes.Clone(b):
		return true
	default:
		s.drops.add(dropQueueFull)
		return false
	}
}

// mute makes every later write vanish. When it returns no write is under way.
func (s *shim) mute() {
	s.wmu.Lock()
	s.muted = true
	s.wmu.Unlock()
}

// shut wakes the reader for good.
func (s *shim) shut() { s.once.Do(func() { close(s.closed) }) }

// Close is how pion shuts it.
func (s *shim) Close() error {
	s.shut()
	return nil
}

// leftovers are the protected records kept, and whatever pion never read.
// Only after shut, when nothing pushes any more.
func (s *shim) leftovers() [][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		select {
		case b := <-s.in:
			s.keep(b)
		default:
			early := s.early
			s.early = nil
			return early
		}
	}
}

func (s *shim) LocalAddr() net.Addr              { return s.local }
func (s *shim) SetDeadline(time.Time) error      { return nil }
func (s *shim) SetWriteDeadline(time.Time) error { return nil }

// SetReadDeadline knows a time in the past, which wakes the reader, and none:
// pion uses no other.
func (s *shim) SetReadDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.wake:
		s.wake = make(chan struct{})
	default:
	}
	if !t.IsZero() {
		close(s.wake)
	}
	return nil
}

func (s *shim) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		s.mu.Lock()
		wake := s.wake
		s.mu.Unlock()
		select {
		case <-s.closed:
			return 0, nil, net.ErrClosed
		default:
		}
		select {
		case <-s.closed:
			return 0, nil, net.ErrClosed
		case <-wake:
			return 0, nil, os.ErrDeadlineExceeded
		case in := <-s.in:
			out := s.filter(in)
			if len(out) > len(b) {
				s.drops.add(dropMalformed)
				continue
			}
			if len(out) > 0 {
				return copy(b, out), s.peer, nil
			}
		}
	}
}

// filter returns the records of a datagram that are a handshake's.
func (s *shim) filter(datagram []byte) []byte {
	s.rbuf = s.rbuf[:0]
	progress, candidate := false, false
	var alerts []byte
	for b := datagram; len(b) > 0; {
		h, rec, rest, ok := record.Next(b, s.cidLen)
		if !ok {
			s.drops.add(dropMalformed)
			break
		}
		b = rest
		switch {
		case h.Epoch == 0 && h.Type == record.Handshake:
			s.mu.Lock()
			verdict := s.sniff.record(rec[record.HeaderLen:])
			s.mu.Unlock()
			switch verdict {
			case malformed:
				s.drops.add(dropMalformed)
				continue
			case repeated:
				continue
			case contrary:
				s.drops.add(dropHello)
				s.onContrary()
				continue
			case passed:
				progress = true
			case familiar: // pion repeats a flight for it
			}
		case h.Epoch == 0 && h.Type == record.ChangeCipherSpec:
			if len(rec) != record.HeaderLen+1 || rec[record.HeaderLen] != 1 {
				s.drops.add(dropMalformed)
				continue
			}
		case h.Epoch == 0 && h.Type == record.Alert:
			// Anybody could have sent it: it only starts a timer.
			if len(rec) == record.HeaderLen+2 && (rec[record.HeaderLen] == alertFatal || rec[record.HeaderLen+1] == alertCloseNotify) {
				alerts = append(alerts, rec[record.HeaderLen+1])
			}
			s.drops.add(dropPlaintext)
			continue
		case h.Epoch == 1 && h.Type == record.Handshake:
			if len(rec) > maxFinishedRecord {
				s.drops.add(dropMalformed)
				continue
			}
			candidate = true
			progress = s.candidate(rec) || progress
		case h.Epoch == 1 && h.Type == record.Alert:
			// It may end the handshake, or come between its end in pion and
			// the takeover: then it is for the association.
			s.mu.Lock()
			s.keep(rec)
			s.mu.Unlock()
		case h.Epoch == 1 && h.Type == record.ConnectionID && s.cidLen > 0:
			// What comes before our last flight is out can only be Finished;
			// afterwards pion must not see it: it would take a heartbeat for
			// an attack.
			s.mu.Lock()
			early := s.lastFlight != nil
			if early {
				s.keep(rec)
			}
			s.mu.Unlock()
			if early {
				continue
			}
			s.candidate(rec)
			candidate = true
		case h.Epoch == 1 && (h.Type == record.ApplicationData || h.Type == record.Heartbeat):
			s.mu.Lock()
			s.keep(rec)
			s.mu.Unlock()
			continue
		case h.Epoch == 0:
			s.drops.add(dropPlaintext)
			continue
		default:
			s.drops.add(dropEpoch)
			continue
		}
		s.rbuf = append(s.rbuf, rec...)
	}
	if progress {
		s.onProgress()
	}
	for _, code := range alerts {
		s.onAlert(code)
	}
	if candidate {
		s.onFinished()
	}
	return s.rbuf
}

// candidate keeps a record that may be the peer's Finished. It reports whether
// it is one of the first.
func (s *shim) candidate(rec []byte) (first bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	first = len(s.finished) < maxProgress
	if len(s.finished) == maxFinished {
		copy(s.finished, s.finished[1:])
		s.finished = s.finished[:maxFinished-1]
	}
	s.finished = append(s.finished, bytes.Clone(rec))
	return first
}

func (s *shim) keep(b []byte) {
	if len(s.early) == maxEarly || s.earlyBytes+len(b) > maxEarlyBytes {
		s.drops.add(dropQueueFull)
		return
	}
	s.early = append(s.early, bytes.Clone(b))
	s.earlyBytes += len(b)
}

func (s *shim) WriteTo(b []byte, _ net.Addr) (int, error) {
	s.wmu.Lock()
	defer s.wmu.Unlock()
	if s.muted || s.verifies(b) {
		return len(b), nil
	}
	s.sending.Store(true)
	defer s.sending.Store(false)
	for _, out := range s.outgoing(s.fit.fit(b)) {
		// A datagram that is not sent is a lost one: the handshake repeats it.
		if err := s.send(s.ctx, out); err != nil && s.strict {
			return 0, err
		}
	}
	return len(b), nil
}

// verifies keeps back pion's HelloVerifyRequest where the client has already
// answered ours.
func (s *shim) verifies(b []byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.swapCookie == nil || !isHelloVerifyRequest(b) {
		return false
	}
	s.swapCookie()
	return true
}

// outgoing is what goes out of a datagram of pion's, which fit has cut.
func (s *shim) outgoing(all [][]byte) [][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.IndexFunc(all, changesCipher); i >= 0 {
		s.lastFlight = nil
		for _, b := range all[i:] {
			s.lastFlight = append(s.lastFlight, bytes.Clone(b))
		}
	}
	if b := all[0]; s.alertCode != 0 && len(b) == record.HeaderLen+2 && record.Type(b[0]) == record.Alert {
		b = bytes.Clone(b)
		b[record.HeaderLen+1] = s.alertCode
		all[0] = b
	}
	return all
}

// changesCipher finds a ChangeCipherSpec among a datagram's records.
func changesCipher(b []byte) bool {
	for len(b) >= record.HeaderLen {
		if record.Type(b[0]) == record.ChangeCipherSpec {
			return true
		}
		n := record.HeaderLen + int(binary.BigEndian.Uint16(b[11:]))
		b = b[min(n, len(b)):]
	}
	return false
}

func isHelloVerifyRequest(b []byte) bool {
	return len(b) > record.HeaderLen && record.Type(b[0]) == record.Handshake && b[4] == 0 && b[record.HeaderLen] == typeHelloVerifyRequest
}
