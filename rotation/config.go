package rotation

import "time"

// Defaults of Config.
const (
	DefaultBuildTimeout = 10 * time.Second
	DefaultPrimeTimeout = 10 * time.Second
	DefaultDrainTimeout = 5 * time.Second
	DefaultRetryMin     = time.Second
	DefaultRetryMax     = 30 * time.Second
	DefaultStable       = 10 * time.Second
)

// minSpacing is the least time between the beginnings of two builds, whatever
// is wished for: forged hints must not make a storm of handshakes.
const minSpacing = time.Second

// jitter is the part of a period, and of a backoff, that chance decides: the
// exporters of one collector spread.
const jitter = 0.25

// Config says when sessions are replaced. Its zero value replaces them only
// when they are lost or when asked to.
type Config struct {
	// Period is the longest time between the beginnings of two sessions; the
	// actual one is up to a quarter shorter. 0: no bound.
	Period time.Duration
	// Records and Octets bound what one session carries; 0: no bound.
	Records, Octets uint64
	// FullEvery makes each n-th session begin with a full handshake, for
	// forward secrecy; the others may resume. 1: always full, 0: only the
	// first.
	FullEvery int
	// BuildTimeout bounds the building of a session, PrimeTimeout priming and
	// proving it, DrainTimeout the drain of the one before.
	BuildTimeout, PrimeTimeout, DrainTimeout time.Duration
	// RetryMin and RetryMax bound the backoff after a session that could not
	// be built, or was lost before it was Stable; it doubles until a session
	// has become active. Never below 1 s.
	RetryMin, RetryMax time.Duration
	// Stable is how long a session must have been active for its loss to be
	// answered without a backoff.
	Stable time.Duration
}

func (c Config) withDefaults() Config {
	for _, f := range []struct {
		p *time.Duration
		v time.Duration
	}{
		{&c.BuildTimeout, DefaultBuildTimeout},
		{&c.PrimeTimeout, DefaultPrimeTimeout},
		{&c.DrainTimeout, DefaultDrainTimeout},
		{&c.RetryMin, DefaultRetryMin},
		{&c.RetryMax, DefaultRetryMax},
		{&c.Stable, DefaultStable},
	} {
		if *f.p == 0 {
			*f.p = f.v
		}
	}
	c.RetryMin = max(c.RetryMin, minSpacing)
	c.RetryMax = max(c.RetryMax, c.RetryMin)
	return c
}

// A Cause is why a session is built. Of several the greatest is told.
type Cause uint8

const (
	// None is no cause.
	None Cause = iota
	// Period: the active session is old enough.
	Period
	// Volume: it has carried enough.
	Volume
	// Demand: the operator wants it (SIGHUP).
	Demand
	// Certificate: the credentials have changed.
	Certificate
	// Path: another collector or address is to be used.
	Path
	// Suspicion: the active session may be dead; the handshake of the next is
	// the second opinion.
	Suspicion
	// Lost: there is no active session, or none yet.
	Lost
)

func (c Cause) String() string {
	switch c {
	case Period:
		return "period"
	case Volume:
		return "volume"
	case Demand:
		return "demand"
	case Certificate:
		return "certificate"
	case Path:
		return "path"
	case Suspicion:
		return "suspicion"
	case Lost:
		return "lost"
	}
	return "none"
}
