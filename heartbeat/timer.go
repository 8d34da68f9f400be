package heartbeat

import "time"

// Defaults of TimerConfig.
const (
	DefaultFirst    = 250 * time.Millisecond
	DefaultMinFirst = 100 * time.Millisecond
	DefaultMaxFirst = 300 * time.Millisecond
	DefaultSpacing  = 50 * time.Millisecond
	DefaultUrgent   = 2 * time.Second
	// maxSpacing ends the doubling (RFC 6347, Section 4.2.4.1).
	maxSpacing = 60 * time.Second
)

// TimerConfig says how the transmissions of a request are spaced. The zero
// value of each field stands for its default.
type TimerConfig struct {
	// First is the first retransmission interval while no round trip has
	// been measured.
	First time.Duration
	// MinFirst and MaxFirst bound the measured one.
	MinFirst, MaxFirst time.Duration
	// Spacing is the interval between retransmissions while the request is
	// younger than Urgent; after that it doubles.
	Spacing, Urgent time.Duration
	// Reliable says that the carrier repeats what is lost: a request is sent
	// once (RFC 6520, Section 3).
	Reliable bool
}

func (c TimerConfig) withDefaults() TimerConfig {
	setDefault(&c.First, DefaultFirst)
	setDefault(&c.MinFirst, DefaultMinFirst)
	setDefault(&c.MaxFirst, DefaultMaxFirst)
	setDefault(&c.Spacing, DefaultSpacing)
	setDefault(&c.Urgent, DefaultUrgent)
	return c
}

func setDefault(d *time.Duration, def time.Duration) {
	if *d == 0 {
		*d = def
	}
}

// A Timer says when the one request in flight is sent, and sent again.
//
// DTLS would wait a second for the first retransmission and double from there,
// but leaves the values to the implementation (RFC 6347, Section 4.2.4.1). With
// these a collector could not be known as dead within three seconds on a path
// that loses a fifth of everything: three requests in a row are lost there a
// thousand times a day. So the first interval follows the measured round trip,
// the following ones are short and even while the verdict hangs on an answer,
// and only then they double. A request is some hundred octets, so this costs
// less than 20 kbit/s for two seconds, and only while nothing comes back.
type Timer struct {
	cfg TimerConfig
	rnd func() float64

	rtt     RTT
	backoff time.Duration // added to the first interval after a late answer

	started time.Time // of the request in flight; zero: none
	next    time.Time
	sent    int
	spacing time.Duration
}

// NewTimer returns a Timer. rnd gives numbers in [0, 1); it keeps the requests
// of many sessions out of step.
func NewTimer(cfg TimerConfig, rnd func() float64) *Timer {
	return &Timer{cfg: cfg.withDefaults(), rnd: rnd}
}

// Start begins a request: its first transmission is due now.
func (t *Timer) Start(now time.Time) {
	t.started, t.next, t.sent = now, now, 0
}

// Stop forgets the request in flight.
func (t *Timer) Stop() { t.started, t.next = time.Time{}, time.Time{} }

// Next is when the request is due again; zero: never.
func (t *Timer) Next() time.Time { return t.next }

// Sent is the number of transmissions of the request in flight.
func (t *Timer) Sent() int { return t.sent }

// RTT is the smoothed round trip; 0 while unknown.
func (t *Timer) RTT() time.Duration { return t.rtt.Mean() }

// Due reports whether the request is to be transmitted now, and counts it as
// transmitted.
func (t *Timer) Due(now time.Time) bool {
	if t.next.IsZero() || now.Before(t.next) {
		return false
	}
	t.sent++
	switch {
	case t.cfg.Reliable:
		t.next = time.Time{}
		return true
	case t.sent == 1:
		t.spacing = t.first()
	case now.Sub(t.started) < t.cfg.Urgent:
		t.spacing = t.cfg.Spacing
	default:
		t.spacing = min(2*t.spacing, maxSpacing)
	}
	// Up to a tenth sooner or later.
	t.next = now.Add(t.spacing + time.Duration((t.rnd()-0.5)/5*float64(t.spacing)))
	return true
}

// first is the first retransmission interval.
func (t *Timer) first() time.Duration {
	d := t.rtt.Timeout(t.cfg.First) + t.backoff
	return max(min(d, t.cfg.MaxFirst), t.cfg.MinFirst)
}

// Answered ends the request in flight.
func (t *Timer) Answered(now time.Time) {
	if t.started.IsZero() {
		return
	}
	if t.sent == 1 {
		t.rtt.Sample(now.Sub(t.started))
		t.backoff = 0
	} else {
		// Which transmission is answered is unknown, so this measures nothing
		// (RFC 6298, Section 3, MUST NOT); the interval stays longer until one
		// goes without loss (RFC 6347, Section 4.2.4.1).
		t.backoff = min(2*t.backoff+t.cfg.Spacing, t.cfg.MaxFirst)
	}
	t.Stop()
}
