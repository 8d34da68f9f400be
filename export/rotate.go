package export

import (
	"context"
	"errors"
	"fmt"
	"time"

	"ipfixsuite/rotation"
	"ipfixsuite/transport"
)

const (
	// drainLinger is how long a session that answers no probes is kept after
	// its last message: what is in flight must not come after the farewell.
	drainLinger = time.Second
	// busyPause is the time between attempts to tell a draining session what
	// it takes no room for.
	busyPause = 50 * time.Millisecond
	// suspectDrain bounds the drain of a session that was replaced on
	// suspicion: its collector answers elsewhere.
	suspectDrain = 1500 * time.Millisecond
)

// rotate does what the machine asks for, and takes the sessions beside the
// active one a step further.
func (e *Exporter) rotate(ctx context.Context, now time.Time) {
	l := &e.loop
	e.watch(now)
	e.fallenBeside(now)
	for {
		a := l.machine.Advance(now)
		switch a.Op {
		case rotation.Build:
			e.build(ctx, now, a)
		case rotation.Prime:
			e.beginPrime(l.next)
		case rotation.Prove:
			l.next.proving = true
		case rotation.Swap:
			e.swap(ctx, now, a)
		case rotation.Drain:
			e.drain(l.old, now)
		case rotation.Close:
			e.closeOne(now, a)
		case rotation.Nothing:
			if !e.further(ctx, now) {
				e.deferOpinion(now)
				return
			}
		}
	}
}

// further takes the candidate and the draining session a step further and
// reports whether the machine was told something.
func (e *Exporter) further(ctx context.Context, now time.Time) bool {
	l := &e.loop
	told := false
	if s := l.next; s != nil && !s.over {
		if e.silent(s, now) {
			e.loseOther(s, now, errStalled) // it has completed a handshake
			return true
		}
		switch {
		case s.proving && s.canProbe && !s.proven:
			s.probe(now)
		case s.proving:
			s.proving = false
			l.machine.Proved(now, s.id)
			told = true
		case !s.primed:
			s.round++
			done, err := e.tell(ctx, s, now)
			if err != nil {
				e.loseOther(s, now, fmt.Errorf("priming: %w", err))
				return true
			}
			if s.primed = done || e.toldOthers(s, now); s.primed {
				l.machine.Primed(now, s.id)
				told = true
			}
		}
	}
	s := l.old
	if s == nil || s.over || !s.draining {
		return told
	}
	if !now.Before(s.retryAt) {
		s.round++
		switch _, err := e.tell(ctx, s, now); {
		case errors.Is(err, transport.ErrBusy):
			s.retryAt = now.Add(busyPause) // a probe waits for all before it
		case err != nil:
			s.jobs = nil // its end is seen by the loop
		}
	}
	switch at := s.drainBegan.Add(suspectDrain); {
	case s.drained(now):
		s.draining = false
		l.machine.Drained(now, s.id)
		return true
	case s.replaced == rotation.Suspicion && !now.Before(at) && s.settled.IsZero():
		e.loseOther(s, now, e.undrained(s, now))
		return true
	}
	return told
}

// swap makes the candidate the session that carries data.
func (e *Exporter) swap(ctx context.Context, now time.Time, a rotation.Action) {
	l := &e.loop
	s := l.next
	if err := e.catchUp(ctx, s, now); err != nil {
		l.lastErr = err // the session's end is seen by the loop
	}
	old := l.cur
	l.cur, l.next = s, nil
	if old != nil {
		l.old = old
		old.replaced = a.Cause
		s.standing = old.standing // as it was told
		for i := range min(len(s.flows), len(old.flows)) {
			s.flows[i].stands = old.flows[i].stands && old.path == s.path
		}
		if !old.canProbe && !old.doubted.IsZero() {
			// Handshakes or sending failed and now there is a session: the
			// collector has been away, and what it was sent may be nowhere.
			again := e.replay(old, now)
			e.mu.Lock()
			e.n.lost++
			e.mu.Unlock()
			e.cfg.Log.Warn("collector was away", "session", old.t.Peer().Session, "records_again", again)
		}
	}
	// A collector that answers has a live session; whatever was suspected
	// was suspected of the old one.
	l.machine.Forgo(rotation.Suspicion)
	l.choice.Opened(now, s.path)
	e.judge(s, old, now)
	e.mu.Lock()
	e.session, e.stalls = s.t, false
	if old != nil {
		e.n.rotations++
		e.n.causes.count(a.Cause)
	}
	e.maxMessage = e.limit(s)
	e.mu.Unlock()
	if !e.stats.off && old == nil {
		if l.statsAt.IsZero() {
			l.statsAt = now.Add(e.cfg.StatsInterval)
		} else {
			l.statsAt = now // what happened without a session
		}
	}
	if old == nil {
		e.cfg.Log.Info("session carries data", "session", s.t.Peer().Session, "collector", s.t.Peer().Identity)
	} else {
		e.cfg.Log.Info("session replaced", "session", s.t.Peer().Session, "old", old.t.Peer().Session, "cause", a.Cause.String())
		if old.stalls && old.path == s.path { // it confirmed the new one's first
			e.tellGoesOn(s)
		}
	}
}

// closeOne closes what the machine has given up or is done with.
func (e *Exporter) closeOne(now time.Time, a rotation.Action) {
	l := &e.loop
	if b := l.building; b != nil && b.id == a.ID {
		b.dropped = true
		b.cancel(context.Canceled) // its result reports that it is over
		l.building = nil
		return
	}
	var s *session
	switch {
	case l.next != nil && l.next.id == a.ID:
		s = l.next
	case l.old != nil && l.old.id == a.ID:
		s = l.old
		if a.Failed && !s.over {
			e.loseOther(s, now, e.undrained(s, now))
		}
	default:
		for i, g := range l.gone {
			if g.id == a.ID {
				s = g
				l.gone = append(l.gone[:i], l.gone[i+1:]...)
				break
			}
		}
	}
	if s == nil {
		l.machine.Closed(now, a.ID)
		return
	}
	inOrder := s == l.old && !s.over
	if inOrder {
		e.bequeath(s, now)
		e.sendMissedAgain(s, now)
	}
	e.forget(s)
	l.wg.Go(func() { // ends by closeTimeout
		err := closeSession(s.t)
		if !inOrder {
			err = nil // what was known of it was the worst
		}
		l.closedOnes <- closeResult{s.id, err}
	})
	if !a.Failed {
		e.cfg.Log.Info("session closed", "session", s.t.Peer().Session)
	}
}

// drain begins the end of a session that was replaced.
func (e *Exporter) drain(s *session, now time.Time) {
	s.jobs = nil // of no use any more
	e.closingWord(s)
	s.draining = true
	s.drainBegan = now
	s.settled = time.Time{}
}

// drained reports whether everything the session carried has had the time it
// needs, and asks the collector for a sign of it.
func (s *session) drained(now time.Time) bool {
	if !s.canProbe {
		return !now.Before(s.drainBegan.Add(drainLinger))
	}
	if len(s.jobs) > 0 {
		return false
	}
	if s.laned != nil && s.unproven() || s.laned == nil && s.confirmed < s.octets || s.probing {
		s.probe(now)
		return false
	}
	if s.props.Ordered {
		return true
	}
	if s.settled.IsZero() {
		s.settled = now.Add(s.reordering())
	}
	if now.Before(s.settled) {
		return false
	}
	if s.unproven() {
		s.probe(now)
		return false
	}
	return true
}

// drainNext is when drained has to be asked again.
func (s *session) drainNext() time.Time {
	switch {
	case !s.draining || s.over:
		return time.Time{}
	case len(s.jobs) > 0 && !s.retryAt.IsZero():
		return s.retryAt
	case !s.canProbe:
		return s.drainBegan.Add(drainLinger)
	case s.replaced == rotation.Suspicion && s.settled.IsZero():
		return s.drainBegan.Add(suspectDrain)
	case s.probing:
		return time.Time{} // its answer is awaited
	}
	return s.settled
}

// Rotate asks for a new session beside the present one: the operator wants
// it, or the credentials have changed. It may be called at any time.
func (e *Exporter) Rotate(cause rotation.Cause) {
	select {
	case e.rotateNow <- cause:
	default: // one is asked for already
	}
}
