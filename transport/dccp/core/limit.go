package core

import "time"

// bucket limits a rate: of Syncs (RFC 4340, Section 7.5.4, SHOULD), of Resets
// (Section 8.1.3, SHOULD).
type bucket struct {
	rate, left float64 // per second; what may go at once
	last       time.Time
}

func (b *bucket) allow(now time.Time) bool {
	if b.last.IsZero() {
		b.left = b.rate
	} else {
		b.left = min(b.rate, b.left+max(0, now.Sub(b.last).Seconds())*b.rate)
	}
	b.last = now
	if b.left < 1 {
		return false
	}
	b.left--
	return true
}
