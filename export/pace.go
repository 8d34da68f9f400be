package export

import "time"

// A bucket paces records: rate a second on average, bursts of a tenth of a
// second. A whole message may go when any token is left; what it takes too
// much is a debt. The zero value does not pace.
type bucket struct {
	rate   float64
	tokens float64
	last   time.Time
}

// wait is how long the next message must wait at now; 0: not at all.
func (b *bucket) wait(now time.Time) time.Duration {
	if b.rate <= 0 {
		return 0
	}
	burst := max(b.rate/10, 1)
	if b.last.IsZero() {
		b.tokens = burst
	} else {
		b.tokens = min(b.tokens+b.rate*now.Sub(b.last).Seconds(), burst)
	}
	b.last = now
	if b.tokens >= 1 {
		return 0
	}
	return max(time.Duration((1-b.tokens)/b.rate*float64(time.Second)), time.Microsecond)
}

// take spends n tokens.
func (b *bucket) take(n int) {
	if b.rate > 0 {
		b.tokens -= float64(n)
	}
}
