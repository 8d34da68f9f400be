package export

import "time"

const (
	// settle is how long at least a datagram may be on its way after one that
	// was sent behind it has arrived; twice the round trip is added, up to
	// maxSettle: the round trip has the collector's own work in it.
	settle    = 20 * time.Millisecond
	maxSettle = 500 * time.Millisecond
)

// reordering is how far what is sent on the session may be overtaken.
func (s *session) reordering() time.Duration {
	if s.props.Ordered {
		return 0
	}
	return min(settle+2*s.t.Stats().RTT, maxSettle)
}

// prove notes that the probe under way was answered. What was sent shortly
// before it may have been overtaken by it, and not have been written when the
// answer was: that takes another probe.
func (s *session) prove(octets uint64) {
	s.confirmed = max(s.confirmed, octets)
	s.proof = s.covers
}

// proves reports whether the collector has proven that it wrote a message.
func (s *session) proves(k *keptMessage) bool {
	return k.end <= s.confirmed && (s.props.Ordered || !k.at.After(s.proof))
}

// unproven reports whether the collector has yet to prove that it has all that
// the session carried.
func (s *session) unproven() bool {
	if s.laned != nil {
		return s.underWay() > 0
	}
	return s.confirmed < s.octets || s.kept.n > 0 && !s.proves(s.kept.last())
}

// provable is when a probe may prove all of that: once nothing is left that
// could be overtaken.
func (s *session) provable() (at time.Time) {
	if s.kept.n > 0 && !s.props.Ordered {
		at = s.kept.last().at.Add(s.reordering())
	}
	return at
}
