package ccid3

import (
	"time"

	"ipfixsuite/transport/dccp/wire"
)

// meter measures the receive rate (RFC 4342, Section 8.3).
type meter struct {
	octets, packets uint64 // of data, since the start
	marks           [4]mark
	n               int
	since           time.Time // when the first data after the last mark came; zero: none did
	most            float64   // the largest rate reported
}

// mark is how much had come when feedback was sent.
type mark struct {
	at     time.Time
	octets uint64
}

func (m *meter) add(now time.Time, size int) {
	m.octets += uint64(size)
	m.packets++
	if m.since.IsZero() {
		m.since = now
	}
}

// size is the mean size of a message in octets.
func (m *meter) size() float64 {
	return max(float64(m.octets)/float64(max(m.packets, 1)), 1)
}

// checkpoint notes that feedback goes now. Feedback that was early because of
// a loss is measured from further back, so a few are remembered.
func (m *meter) checkpoint(now time.Time) {
	if m.n == len(m.marks) {
		m.n = copy(m.marks[:], m.marks[1:])
	}
	m.marks[m.n] = mark{now, m.octets}
	m.n++
	m.since = time.Time{}
}

// rate is what came since the last feedback, in octets per second; if that was
// less than a round trip ago, since the latest that was not (RFC 5348, Section
// 6.2, step 2). A time before the data in which nothing came counts with one
// round trip at most: the feedback timer goes on meanwhile, and so one packet
// alone is a rate of one for each round trip (ibid.). A sender that went to
// sleep at one packet in 64 seconds would stay there otherwise.
func (m *meter) rate(now time.Time, rtt time.Duration) float64 {
	for i := m.n - 1; i >= 0; i-- {
		from := m.marks[i].at
		if quiet := m.since.Add(-rtt); i == m.n-1 && !m.since.IsZero() && from.Before(quiet) {
			from = quiet
		}
		if d := now.Sub(from); d >= rtt || i == 0 {
			return float64(m.octets-m.marks[i].octets) / max(d, rtt, 1).Seconds()
		}
	}
	return 0
}

// rttClock estimates the round trip from the window counters, which count its
// quarters at the sender (RFC 4342, Section 8.1).
type rttClock struct {
	at    [16]time.Time // when the first packet with this counter came; zero: not of this turn
	last  uint8
	seq   wire.Seq // of the packet that had it
	began bool
	own   time.Duration // the estimate; 0: none
	other time.Duration // what the other half measured, or the handshake
}

// tick takes the counter of a data packet that is the latest.
func (c *rttClock) tick(now time.Time, s wire.Seq, v uint8) {
	steps := (v - c.last) % 16
	// From one data packet to the next the counter takes five steps at most.
	// When so many packets are missing that it may have gone all the way round,
	// or when it took five, which may stand for more, nothing is known.
	lost := 5*s.Sub(c.seq) >= 16+int64(steps)
	c.seq = s
	switch {
	case !c.began || lost || steps > 4:
		c.at = [16]time.Time{}
		c.began, c.last = true, v
		c.at[v] = now
		return
	case steps == 0:
		return
	}
	for i := uint8(1); i < steps; i++ {
		c.at[(c.last+i)%16] = time.Time{}
	}
	c.last = v
	c.at[v] = now
	// Four quarters are best, three or two will do (ibid., SHOULD).
	for d := uint8(4); d >= 2; d-- {
		if from := c.at[(v-d)%16]; !from.IsZero() {
			c.sample(now.Sub(from) * 4 / time.Duration(d))
			break
		}
	}
}

func (c *rttClock) sample(r time.Duration) {
	r = max(r, time.Microsecond)
	if c.own == 0 {
		c.own = r
		return
	}
	c.own += (r - c.own) / 8
}

func (c *rttClock) rtt() time.Duration {
	switch {
	case c.own > 0:
		return c.own
	case c.other > 0:
		return c.other
	}
	return defaultRTT
}
