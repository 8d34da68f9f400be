package export

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"ipfixsuite/transport"
)

// stable is how long a session must have lived for its loss to be answered
// without a longer backoff.
const stable = 10 * time.Second

// dialAt is when something is to be done about the missing session.
func (e *Exporter) dialAt() time.Time {
	l := &e.loop
	var at time.Time
	if !l.dialing {
		at = l.redial.next
	}
	if e.cfg.GiveUp > 0 {
		if g := l.without.Add(e.cfg.GiveUp); at.IsZero() || g.Before(at) {
			at = g
		}
	}
	return at
}

// dial starts an attempt to open a session if one is due. It fails when
// there has been none for too long.
func (e *Exporter) dial(ctx context.Context, now time.Time) error {
	l := &e.loop
	if e.cfg.GiveUp > 0 && now.Sub(l.without) >= e.cfg.GiveUp {
		err := fmt.Errorf("no session for %v", e.cfg.GiveUp)
		if l.lastErr != nil {
			err = fmt.Errorf("%w: %w", err, l.lastErr)
		}
		return err
	}
	if l.dialing || now.Before(l.redial.next) {
		return nil
	}
	l.dialing = true
	l.wg.Go(func() { // ends with the dial, which ctx bounds
		dctx, cancel := context.WithTimeout(ctx, e.cfg.DialTimeout)
		defer cancel()
		t, err := e.cfg.Dialer.Dial(dctx)
		l.dialed <- dialResult{t, err}
	})
	return nil
}

// opened takes the result of a dial.
func (e *Exporter) opened(ctx context.Context, r dialResult) {
	l := &e.loop
	l.dialing = false
	now := time.Now()
	if r.err != nil {
		l.lastErr = r.err
		l.redial.failed(now, rand.Float64())
		e.cfg.Log.Warn("no session with collector", "error", r.err, "retry", l.redial.next.Sub(now).Round(time.Millisecond))
		return
	}
	s := newSession(r.t, now, &e.cfg)
	pctx, stop := context.WithCancel(ctx)
	s.stop = stop
	l.wg.Go(func() { s.prober(pctx, e.cfg.DeadAfter, l.probed) }) // end stops it
	l.cur = s
	p := r.t.Peer()

	e.mu.Lock()
	e.session = r.t
	again := e.n.opened > 0
	e.n.opened++
	if p.Resumed {
		e.n.resumed++
	}
	e.maxMessage = e.limit(s)
	e.mu.Unlock()

	if !e.stats.off {
		l.statsAt = now.Add(e.cfg.StatsInterval)
		if again {
			l.statsAt = now // what happened in between
		}
	}
	e.cfg.Log.Info("session opened", "session", p.Session, "collector", p.Identity,
		"remote", p.Remote, "resumed", p.Resumed, "max_message", r.t.MaxMessage())
	if err := e.refresh(ctx, s, now); err != nil {
		e.sendFailed(s, now, err, false)
	}
}

// answered takes the result of a probe.
func (e *Exporter) answered(r probeResult) {
	s := r.s
	if s != e.loop.cur {
		return
	}
	s.probing = false
	switch {
	case r.err == nil:
		s.confirmed = max(s.confirmed, r.octets)
	case errors.Is(r.err, transport.ErrNoProbe):
		s.canProbe = false
		e.cfg.Log.Info("collector answers no heartbeats", "session", s.t.Peer().Session)
	case ended(s.t): // the loop sees it
	default:
		e.lose(s, time.Now(), fmt.Errorf("heartbeat not answered for %v: %w", e.cfg.DeadAfter, r.err))
	}
}

// lose gives up a session that failed; the next is opened with backoff.
func (e *Exporter) lose(s *session, now time.Time, cause error) {
	l := &e.loop
	if s != l.cur {
		return // it is lost already
	}
	if cause == nil {
		cause = transport.ErrPeerClosed
	}
	var unproven uint64
	if s.canProbe {
		unproven = s.octets - s.confirmed
	}
	l.unproven += unproven
	l.lastErr = cause
	e.forget(s)
	e.mu.Lock()
	e.n.lost++
	e.n.unconfirmedAtEnd += unproven
	e.mu.Unlock()
	l.wg.Go(func() { closeSession(s.t) }) // ends by closeTimeout
	l.without = now
	if now.Sub(s.opened) < stable {
		l.redial.failed(now, rand.Float64())
	} else {
		l.redial.opened(s.opened)
	}
	e.cfg.Log.Warn("session lost", "session", s.t.Peer().Session, "error", cause, "unconfirmed", unproven)
}

// end closes a session in order.
func (e *Exporter) end(s *session) {
	e.forget(s)
	closeSession(s.t)
	e.cfg.Log.Info("session closed", "session", s.t.Peer().Session)
}

// forget takes the session out of the loop and keeps its counters.
func (e *Exporter) forget(s *session) {
	l := &e.loop
	s.stop()
	close(s.probes)
	l.cur = nil
	e.mu.Lock()
	st := s.t.Stats()
	e.n.probesSent += st.ProbesSent
	e.n.probesAnswered += st.ProbesAnswered
	e.session = nil
	e.mu.Unlock()
}

func closeSession(t transport.Session) {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	_ = t.Close(ctx) // it is over either way
}
