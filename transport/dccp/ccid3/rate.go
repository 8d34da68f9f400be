package ccid3

import (
	"math"
	"time"
)

// rate is the allowed sending rate and what limits it (RFC 5348, Section 4).
// Rates are in octets per second.
type rate struct {
	x     float64 // X, the allowed rate
	calc  float64 // X_Bps, by the throughput equation; valid if p > 0
	p     float64 // loss event rate; 0: no loss yet, slow start
	s     float64 // the mean size of a message
	rtt   time.Duration
	short time.Duration // the shortest sample
	sqrt  float64       // R_sqmean, the mean of the samples' square roots, in seconds
	last  float64       // the square root of the latest sample
	tld   time.Time     // when the rate was last doubled
	first bool          // a round trip is known

	set [3]received // X_recv_set, the latest last (RFC 5348, Section 8.2.2: three will do)
	n   int
}

type received struct {
	x  float64
	at time.Time
}

const q = 0.9 // of the filters for the RTT and its root (RFC 5348, Sections 4.3, 4.5)

// least is one packet in 64 seconds.
func (r *rate) least() float64 { return r.s / maxBackoff.Seconds() }

// initial is initial_rate: what is allowed in the first round trip, two to four
// packets (RFC 5348, Section 4.2; RFC 4342, Section 5).
func (r *rate) initial() float64 {
	return min(4*r.s, max(2*r.s, 4380)) / r.rtt.Seconds()
}

// size takes the size of a message that was sent; s follows its mean over some
// tens of packets (RFC 5348, Section 4.1).
func (r *rate) size(n int) {
	if r.s == 0 {
		r.s = float64(max(n, 1))
		r.start()
		return
	}
	r.s += (float64(max(n, 1)) - r.s) / 16
}

// start sets the first rate, when the size of messages is known.
func (r *rate) start() {
	if r.first {
		r.x = r.initial()
	} else {
		// One packet a second until a round trip is known (RFC 5348, Section 4.2).
		r.x = r.s
	}
}

// sample takes a round trip (RFC 5348, Section 4.3, steps 1 and 2, and Section
// 4.5). It reports whether it is the first.
func (r *rate) sample(now time.Time, d time.Duration) bool {
	d = max(d, time.Microsecond)
	r.last = math.Sqrt(d.Seconds())
	if !r.first {
		r.first = true
		r.rtt, r.short, r.sqrt, r.tld = d, d, r.last, now
		if r.s > 0 {
			r.x = r.initial()
		}
		return true
	}
	r.rtt = time.Duration(q*float64(r.rtt) + (1-q)*float64(d))
	r.short = min(r.short, d)
	r.sqrt = q*r.sqrt + (1-q)*r.last
	return false
}

// open lets the receive rate set begin with infinity (RFC 5348, Section 4.3).
func (r *rate) open(now time.Time) {
	r.set[0], r.n = received{math.Inf(1), now}, 1
}

func (r *rate) most() float64 {
	m := 0.0
	for _, v := range r.set[:r.n] {
		m = max(m, v.x)
	}
	return m
}

// maximize keeps the largest value alone, as of now (RFC 5348, Section 4.3).
func (r *rate) maximize(now time.Time, x float64) {
	m := x
	for _, v := range r.set[:r.n] {
		if !math.IsInf(v.x, 1) {
			m = max(m, v.x)
		}
	}
	r.set[0], r.n = received{m, now}, 1
}

// update keeps the values of the last two round trips (ibid.).
func (r *rate) update(now time.Time, x float64) {
	n := 0
	for _, v := range r.set[:r.n] {
		if now.Sub(v.at) <= 2*r.rtt {
			r.set[n] = v
			n++
		}
	}
	if n == len(r.set) {
		n = copy(r.set[:], r.set[1:])
	}
	r.set[n], r.n = received{x, now}, n+1
}

// feedback is step 4 of RFC 5348, Section 4.3: x is the receive rate; worse
// that a new loss event or a higher loss event rate is reported; limited that
// the application limited the rate throughout.
func (r *rate) feedback(now time.Time, x float64, worse, limited bool) {
	var limit float64
	switch {
	case limited && worse:
		for i := range r.set[:r.n] {
			r.set[i].x /= 2
		}
		r.maximize(now, 0.85*x)
		limit = r.most()
	case limited:
		r.maximize(now, x)
		limit = 2 * r.most()
	default:
		r.update(now, x)
		limit = 2 * r.most()
	}
	r.limit(now, limit)
}

// limit sets the allowed rate by equation or slow start, and by what the
// receive rate allows.
func (r *rate) limit(now time.Time, limit float64) {
	switch {
	case r.p > 0:
		r.calc = Throughput(r.s, r.rtt, r.p)
		r.x = max(min(r.calc, limit), r.least())
	case now.Sub(r.tld) >= r.rtt:
		r.x = max(min(2*r.x, limit), r.initial())
		r.tld = now
	}
}

// expired is the response to the nofeedback timer (RFC 5348, Section 4.4);
// idle says that nothing was sent since it was set.
func (r *rate) expired(now time.Time, idle bool) {
	x := r.most()
	switch {
	case !r.first:
		if !idle {
			r.x = max(r.x/2, r.least())
		}
	case idle && (r.p > 0 && x < r.initial() || r.p == 0 && r.x < 2*r.initial()):
		// Idleness does not take the rate below that of a new connection.
	case r.p == 0:
		r.x = max(r.x/2, r.least())
	case r.calc > 2*x:
		r.timerLimit(now, x)
	default:
		r.timerLimit(now, r.calc/2)
	}
}

// timerLimit is Update_Limits() of RFC 5348, Section 4.4.
func (r *rate) timerLimit(now time.Time, limit float64) {
	limit = max(limit, r.least())
	r.set[0], r.n = received{limit / 2, now}, 1
	r.limit(now, limit)
}

// inst is X_inst: the rate reduced while the RTT is above its mean, for then a
// queue builds up (RFC 5348, Section 4.5).
func (r *rate) inst() float64 {
	x := r.x
	if r.last != 0 {
		x *= r.sqrt / r.last
	}
	// The mean packet size may have grown since X was set.
	return max(x, r.least())
}

// gap is the time between two packets.
func (r *rate) gap() time.Duration {
	return time.Duration(r.s / r.inst() * float64(time.Second))
}

// timeout is the nofeedback timer's interval (RFC 5348, Section 4.3, step 3).
// Four round trips are the least (RFC 4342, Section 5).
func (r *rate) timeout() time.Duration {
	if !r.first && r.x >= r.s {
		return firstNoFeedback
	}
	return max(r.patience(), minNoFeedback)
}

// patience is RFC 5348's own nofeedback interval (Section 4.3, step 3).
func (r *rate) patience() time.Duration {
	return max(4*r.rtt, time.Duration(2*r.s/r.x*float64(time.Second)))
}

// flight is how many packets may be under way: what the allowed rate has in
// patience, were there no queue.
func (r *rate) flight() int64 {
	return max(minFlight, int64(4*r.short.Seconds()*r.x/r.s))
}
