package templates

import "time"

// DefaultRepeats are the delays after which newly announced Templates are
// sent again on a transport that may lose them: the first copy may be gone,
// and until the next one the collector can only hold what it describes.
var DefaultRepeats = [...]time.Duration{500 * time.Millisecond, 3 * time.Second}

// ScheduleConfig says when a session's Templates are sent again. The zero
// value works.
type ScheduleConfig struct {
	// Reliable: the transport repeats what is lost. Nothing is sent twice,
	// and withdrawals are announced.
	Reliable bool
	// Refresh is the time between retransmissions; 0: DefaultRefresh,
	// negative: never by time.
	Refresh time.Duration
	// RefreshMessages is the number of IPFIX Messages after which Templates
	// are sent again, for what comes first; 0: never by messages.
	RefreshMessages uint64
}

// A Schedule says when the Templates of one Observation Domain are due on
// one Transport Session. It starts with Templates due at once.
type Schedule struct {
	cfg      ScheduleConfig
	told     bool      // Templates were sent at least once
	next     time.Time // of the next retransmission; zero: never by time
	repeats  int       // quick repetitions done since the last news
	messages uint64    // sent when Templates were sent last
}

// NewSchedule returns the Schedule of a new session.
func NewSchedule(cfg ScheduleConfig) *Schedule {
	if cfg.Refresh == 0 {
		cfg.Refresh = DefaultRefresh
	}
	return &Schedule{cfg: cfg, repeats: len(DefaultRepeats)}
}

// Announced notes that Templates new to the session were sent at now, when
// it had carried that many messages.
func (s *Schedule) Announced(now time.Time, messages uint64) {
	s.repeats = 0
	s.sent(now, messages)
}

// Sent notes that all Templates were sent again.
func (s *Schedule) Sent(now time.Time, messages uint64) {
	if s.repeats < len(DefaultRepeats) {
		s.repeats++
	}
	s.sent(now, messages)
}

func (s *Schedule) sent(now time.Time, messages uint64) {
	s.told = true
	s.messages = messages
	switch {
	case s.cfg.Reliable:
		s.next = time.Time{}
	case s.repeats < len(DefaultRepeats):
		s.next = now.Add(DefaultRepeats[s.repeats])
	case s.cfg.Refresh > 0:
		s.next = now.Add(s.cfg.Refresh)
	default:
		s.next = time.Time{}
	}
}

// Due reports whether all Templates are to be sent (again), on a session
// that has carried that many messages. An Exporting Process on UDP must
// retransmit each active Template regularly (RFC 7011, Section 8.4, MUST).
func (s *Schedule) Due(now time.Time, messages uint64) bool {
	if !s.told {
		return true
	}
	if s.cfg.Reliable {
		return false
	}
	if s.cfg.RefreshMessages > 0 && messages-s.messages >= s.cfg.RefreshMessages {
		return true
	}
	return !s.next.IsZero() && !now.Before(s.next)
}

// Doubt makes the Templates due at once on a transport that may have lost them:
// a collector that lacks one confirms nothing.
func (s *Schedule) Doubt(now time.Time) {
	if s.told && !s.cfg.Reliable {
		s.next = now
	}
}

// Repeating reports whether the quick repetitions of what was announced are
// not all done: the collector may not know it yet.
func (s *Schedule) Repeating() bool { return !s.cfg.Reliable && s.repeats < len(DefaultRepeats) }

// Next is when Due turns true by time; zero means never.
func (s *Schedule) Next() time.Time { return s.next }

// Withdraws reports whether a withdrawal is announced on this session. On
// UDP it is not sent: the Template just is not refreshed any more and
// expires at the collector (RFC 7011, Section 8.4, MUST NOT).
func (s *Schedule) Withdraws() bool { return s.cfg.Reliable }
