package shim

import (
	"hash/maphash"
	"net/netip"
	"time"
)

// Limiter bounds how often something is done, in all and for each source
// prefix: a /24 of IPv4 or a /56 of IPv6. It needs a fixed amount of memory:
// prefixes that fall into one place of a table, which none can choose, share
// its allowance.
type Limiter struct {
	rate, each float64 // a second
	all        bucket
	places     []bucket
	seed       maphash.Seed
}

type bucket struct {
	tokens float64
	at     time.Time
}

// limiterPlaces is the size of a Limiter's table.
const limiterPlaces = 1024

// NewLimiter allows rate times a second in all and each times a second for one
// prefix; a second's worth may come at once.
func NewLimiter(rate, each int) *Limiter {
	return &Limiter{
		rate: float64(rate), each: float64(each),
		places: make([]bucket, limiterPlaces),
		seed:   maphash.MakeSeed(),
	}
}

// Allow tells whether it may be done once more for the source.
func (l *Limiter) Allow(now time.Time, source netip.Addr) bool {
	prefix := Prefix(source)
	place := &l.places[maphash.Comparable(l.seed, prefix)%limiterPlaces]
	if !place.fill(now, l.each) || !l.all.fill(now, l.rate) {
		return false
	}
	place.tokens--
	l.all.tokens--
	return true
}

// fill adds what the time since the last call is worth and tells whether there
// is a token.
func (b *bucket) fill(now time.Time, rate float64) bool {
	if b.at.IsZero() {
		b.tokens = rate
	} else if d := now.Sub(b.at); d > 0 {
		b.tokens = min(b.tokens+rate*d.Seconds(), rate)
	}
	b.at = now
	return b.tokens >= 1
}

// Prefix is the network that a source is counted by.
func Prefix(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := 56
	if a.Is4() {
		bits = 24
	}
	p, _ := a.Prefix(bits) // the address is valid and the length fits it
	return p
}
