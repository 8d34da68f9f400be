package export

import (
	"errors"
	"math/rand/v2"
	"time"

	"ipfixsuite/heartbeat"
	"ipfixsuite/rotation"
	"ipfixsuite/transport"
)

const (
	// never stands for the time between probes where none are wished for:
	// only the window asks for them then.
	never = 24 * time.Hour
	// failingLong is how long a session may take nothing without suspicion.
	failingLong = 1200 * time.Millisecond
)

var errSilent = errors.New("the collector answers no more")

// errStalled is the fault of a collector whose process lives.
var errStalled error = stalledError{}

type stalledError struct{}

func (stalledError) Error() string {
	return "the collector takes sessions, but does not confirm what it is sent"
}

// Hint tells the way out.
func (stalledError) Hint() string {
	return "see the collector's log: an output may take nothing, or its disk be full"
}

// withHint adds the way out to what is logged of an error, if there is one.
func withHint(cause error, args ...any) []any {
	if hint := transport.Hint(cause); hint != "" {
		return append(args, "hint", hint)
	}
	return args
}

// judge gives a session that is to carry data its judge. What was learnt of
// the collector on the old one is kept.
func (e *Exporter) judge(s, old *session, now time.Time) {
	if !s.props.Secure && !s.canProbe {
		s.live = nil // a handshake that anybody can answer proves nothing
		return
	}
	if old != nil && old.live != nil && old.path == s.path && old.canProbe == s.canProbe {
		s.live = old.live.Successor(now)
		return
	}
	s.live = heartbeat.NewLiveness(e.liveness(!s.canProbe), now, rand.Float64)
}

func (e *Exporter) liveness(mute bool) heartbeat.LivenessConfig {
	c := &e.cfg
	l := heartbeat.LivenessConfig{Interval: c.Heartbeat, DeadAfter: c.DeadAfter, StallAfter: c.StallAfter, Mute: mute}
	if l.StallAfter == 0 && len(e.loop.paths) > 1 {
		l.StallAfter = 2 * c.DeadAfter // another one may write what this one does not
	}
	if l.Interval < 0 {
		l.Interval, l.DeadAfter = never, never+c.DeadAfter
	}
	if c.Rotate > 0 {
		l.HandshakeEvery = min(c.Rotate, heartbeat.DefaultHandshakeEvery)
	}
	return l
}

// watch sees to the life of the session that carries data, and turns what was
// noticed into wishes.
func (e *Exporter) watch(now time.Time) {
	l := &e.loop
	s := l.cur
	if s == nil {
		return
	}
	at := l.choice.ReturnAt()
	if alone := l.next == nil && l.building == nil; alone && (l.stray() || !at.IsZero() && !now.Before(at)) {
		l.machine.Want(rotation.Path)
	}
	if s.tries > 0 && now.Sub(s.failing) >= failingLong {
		l.machine.Want(rotation.Suspicion)
	}
	e.watchStreams(s, now)
	if s.live == nil {
		return
	}
	if !l.hintAt.After(now) {
		l.hintAt = now.Add(hintInterval)
		st := s.t.Stats()
		if st.UnreachableHints != s.hints {
			s.hints = st.UnreachableHints
			s.live.Hint(now)
		}
		if st.Heard != s.heard {
			s.heard = st.Heard
			s.live.Heard(now)
		}
	}
	if s.laned != nil && s.live.Overdue(now) && e.partly(s, now) {
		s.live.Partly(now)
	}
	for {
		switch s.live.Advance(now) {
		case heartbeat.Probe:
			s.probe(now)
			continue
		case heartbeat.Handshake:
			cause := rotation.Suspicion
			if s.live.State() == heartbeat.Alive {
				cause = rotation.Period // how a peer without heartbeats is asked: nobody doubts it
			}
			l.machine.Want(cause)
			s.doubtTemplates(now)
			continue
		case heartbeat.None:
		}
		break
	}
	e.tellStall(s)
	if s.live.State() == heartbeat.Dead {
		err := errSilent
		if s.live.Cause() == heartbeat.Stalled {
			err = errStalled
		}
		e.lose(s, now, err)
	}
}

// doubtTemplates has the Templates sent again when an answer is overdue: it may
// be that data waits for one that the network lost each time.
func (s *session) doubtTemplates(now time.Time) {
	if !s.canProbe {
		return
	}
	for i := range s.domains {
		if sc := s.domains[i].schedule; sc != nil {
			sc.Doubt(now)
		}
	}
}

// tellStall says when a collector begins to take sessions without confirming
// anything, as one whose sinks stall does, and when that is over.
func (e *Exporter) tellStall(s *session) {
	if s.stalls == s.live.Stalling() || s.live.State() == heartbeat.Dead {
		return
	}
	s.stalls = !s.stalls
	p := s.t.Peer()
	e.mu.Lock()
	e.stalls = s.stalls
	if s.stalls {
		e.n.stalled++
	}
	e.mu.Unlock()
	if s.stalls {
		e.cfg.Log.Warn("collector stalls", withHint(errStalled, "session", p.Session, "collector", p.Identity, "error", errStalled)...)
		return
	}
	e.tellGoesOn(s)
}

func (e *Exporter) tellGoesOn(s *session) {
	p := s.t.Peer()
	e.cfg.Log.Info("collector goes on", "session", p.Session, "collector", p.Identity)
}

// deferOpinion takes the judge's wish for a handshake back where none could
// begin, since another session is under way or it is too soon.
func (e *Exporter) deferOpinion(now time.Time) {
	l := &e.loop
	if l.cur == nil || l.cur.live == nil || !l.cur.live.Dialing() {
		return
	}
	if l.building == nil || l.building.path != l.cur.path {
		l.cur.live.Defer(now)
	}
}

// silent drives the judge of a session that is to carry data, and reports
// whether its collector answers no more. There is no second opinion: it is
// the second session itself.
func (e *Exporter) silent(s *session, now time.Time) bool {
	if s.live == nil || !s.canProbe {
		return false
	}
	if s.laned != nil && e.partlySilent(s, now) {
		return true
	}
	for a := s.live.Advance(now); a != heartbeat.None; a = s.live.Advance(now) {
		if a == heartbeat.Probe {
			s.probe(now)
		}
	}
	return s.live.State() == heartbeat.Dead
}

// watchNext is when watch must be called at the latest.
func (e *Exporter) watchNext(now time.Time) time.Time {
	s := e.loop.cur
	var next time.Time
	sooner := func(t time.Time) {
		if t.After(now) && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	sooner(e.loop.choice.ReturnAt())
	sooner(s.streamsNext())
	if s.tries > 0 {
		sooner(s.failing.Add(failingLong))
	}
	if s.live != nil {
		if at := s.live.Next(); !at.IsZero() && !at.After(now) {
			return now
		} else {
			sooner(at)
		}
	}
	return next
}
