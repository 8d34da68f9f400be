package dtls

import (
	"bytes"
	"crypto/rand"
	"sync"
	"time"

	"ipfixsuite/heartbeat"
)

// carrier is the largest datagram that the carrier promises to take and a
// heartbeat can fill; 0 where there is nothing to find out.
func (s *session) carrier() int {
	if s.base.Reliable || s.cfg.NoPathProbe {
		return 0
	}
	return min(s.conn.MaxDatagram(s.remote), s.sealer.Overhead()+heartbeat.MaxMessage)
}

// tellPath logs a limit that is new. Whoever has the probing token calls it.
func (s *session) tellPath() {
	carrier := s.conn.MaxDatagram(s.remote)
	if limit := s.path.limit(carrier); limit != s.path.told {
		if limit < carrier {
			s.cfg.Log.Warn("path drops large datagrams", "session", s.who.Session, "promised", carrier, "limit", limit)
		}
		s.path.told = limit
	}
}

// ResetPathMTU forgets what was learnt of the path's MTU, here and in a carrier
// that finds it out itself (RFC 5238, Section 3.5, SHOULD): the session begins
// anew with what the carrier promises.
func (s *session) ResetPathMTU() {
	s.path.reset()
	s.resetCarrier()
}

func (s *session) resetCarrier() {
	if c, ok := s.conn.(interface{ ResetMTU() }); ok {
		c.ResetMTU()
	}
}

// pathProbe pads the first request of some probes, to learn whether the path
// takes what the carrier promises.
type pathProbe struct {
	told int // by tellPath

	mu      sync.Mutex
	mtu     heartbeat.PathMTU
	payload []byte // of the last probe's padded request, until it is answered
	size    int
	plain   bool // the last probe's plain request was answered
}

// begin settles what became of the last padded request and returns the payload
// of the next; nil: none is wanted.
func (p *pathProbe) begin(now time.Time, carrier int) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.payload != nil && p.plain {
		p.mtu.Lost(now, p.size)
	}
	p.payload, p.plain = nil, false
	if p.size = p.mtu.Size(now, carrier); p.size > 0 {
		p.payload = newPayload()
	}
	return p.payload
}

func (p *pathProbe) reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mtu, p.payload = heartbeat.PathMTU{}, nil
}

// raising reports whether the next probe looks again for what the carrier
// promises.
func (p *pathProbe) raising(now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mtu.Raising(now)
}

// lost reports whether the plain request was answered but, so far, not the
// padded one before it. A peer that answers neither says nothing of the path.
func (p *pathProbe) lost() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.payload != nil && p.plain
}

// padding fills the datagram, of which a record needs overhead.
func (p *pathProbe) padding(overhead int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return max(p.size-overhead-heartbeat.HeaderLen-probeLen, heartbeat.MinPadding)
}

func (p *pathProbe) answered(payload []byte, now time.Time, carrier int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.payload == nil || !bytes.Equal(payload, p.payload) {
		return false
	}
	p.payload = nil
	p.mtu.Passed(now, p.size, carrier)
	return true
}

func (p *pathProbe) outrun() {
	p.mu.Lock()
	p.plain = true
	p.mu.Unlock()
}

// limit is the largest datagram to send, where the carrier promises so many
// octets.
func (p *pathProbe) limit(carrier int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mtu.Limit(carrier)
}

func newPayload() []byte {
	b := make([]byte, probeLen)
	rand.Read(b)
	return b
}
