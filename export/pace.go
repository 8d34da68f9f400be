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

// A backoff spaces attempts to open a session.
type backoff struct {
	min, max time.Duration
	step     time.Duration
	next     time.Time // not before; zero: at once
}

// failed notes an attempt that ended at now without a session, or with one
// that did not last. random is in [0, 1).
func (b *backoff) failed(now time.Time, random float64) {
	b.step = min(max(2*b.step, b.min), b.max)
	// Up to a quarter more, so that the exporters of one collector do not
	// come back together.
	b.next = now.Add(b.step + time.Duration(random*float64(b.step)/4))
}

// opened notes a session: its loss may be answered at once, but never
// sooner than min after this attempt.
func (b *backoff) opened(now time.Time) {
	b.step = 0
	b.next = now.Add(b.min)
}
