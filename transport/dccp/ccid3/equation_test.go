package ccid3

import (
	"math"
	"testing"
	"time"
)

// The figures were computed apart from this package, by the formula as RFC
// 5348, Section 3.1, prints it, with 40 decimal digits, t_RTO = 4 R, b = 1. By
// hand for p = 1 %, s = 1460, R = 0.1:
//
//	sqrt(2*0.01/3) = 0.0816497
//	sqrt(3*0.01/8) = 0.0612372; 12 * 0.0612372 * 0.01 * (1 + 32*0.0001) = 0.0073720
//	1460 / (0.1 * (0.0816497 + 0.0073720)) = 1460 / 0.00890216 = 164005
func TestThroughputEquation_RFC5348_3_1(t *testing.T) {
	for _, c := range []struct{ p, x1460at100ms, x1000at50ms float64 }{
		{0.00001, 5654046.821247, 7745269.618147},
		{0.0001, 1786519.644038, 2447287.183613},
		{0.001, 560411.701831, 767687.262783},
		{0.01, 164005.062170, 224664.468726},
		{0.02, 106943.484038, 146497.923340},
		{0.05, 53813.925569, 73717.706259},
		{0.1, 25843.490336, 35402.041556},
		{0.2, 7833.806171, 10731.241330},
		{0.5, 609.347995, 834.723281},
		{1, 60.004279, 82.197642},
	} {
		a := Throughput(1460, 100*time.Millisecond, c.p)
		b := Throughput(1000, 50*time.Millisecond, c.p)
		if math.Abs(a/c.x1460at100ms-1) > 1e-8 || math.Abs(b/c.x1000at50ms-1) > 1e-8 {
			t.Errorf("p %v: %f and %f, want %f and %f", c.p, a, b, c.x1460at100ms, c.x1000at50ms)
		}
	}
}

// 1/f(p) for 0.1 %, 1 % and 5 %, computed as above: packets in a round trip.
func TestEquationInverted_RFC5348_6_3_1(t *testing.T) {
	for _, c := range []struct{ perRTT, p float64 }{
		{38.38436313912545, 0.001}, {11.23322343629936, 0.01}, {3.685885312955357, 0.05},
		// Beyond what the equation gives: everything is lost.
		{1.0 / 300, 1},
		{1e9, leastLossRate},
	} {
		if p := lossRateFor(c.perRTT); math.Abs(p/c.p-1) > 1e-6 {
			t.Errorf("%v packets in a round trip: p %v, want %v", c.perRTT, p, c.p)
		}
	}
	for p := leastLossRate; p < 1; p *= 1.7 {
		if got := lossRateFor(1 / lossFactor(p)); math.Abs(got/p-1) > 1e-6 {
			t.Errorf("p %v comes back as %v", p, got)
		}
	}
}
