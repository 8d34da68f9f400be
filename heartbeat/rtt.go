package heartbeat

import "time"

// RTT estimates how long an answer takes, and how much that varies, as TCP
// does (RFC 6298, Section 2). The zero value knows nothing yet. What a
// collector needs to write before it answers counts: for liveness that time is
// part of the path.
type RTT struct {
	smooth, vary time.Duration
	known        bool
}

// Sample takes one measured round trip.
func (r *RTT) Sample(d time.Duration) {
	d = max(d, 0)
	if !r.known {
		r.smooth, r.vary, r.known = d, d/2, true
		return
	}
	// beta = 1/4, alpha = 1/8; the variation first, with the old mean.
	r.vary += ((r.smooth - d).Abs() - r.vary) / 4
	r.smooth += (d - r.smooth) / 8
}

// Mean is the smoothed round trip; 0 before the first sample.
func (r *RTT) Mean() time.Duration { return r.smooth }

// Timeout is how long an answer may take before it seems to be lost, or unknown
// before the first sample.
func (r *RTT) Timeout(unknown time.Duration) time.Duration {
	if !r.known {
		return unknown
	}
	return r.smooth + 4*r.vary
}
