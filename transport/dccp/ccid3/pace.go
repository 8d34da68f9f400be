package ccid3

import "time"

// pacer spreads packets over time: one each s/X_inst (RFC 5348, Section 4.6).
type pacer struct {
	nominal time.Time     // when the last packet was due; zero: none was sent
	gap     time.Duration // t_ipi
	credit  time.Duration // how far sending may lag behind and catch up
}

// next is the nominal time of the next packet. Times that were not used for
// longer than a round trip are gone: a burst has at most a round trip's worth
// of packets (RFC 5348, Section 4.6, MUST).
func (p *pacer) next(now time.Time) time.Time {
	if p.nominal.IsZero() {
		return now
	}
	due := p.nominal.Add(p.gap)
	if oldest := now.Add(-p.credit); due.Before(oldest) {
		return oldest
	}
	return due
}

// allowed is when the next packet may go: at most one goes before its time,
// by as much as a timer may be late (RFC 5348, Section 8.3).
func (p *pacer) allowed(now time.Time, rtt time.Duration) time.Time {
	early := min(p.gap, timerGrain)
	if rtt > 0 {
		early = min(early, rtt)
	}
	return p.next(now).Add(-early / 2)
}

// wake is when to ask again if not allowed before at. At high rates one timer
// serves several packets: those that are then late have credit.
func (p *pacer) wake(now, at time.Time, rtt time.Duration) time.Time {
	if soon := now.Add(min(timerGrain, rtt) / 2); p.gap < timerGrain && at.Before(soon) {
		return soon
	}
	return at
}

func (p *pacer) sent(now time.Time) { p.nominal = p.next(now) }

// counter is the window counter, CCVal (RFC 4342, Section 8.1): modulo 16 it
// counts quarters of round trips.
type counter struct {
	last    uint8     // last_WC
	since   time.Time // last_WC_time; zero: no packet was sent
	onData  uint8     // of the last data packet
	hasData bool
}

// value is the counter for a packet that is sent now. Adjacent data packets
// differ by 5 at most, so that the receiver never takes it for wrapped (RFC
// 4342, Section 8.1, MUST).
func (c *counter) value(now time.Time, rtt time.Duration) uint8 {
	if c.since.IsZero() {
		c.since = now
	}
	if rtt == 0 {
		rtt = defaultRTT
	}
	if quarters := now.Sub(c.since) / max(rtt/4, 1); quarters > 0 {
		c.last = (c.last + uint8(min(quarters, 5))) % 16
		c.since = now
	}
	if c.hasData && (c.last-c.onData)%16 > 5 {
		c.last = (c.onData + 5) % 16
	}
	return c.last
}

// sent takes the counter of a data packet.
func (c *counter) sent(v uint8) { c.onData, c.hasData = v, true }

// acked takes the counter of a packet that was acknowledged: a round trip has
// passed since, so what follows is 4 later at least (RFC 4342, Section 8.1,
// SHOULD). That matters when the round trip has become shorter.
func (c *counter) acked(now time.Time, v uint8) {
	if (c.last-v)%16 < 4 {
		c.last = (v + 4) % 16
		c.since = now
	}
}
