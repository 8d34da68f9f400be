package export

import (
	"slices"
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

const (
	// recoverTime is how long nothing new may be heard of the last messages:
	// longer than any round trip and delayed acknowledgement.
	recoverTime = time.Second
	// recoverStep is how often the transport is asked meanwhile.
	recoverStep = 20 * time.Millisecond
	// maxRecoveries bounds how often what was lost is sent again at the end,
	// on a network that loses most of it.
	maxRecoveries = 10
	// maxGuesses bounds how often in a row nothing was known to be lost: a
	// transport may have no more to say, and the collector each record as often.
	maxGuesses = 2
)

// recovery is the end of an Exporter whose transport loses messages and knows
// which.
type recovery struct {
	unknown int       // messages of which nothing was known at the last look
	until   time.Time // if that stays so until then, they count as lost; zero: not begun
	at      time.Time // ask again
	n       int       // how often messages were sent again
	guesses int       // of these, the last ones for want of knowledge
}

// recover has what the last session lost sent again on itself: there is no next
// one. The collector's account shows them as lost once, and as records that
// came. again: there is something to send.
func (e *Exporter) recover(s *session, now time.Time) (done, again bool) {
	if s.tracker == nil || s.props.Reliable {
		return true, false
	}
	e.confirm(s, now)
	e.mu.Lock()
	defer e.mu.Unlock()
	r := &e.loop.recovery
	unknown, missing := 0, len(s.missed)
	for i := range s.kept.n {
		switch k := s.kept.at(i); {
		case k.fate == lost:
			missing++
		case k.fate == open && k.m.withdraw == nil:
			unknown++
		}
	}
	if r.until.IsZero() || unknown < r.unknown {
		r.until = now.Add(recoverTime)
	}
	r.unknown, r.at = unknown, time.Time{}
	if unknown > 0 && now.Before(r.until) {
		r.at = now.Add(recoverStep)
		return false, false
	}
	out := slices.Concat(s.missed, s.kept.extract(func(k *keptMessage) bool {
		return k.fate == lost || k.fate == open && k.m.withdraw == nil
	}))
	s.missed, s.missedOctets = nil, 0
	if missing == 0 {
		r.guesses++
	} else {
		r.guesses = 0
	}
	if len(out) > 0 && r.guesses <= maxGuesses && r.n < maxRecoveries {
		r.n++
		r.until = time.Time{}
		e.again(out...)
		return false, true
	}
	for _, m := range out {
		e.n.unconfirmed += uint64(m.records)
		e.done(m, now)
	}
	return true, false
}
