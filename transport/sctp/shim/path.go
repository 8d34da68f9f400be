package shim

import (
	"math/rand/v2"
	"time"
)

// Timers are the protocol parameters of RFC 9260, Section 16, that matter here.
type Timers struct {
	RTOInitial, RTOMin, RTOMax time.Duration
	// Heartbeat is the interval between heartbeats on an idle association, to
	// which one retransmission timeout is added. Negative: none.
	Heartbeat time.Duration
	// MaxRetransmits and PathRetransmits are how many timeouts in a row an
	// association survives, and until it is suspected.
	MaxRetransmits, PathRetransmits int
}

// path judges by acknowledgements and heartbeats whether the peer's host is
// there (RFC 9260, Section 8). With one path the counters of the association
// and of the path are one.
type path struct {
	timers Timers
	rand   *rand.Rand

	srtt, rttvar, rto time.Duration
	errors            int  // timeouts since the last sign of life
	down              bool // errors went beyond PathRetransmits

	// dataUntil is when outstanding DATA must have been acknowledged further;
	// zero: nothing is outstanding. The engine retransmits by its own timer;
	// this one counts.
	dataUntil time.Time
	// beatAt is when the next heartbeat is due, zero: never; beatUntil when the
	// one under way must have been answered, zero: none is.
	beatAt, beatUntil time.Time
	beatSent          time.Time
	nonce             uint64
	// closing: heartbeats are over (SHUTDOWN or SHUTDOWN ACK was sent).
	closing bool

	signs uint64 // of life
	beats uint64 // heartbeats sent
}

func newPath(now time.Time, t Timers, r *rand.Rand) path {
	p := path{timers: t, rand: r, rto: t.RTOInitial}
	p.scheduleBeat(now)
	return p
}

// sample takes a round trip time (RFC 9260, Section 6.3.1).
func (p *path) sample(rtt time.Duration) {
	if p.srtt == 0 {
		p.srtt, p.rttvar = max(rtt, 1), rtt/2
	} else {
		p.rttvar += ((p.srtt - rtt).Abs() - p.rttvar) / 4
		p.srtt += (rtt - p.srtt) / 8
	}
	p.rto = p.bounded(p.srtt + 4*p.rttvar)
}

func (p *path) bounded(d time.Duration) time.Duration {
	return max(min(d, p.timers.RTOMax), p.timers.RTOMin)
}

// alive takes a sign of life: an acknowledgement of something outstanding or
// an answered heartbeat (RFC 9260, Sections 8.1 and 8.2).
func (p *path) alive(now time.Time) (up bool) {
	p.signs++
	p.errors = 0
	if p.srtt != 0 {
		p.rto = p.bounded(p.srtt + 4*p.rttvar)
	}
	up, p.down = p.down, false
	if p.beatUntil.IsZero() {
		p.scheduleBeat(now)
	}
	return up
}

// scheduleBeat makes the next heartbeat due after the interval and an RTO that
// varies by half (RFC 9260, Section 8.3).
func (p *path) scheduleBeat(now time.Time) {
	p.beatAt = time.Time{}
	if p.timers.Heartbeat >= 0 && !p.closing {
		p.beatAt = now.Add(p.timers.Heartbeat + p.rto/2 + time.Duration(p.rand.Int64N(int64(p.rto)+1)))
	}
}

// outstanding tells whether DATA waits to be acknowledged, and whether some
// just was.
func (p *path) outstanding(now time.Time, some, progress bool) {
	switch {
	case !some:
		p.dataUntil = time.Time{}
	case progress || p.dataUntil.IsZero():
		p.dataUntil = now.Add(p.rto)
	}
}

// probe makes a heartbeat due at once.
func (p *path) probe(now time.Time) {
	if p.beatUntil.IsZero() && !p.closing {
		p.beatAt = now
	}
}

// close ends heartbeats: none are sent after a SHUTDOWN or SHUTDOWN ACK (RFC
// 9260, Section 8.3).
func (p *path) close() {
	p.closing = true
	p.beatAt, p.beatUntil = time.Time{}, time.Time{}
}

// pathNews is what became of a path.
type pathNews uint8

const (
	pathSame pathNews = iota
	pathDown
	pathLost
)

// failed counts one timeout and doubles the RTO (RFC 9260, Sections 6.3.3 and
// 8.1).
func (p *path) failed() pathNews {
	p.errors++
	p.rto = min(2*p.rto, p.timers.RTOMax)
	if p.errors > p.timers.MaxRetransmits {
		return pathLost
	}
	if p.errors > p.timers.PathRetransmits && !p.down {
		p.down = true
		return pathDown
	}
	return pathSame
}

// advance lets time pass; beat says that a heartbeat with p.nonce is to be
// sent.
func (p *path) advance(now time.Time) (news pathNews, beat bool) {
	if due(p.dataUntil, now) {
		news = max(news, p.failed())
		p.dataUntil = now.Add(p.rto)
	}
	if due(p.beatUntil, now) {
		p.beatUntil = time.Time{}
		if p.dataUntil.IsZero() {
			// Outstanding DATA is counted already.
			news = max(news, p.failed())
		}
		// While the peer is silent the next one does not wait for the
		// interval, only for the backed-off RTO of this one.
		p.beatAt = now
	}
	if due(p.beatAt, now) && p.beatUntil.IsZero() {
		p.beatAt = time.Time{}
		p.nonce = p.rand.Uint64()
		p.beatSent, p.beatUntil = now, now.Add(p.rto)
		p.beats++
		beat = true
	}
	return news, beat
}

// answered takes a HEARTBEAT ACK; false when it answers no heartbeat that is
// under way.
func (p *path) answered(now time.Time, nonce uint64) (ok, up bool) {
	if p.beatUntil.IsZero() || nonce != p.nonce {
		return false, false
	}
	p.beatUntil = time.Time{}
	p.sample(now.Sub(p.beatSent))
	return true, p.alive(now)
}

// next is when advance has something to do; zero: never.
func (p *path) next() time.Time {
	return earliest(p.dataUntil, earliest(p.beatUntil, p.beatAt))
}

func due(t, now time.Time) bool { return !t.IsZero() && !now.Before(t) }

// earliest of two times, of which zero is never.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
