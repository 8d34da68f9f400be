package ccid3

import (
	"math"
	"time"
)

// lossFactor is f(p) of RFC 5348, Section 8.1: a round trip's worth of packets
// is 1/f(p), with t_RTO = 4 R and one packet for each acknowledgement (Section
// 3.1, RECOMMENDED).
func lossFactor(p float64) float64 {
	return math.Sqrt(2*p/3) + 12*math.Sqrt(3*p/8)*p*(1+32*p*p)
}

// Throughput is what TCP would reach, in octets per second (RFC 5348, Section
// 3.1), with segments of s octets, the round trip rtt and the loss event rate p,
// which is over 0 and at most 1.
func Throughput(s float64, rtt time.Duration, p float64) float64 {
	return s / (rtt.Seconds() * lossFactor(p))
}

// leastLossRate is that of the longest interval that a Loss Intervals option
// can report.
const leastLossRate = 1.0 / maxLength

// lossRateFor inverts the equation: the loss event rate at which TCP sends
// perRTT packets in a round trip.
func lossRateFor(perRTT float64) float64 {
	lo, hi := leastLossRate, 1.0
	want := 1 / perRTT
	if want >= lossFactor(hi) {
		return hi
	}
	// f grows with p. Halving the ratio of the bounds 30 times leaves it within
	// 10^-7 of 1; five per cent would do (RFC 5348, Section 6.3.1).
	for range 30 {
		mid := math.Sqrt(lo * hi)
		if lossFactor(mid) < want {
			lo = mid
		} else {
			hi = mid
		}
	}
	return math.Sqrt(lo * hi)
}
