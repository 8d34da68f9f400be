package export

import (
	"sort"
	"time"

	"ipfixsuite/transport"
)

// fate is what became of a message on its session.
type fate uint8

const (
	open    fate = iota // nobody knows yet
	arrived             // the collector's host has it
	lost                // it will never come
)

// track finds out whether the session's transport tells the fate of messages.
// Where it repeats all that is lost and an answered probe proves the rest,
// nothing is gained by asking.
func (s *session) track() {
	if s.props.Reliable && s.canProbe && !s.props.Partial {
		return
	}
	s.tracker, _ = s.t.(transport.Tracker)
}

// learn asks the transport what became of the messages kept.
func (s *session) learn() {
	if s.tracker == nil {
		return
	}
	s.fates = s.tracker.Fates(s.fates[:0])
	for _, f := range s.fates {
		what := lost
		if f.Arrived {
			what = arrived
		}
		for i := sort.Search(s.kept.n, func(i int) bool { return s.kept.at(i).no >= f.First }); i < s.kept.n && s.kept.at(i).no <= f.Last; i++ {
			s.kept.at(i).fate = what
		}
	}
}

// miss keeps a message that the network lost until the next session can carry
// it. Exporter.mu is held.
func (e *Exporter) miss(s *session, m *message, now time.Time) {
	s.missed = append(s.missed, m)
	s.missedOctets += cap(m.buf)
	for s.missedOctets > e.cfg.RetainBytes {
		old := s.missed[0]
		s.missed[0] = nil
		s.missed = s.missed[1:]
		s.missedOctets -= cap(old.buf)
		e.n.unkept += uint64(old.records)
		e.done(old, now)
	}
}

// sendMissedAgain hands what a session that was replaced in order has lost to
// the one that carries the data now. What its transport has said nothing of by
// then counts as lost, too.
func (e *Exporter) sendMissedAgain(s *session, now time.Time) {
	if s.tracker == nil {
		return
	}
	e.confirm(s, now)
	e.mu.Lock()
	defer e.mu.Unlock()
	for s.kept.n > 0 {
		switch k := s.kept.first(); {
		case k.m.withdraw != nil || k.fate == arrived:
			e.done(s.kept.pop(), now)
		case k.fate == lost && s.mayLose(k.m):
			e.giveUpOn(s.kept.pop(), now)
		default:
			e.miss(s, s.kept.pop(), now)
		}
	}
	if n := e.again(s.missed...); n > 0 {
		e.cfg.Log.Debug("records lost on the way are sent again", "session", s.t.Peer().Session, "records", n)
	}
	s.missed, s.missedOctets = nil, 0
}
