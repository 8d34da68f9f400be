package export

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"ipfixsuite/heartbeat"
	"ipfixsuite/rotation"
	"ipfixsuite/transport"
)

var errUnconfirmed = errors.New("what it carried was not confirmed in time")

// A Forgetter is a Dialer that can be told not to resume: its next session
// begins with a full handshake.
type Forgetter interface{ Forget() }

// building is a dial under way.
type building struct {
	id      rotation.ID
	path    int
	cause   rotation.Cause
	cancel  context.CancelCauseFunc
	dropped bool // nobody wants its session any more
}

// path is what is known of the way to one collector.
type path struct {
	known bool // a session was opened on it
	fails int  // attempts since
}

// dialResult is what a dial goroutine brings.
type dialResult struct {
	b   *building
	t   transport.Session
	err error
}

// build starts to open a session.
func (e *Exporter) build(ctx context.Context, now time.Time, a rotation.Action) {
	l := &e.loop
	path := l.choice.Pick(now)
	second := a.Cause == rotation.Suspicion && l.cur != nil
	if second && !l.cur.refuted && !l.stray() {
		path = l.cur.path // the second opinion is about this collector
	}
	timeout := e.dialTimeout(path)
	if second {
		timeout = min(timeout, e.cfg.DeadAfter)
	}
	dialer := l.dialers[path]
	if f, ok := dialer.(Forgetter); ok && a.Full {
		f.Forget()
	}
	dctx, cancel := context.WithCancelCause(ctx)
	b := &building{id: a.ID, path: path, cause: a.Cause, cancel: cancel}
	l.building = b
	l.wg.Go(func() { // ends with the dial, which dctx bounds
		dctx, stop := context.WithTimeout(dctx, timeout)
		t, err := dialer.Dial(dctx)
		stop()
		cancel(nil)
		l.dialed <- dialResult{b, t, err}
	})
}

// dialTimeout is how long an attempt to open a session may take.
func (e *Exporter) dialTimeout(path int) time.Duration {
	p := e.loop.paths[path]
	if !p.known && len(e.loop.paths) == 1 {
		return e.cfg.DialTimeout
	}
	return min(max(e.cfg.DeadAfter, quickDial)<<min(p.fails, 8), e.cfg.DialTimeout)
}

// opened takes the result of a dial.
func (e *Exporter) opened(r dialResult) {
	l := &e.loop
	b := r.b
	if l.building == b {
		l.building = nil
	}
	now := time.Now()
	if b.dropped || b.path < 0 { // nobody wants it any more
		l.machine.Built(now, b.id, false, false)
		if r.t == nil {
			l.machine.Closed(now, b.id)
		} else {
			e.discard(b, r.t)
		}
		return
	}
	if r.err != nil {
		l.machine.Built(now, b.id, false, false)
		l.paths[b.path].fails++
		e.unreachable(b, now, r.err)
		return
	}
	p := r.t.Peer()
	l.paths[b.path] = path{known: true}
	l.machine.Built(now, b.id, true, !p.Resumed)
	if l.cur != nil && l.cur.live != nil && l.cur.path == b.path {
		l.cur.live.SecondOpinion(now, true)
	}
	if id, _ := l.machine.Candidate(); id != b.id {
		e.discard(b, r.t)
		return
	}
	s := newSession(r.t, e.cfg.Streams)
	s.id, s.path = b.id, b.path
	pctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	l.wg.Go(func() { s.prober(pctx, l) }) // forget stops it
	if s.canProbe {
		s.live = heartbeat.NewLiveness(e.liveness(false), now, rand.Float64)
	}
	l.next = s

	e.mu.Lock()
	e.n.opened++
	if p.Resumed {
		e.n.resumed++
	}
	if l.cur == nil {
		e.maxMessage = e.limit(s)
	}
	e.mu.Unlock()
	e.cfg.Log.Info("session opened", "session", p.Session, "collector", p.Identity,
		"remote", p.Remote, "resumed", p.Resumed, "max_message", r.t.MaxMessage(), "cause", b.cause.String())
}

// discard closes a session that came too late. It has carried nothing, so how it
// ends says nothing of what others carried.
func (e *Exporter) discard(b *building, t transport.Session) {
	l := &e.loop
	l.wg.Go(func() { // ends by closeTimeout
		_ = closeSession(t)
		l.closedOnes <- closeResult{id: b.id}
	})
}

// unreachable deals with a session that could not be had.
func (e *Exporter) unreachable(b *building, now time.Time, err error) {
	l := &e.loop
	l.lastErr = err
	l.choice.Failed(now, b.path)
	if !l.stray() {
		l.machine.Forgo(rotation.Path)
	}
	e.elsewhere(now)
	retry := max(l.machine.NotBefore().Sub(now), 0).Round(time.Millisecond)
	e.cfg.Log.Warn("no session with collector", withHint(err, "error", err, "cause", b.cause.String(), "retry", retry)...)
	if l.cur == nil || l.cur.path != b.path {
		return
	}
	l.cur.refuted = true
	if l.cur.live != nil {
		l.cur.live.SecondOpinion(now, false)
	}
	l.cur.doubt(now, &e.cfg)
}

// answered takes the result of a probe.
func (e *Exporter) answered(r probeResult) {
	s := r.s
	s.probing = false
	if s.over {
		return
	}
	now := time.Now()
	switch {
	case r.err == nil:
		s.prove(r.octets)
		s.proven = s.proven || s.proving && r.octets >= s.octets
		e.confirm(s, now)
		if s.live != nil {
			s.live.Answered(now)
		}
		if s == e.loop.cur {
			s.refuted = false
			e.loop.machine.Forgo(rotation.Suspicion)
		}
	case errors.Is(r.err, transport.ErrNoProbe):
		s.canProbe = false
		if s.live != nil {
			s.live.Silence(now)
		}
		e.cfg.Log.Info("collector answers no heartbeats", "session", s.t.Peer().Session)
	case ended(s.t): // the loop sees it
	case s.laned != nil && errors.Is(r.err, context.DeadlineExceeded):
		s.probe(now) // a stream may stand still for longer
	default:
		err := fmt.Errorf("heartbeat not answered: %w", r.err)
		if s == e.loop.cur {
			e.lose(s, now, err)
		} else {
			e.loseOther(s, now, err)
		}
	}
}

// lose gives up the session that carries data; what is not confirmed waits
// for the next one.
func (e *Exporter) lose(s *session, now time.Time, cause error) {
	l := &e.loop
	if s != l.cur {
		return // it is lost already
	}
	if cause == nil {
		cause = transport.ErrPeerClosed
	}
	l.lastErr = cause
	l.without, l.spillFrom = now, now
	if ended(s.t) {
		l.spillFrom = now.Add(spillAfter) // it may be back at once
	}
	l.cur = nil
	e.mu.Lock()
	e.session, e.stalls, e.standing = nil, false, 0
	e.mu.Unlock()
	l.choice.Failed(now, s.path)
	l.gone = append(l.gone, s)
	e.bury(s, now, cause)
	e.elsewhere(now)
}

// elsewhere turns to another collector that is thought well, if the next
// session goes there: it does not wait because of the one that failed, nor for
// an attempt to reach that one.
func (e *Exporter) elsewhere(now time.Time) {
	l := &e.loop
	to := l.choice.Pick(now)
	if l.cur != nil || !l.choice.Well(now, to) {
		return
	}
	if b := l.building; b != nil && b.path != to {
		l.machine.Lost(now, b.id)
	}
	l.machine.Elsewhere()
}

// loseOther gives up the candidate or the draining session.
func (e *Exporter) loseOther(s *session, now time.Time, cause error) {
	if s.over {
		return
	}
	if cause == nil {
		cause = transport.ErrPeerClosed
	}
	if s == e.loop.next {
		s.over = true
		e.loop.lastErr = cause
		e.loop.choice.Failed(now, s.path)
		if !e.loop.stray() {
			e.loop.machine.Forgo(rotation.Path)
		}
		e.cfg.Log.Warn("new session given up", withHint(cause, "session", s.t.Peer().Session, "collector", s.t.Peer().Identity, "error", cause)...)
		e.loop.machine.Lost(now, s.id)
		return
	}
	e.bury(s, now, cause)
}

// bury ends a session that carried data, and saves what it may have lost. A
// collector that said goodbye is not a lost one.
func (e *Exporter) bury(s *session, now time.Time, cause error) {
	e.lastWord(s)
	s.over = true
	again := e.replay(s, now)
	inOrder, stood := errors.Is(cause, transport.ErrPeerClosed), errors.Is(cause, errStands)
	e.mu.Lock()
	switch {
	case inOrder:
		e.n.closed++
	case !stood:
		e.n.lost++
	}
	switch {
	case s.laned != nil:
		e.n.unconfirmedAtEnd += s.underWay()
	case s.canProbe:
		e.n.unconfirmedAtEnd += s.octets - s.confirmed
	}
	e.mu.Unlock()
	e.loop.machine.Lost(now, s.id)
	p := s.t.Peer()
	switch {
	case inOrder:
		e.cfg.Log.Info("collector closed the session", "session", p.Session, "collector", p.Identity, "records_again", again)
	case stood:
		e.cfg.Log.Info("session closed", "session", p.Session, "reason", cause, "records_again", again)
	default:
		e.cfg.Log.Warn("session lost", withHint(cause, "session", p.Session, "collector", p.Identity, "error", cause, "records_again", again)...)
	}
}

// reap finds sessions that ended by themselves. It reports whether there was
// one.
func (e *Exporter) reap(now time.Time) bool {
	l := &e.loop
	found := false
	if s := l.cur; s != nil && ended(s.t) {
		e.lose(s, now, s.t.Err())
		found = true
	}
	for _, s := range []*session{l.next, l.old} {
		if s == nil || s.over || !ended(s.t) {
			continue
		}
		found = true
		err := s.t.Err()
		if s == l.old && (err == nil || errors.Is(err, transport.ErrPeerClosed)) && s.t.Properties().Reliable && s.canProbe {
			// Closed in order by a peer that had everything. Where no process
			// answers, its kernel may have done that for one that was killed.
			s.over = true
			l.machine.Drained(now, s.id)
			continue
		}
		e.loseOther(s, now, err)
	}
	return found
}
