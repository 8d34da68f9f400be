package ccid2

import "time"

const (
	// minRTO is the least timeout. TCP's floor of a second is not required:
	// nothing is retransmitted (RFC 4341, Section 5).
	minRTO = 200 * time.Millisecond
	// maxRTO ends the backing off (RFC 6298, Section 2.5: not under 60 s).
	maxRTO = 64 * time.Second
	// firstRTO holds until a round trip was measured (RFC 6298, Section 2.1).
	firstRTO = time.Second
	// granularity of the clock, G in RFC 6298.
	granularity = time.Millisecond
)

// estimator is the timeout's arithmetic (RFC 6298, Section 2).
type estimator struct {
	srtt, rttvar time.Duration // srtt 0: nothing measured
	backoff      uint          // doublings
}

// sample takes a round trip. It also ends the backing off: no packet is sent
// twice, so no sample is ambiguous (RFC 6298, Sections 3 and 5).
func (e *estimator) sample(r time.Duration) {
	r = max(r, 1)
	e.backoff = 0
	if e.srtt == 0 {
		// The first measurement (RFC 6298, Section 2.2, MUST).
		e.srtt, e.rttvar = r, r/2
		return
	}
	// The variation first, by the old mean (RFC 6298, Section 2.3, MUST).
	e.rttvar += ((e.srtt - r).Abs() - e.rttvar) / 4
	e.srtt += (r - e.srtt) / 8
}

// base is the timeout before it is doubled.
func (e *estimator) base() time.Duration {
	if e.srtt == 0 {
		return firstRTO
	}
	return min(max(e.srtt+max(granularity, 4*e.rttvar), minRTO), maxRTO)
}

// rto is the timeout: doubled for each one in a row (RFC 6298, Section 5.5).
func (e *estimator) rto() time.Duration {
	// Beyond 2^9 times the least timeout the limit holds anyhow.
	return min(e.base()<<min(e.backoff, 9), maxRTO)
}

// rtt is the mean round trip, or what is assumed.
func (e *estimator) rtt() time.Duration {
	if e.srtt == 0 {
		return defaultRTT
	}
	return e.srtt
}
