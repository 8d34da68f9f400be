package heartbeat

import "time"

const (
	// basePath is a datagram that nearly every path takes (RFC 8899, Section
	// 5.1.2, BASE_PLPMTU); the search falls back to it.
	basePath = 1200
	// pathTries is how many padded requests in a row must be lost before a
	// size that is in use is given up; searchTries of one that is only hoped
	// for (RFC 8899, Section 5.1.2, MAX_PROBES).
	pathTries   = 6
	searchTries = 3
	// verifyPath is the time between checks of the size in use, raisePath
	// between attempts to use more (RFC 8899, Section 5.1.1,
	// PMTU_RAISE_TIMER).
	verifyPath = 15 * time.Second
	raisePath  = 10 * time.Minute
	// pathStep ends the search.
	pathStep = 16
)

// PathMTU finds out whether a path takes datagrams as large as its carrier
// promises, with requests that are padded to their size (RFC 6520, Section
// 5.1). A router that drops them without a word would swallow every full
// message while small heartbeats are answered.
//
// A padded request is an extra try before the plain ones: its loss says
// something of the path only if a plain one of the same probe is answered, and
// nothing of the peer. Sizes are octets of a datagram's content. The zero value
// begins with trust in the carrier.
type PathMTU struct {
	shrunk bool // less than the carrier's size is in use
	off    bool // not even basePath was answered: this tells nothing
	low    int  // passed, or basePath
	sure   bool // low passed
	high   int  // did not pass; 0: none
	tries  int
	verify time.Time
	raise  time.Time
}

// Limit is the largest datagram to send where the carrier takes so many octets.
func (p *PathMTU) Limit(carrier int) int {
	if p.shrunk {
		return min(p.low, carrier)
	}
	return carrier
}

// Size says how large the next request is to be; 0: not padded.
func (p *PathMTU) Size(now time.Time, carrier int) int {
	if p.off || carrier <= basePath {
		return 0
	}
	if p.shrunk && p.low >= carrier {
		p.shrunk, p.high, p.verify = false, 0, time.Time{}
	}
	switch {
	case !p.shrunk:
		if now.Before(p.verify) {
			return 0
		}
		return carrier
	case !p.sure:
		return p.low
	case p.high == 0: // to be raised
		return carrier
	case p.high-p.low > pathStep:
		return min(p.low+(p.high-p.low)/2, carrier)
	case !now.Before(p.raise):
		p.high, p.tries = 0, 0
		return carrier
	case !now.Before(p.verify):
		return p.low
	}
	return 0
}

// Raising reports whether the next request tries again for all that the carrier
// promises, which did not pass before.
func (p *PathMTU) Raising(now time.Time) bool {
	return p.shrunk && p.sure && p.high > 0 && p.high-p.low <= pathStep && !now.Before(p.raise)
}

// Passed takes the answer to a request of so many octets.
func (p *PathMTU) Passed(now time.Time, size, carrier int) {
	p.tries = 0
	if size >= carrier {
		p.shrunk, p.high = false, 0
	}
	p.low, p.sure = size, true
	p.verify = now.Add(verifyPath)
	if p.high-p.low <= pathStep && p.raise.Before(now) {
		p.raise = now.Add(raisePath)
	}
}

// Lost takes it that a request of so many octets was not answered although a
// plain one after it was.
func (p *PathMTU) Lost(now time.Time, size int) {
	p.tries++
	hoped := p.shrunk && p.sure && size > p.low
	if p.tries < searchTries || !hoped && p.tries < pathTries {
		return
	}
	p.tries = 0
	if hoped {
		p.high = size
		if p.high-p.low <= pathStep {
			p.raise = now.Add(raisePath)
		}
		return
	}
	if size <= basePath {
		*p = PathMTU{off: true}
		return
	}
	p.shrunk, p.low, p.sure, p.high = true, basePath, false, size
	p.raise = time.Time{}
}
