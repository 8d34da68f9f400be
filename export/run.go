package export

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"ipfixsuite/transport"
)

var (
	errStarted   = errors.New("exporter runs already, or did")
	errUndrained = errors.New("no time left to send everything and have it confirmed")
)

// Run opens the session, sends what sources write and opens another session
// when one is lost. It returns after Close, or when ctx ends: then what is
// not sent is counted as dropped.
func (e *Exporter) Run(ctx context.Context) error {
	e.mu.Lock()
	if e.started {
		e.mu.Unlock()
		return errStarted
	}
	e.started = true
	e.mu.Unlock()

	ctx, cancel := context.WithCancel(ctx)
	l := &e.loop
	l.start(e, time.Now())
	l.wg.Go(func() { // ends with this call: cancel follows the loop
		select {
		case <-e.aborted:
			cancel()
		case <-ctx.Done():
		}
	})
	err := e.run(ctx)
	drained := err == nil
	cancel()
	close(l.over)
	l.wg.Wait()
	for len(l.dialed) > 0 { // a session nobody needs any more
		if r := <-l.dialed; r.t != nil {
			_ = closeSession(r.t)
		}
	}
	e.passOn()
	unsent, unconfirmed := e.dropAll()
	if errors.Is(err, errUndrained) && e.back.spool != nil {
		err = nil // what is left is in the spool, or told of below
	}
	if unsent > 0 {
		err = errors.Join(err, fmt.Errorf("%s not sent", records(unsent)))
	}
	if unconfirmed > 0 {
		err = errors.Join(err, fmt.Errorf("%s sent, but not confirmed by the collector", records(unconfirmed)))
	}
	err = errors.Join(err, e.closeSpool(err == nil && drained && e.yield == nil))
	e.closeErr = err
	close(e.finished)
	return err
}

// dropAll gives up what is left at the end and returns its number of records,
// those that had been sent once apart.
func (e *Exporter) dropAll() (unsent, unconfirmed uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.closing {
		e.closing = true
		close(e.closed)
	}
	e.sealAll()
	e.leave()
	before := e.n.dropped
	for e.queue.len() > 0 {
		e.dropFirst()
	}
	return e.n.dropped - before, e.n.unconfirmed
}

// run is the loop: each round does what time and the queue demand, then
// waits for the next event.
func (e *Exporter) run(ctx context.Context) error {
	l := &e.loop
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		now := time.Now()
		if err := e.advance(ctx, now); err != nil {
			e.end()
			return err
		}
		e.noteGap()
		e.unspool(now)
		next, more := e.pump(ctx, now)
		more, l.again = more || l.again, false
		if e.reap(time.Now()) {
			continue
		}
		l.recovery.at = time.Time{} // it is for this round to say
		if e.drained() {
			done, again := e.conclude(now)
			if done {
				e.end()
				return nil
			}
			more = more || again
		}
		at := l.always
		if !more {
			timer.Reset(time.Until(e.soonest(now, next)))
			at = timer.C
		}
		if !e.event(ctx, at) {
			e.end()
			if l.closing || isDone(e.aborted) {
				return errUndrained
			}
			return ctx.Err()
		}
	}
}

// event waits for something to happen; false: ctx ended.
func (e *Exporter) event(ctx context.Context, at <-chan time.Time) bool {
	l := &e.loop
	done := func(s *session) <-chan struct{} {
		if s == nil || s.over {
			return nil
		}
		return s.t.Done()
	}
	closed := e.closed
	if l.closing {
		closed = nil
	}
	select {
	case <-ctx.Done():
		return false
	case r := <-l.dialed:
		began := time.Now()
		e.opened(r)
		if l.cur != nil {
			l.busy += time.Since(began)
		}
	case r := <-l.probed:
		e.answered(r)
	case r := <-l.closedOnes:
		e.parted(time.Now(), r)
	case c := <-e.rotateNow:
		l.machine.Want(c)
	case c := <-e.changes:
		e.change(time.Now(), c)
	case <-closed:
		l.closing = true
	case <-done(l.cur):
	case <-done(l.next):
	case <-done(l.old):
	case <-freed(l.cur):
	case <-freed(l.next):
	case <-freed(l.old):
	case <-e.ready:
	case <-at:
	}
	return true
}

// advance does what is due by time. An error ends Run.
func (e *Exporter) advance(ctx context.Context, now time.Time) error {
	e.sealOld(now)
	l := &e.loop
	if l.cur != nil && (l.next != nil || l.old != nil) {
		began := time.Now()
		e.rotate(ctx, now)
		l.busy += time.Since(began)
	} else {
		e.rotate(ctx, now)
	}
	s := l.cur
	if s == nil {
		e.spillQueue(now)
		return e.giveUp(now)
	}
	e.confirm(s, now)
	if now.Before(s.retryAt) {
		return nil
	}
	e.refresh(s, now)
	if !l.statsAt.IsZero() && !now.Before(l.statsAt) {
		l.statsAt = now.Add(e.cfg.StatsInterval)
		if err := e.exportStats(s); err != nil {
			e.cfg.Log.Error("statistics not sent", "error", err)
		}
	}
	return nil
}

// giveUp fails when there has been no session for too long.
func (e *Exporter) giveUp(now time.Time) error {
	l := &e.loop
	if e.cfg.GiveUp <= 0 || now.Sub(l.without) < e.cfg.GiveUp {
		return nil
	}
	e.mu.Lock()
	reached := e.n.opened > 0
	e.mu.Unlock()
	return &gaveUp{after: e.cfg.GiveUp, why: l.lastErr, reached: reached, spooled: e.back.spool != nil}
}

// gaveUp is why Run ended for want of a collector.
type gaveUp struct {
	after            time.Duration
	why              error // nil: the first attempt is still under way
	reached, spooled bool
}

func (e *gaveUp) Error() string {
	s := fmt.Sprintf("given up after %v without a session: ", e.after)
	if e.why == nil {
		return s + "no answer so far"
	}
	return s + e.why.Error()
}

func (e *gaveUp) Unwrap() error { return e.why }

// Hint tells the way out.
func (e *gaveUp) Hint() string {
	s := "does a collector listen there, does a firewall let both ways through, and do both ends trust each other?"
	switch hint := transport.Hint(e.why); {
	case hint != "":
		if s = hint; !strings.HasSuffix(s, "?") {
			s += "."
		}
	case e.reached:
		s = "there was a session before: does the collector still run?"
	}
	s += " --give-up sets how long it is waited for"
	if !e.spooled {
		s += ", --spool keeps what is not sent"
	}
	return s
}

// records is "N records were", in words that fit the number.
func records(n uint64) string {
	if n == 1 {
		return "1 record was"
	}
	return fmt.Sprintf("%d records were", n)
}

// noteGap ends a time in which data had to wait for other sessions.
func (e *Exporter) noteGap() {
	l := &e.loop
	if l.busy > l.maxGap {
		l.maxGap = l.busy
		e.mu.Lock()
		e.n.maxGap = l.busy
		e.mu.Unlock()
	}
	l.busy = 0
}

// refresh sees to all Templates of the domains where they are due.
func (e *Exporter) refresh(s *session, now time.Time) {
	if len(s.jobs) > 0 {
		return // they are on their way
	}
	e.mu.Lock()
	domains := e.domains
	e.mu.Unlock()
	for _, d := range domains {
		if sd := s.domain(d, &e.cfg); sd.schedule.Due(now, s.messages) {
			e.announce(s, d, true)
		}
	}
}

// sealOld seals the open messages whose first record waited long enough, all
// of them if the Exporter closes.
func (e *Exporter) sealOld(now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for i := 0; i < len(e.packing); {
		if l := e.packing[i]; e.closing || now.Sub(l.open.since) >= e.cfg.MaxDelay {
			e.seal(l) // another takes its place
		} else {
			i++
		}
	}
}

// soonest is when the loop must look again, at the latest; next is what pump
// asked for.
func (e *Exporter) soonest(now, next time.Time) time.Time {
	at := next
	sooner := func(t time.Time) {
		if !t.IsZero() && (at.IsZero() || t.Before(at)) {
			at = t
		}
	}
	e.mu.Lock()
	e.armed = false
	for _, l := range e.packing {
		e.armed = true
		sooner(l.open.since.Add(e.cfg.MaxDelay))
	}
	e.mu.Unlock()
	l := &e.loop
	s := l.cur
	sooner(l.machine.Next())
	sooner(e.spillAt(now))
	sooner(e.back.at)
	sooner(l.recovery.at)
	if l.old != nil {
		sooner(l.old.drainNext())
	}
	if c := l.next; c != nil && !c.over && c.live != nil {
		sooner(c.live.Next())
	}
	if s == nil {
		if e.cfg.GiveUp > 0 {
			sooner(l.without.Add(e.cfg.GiveUp))
		}
	} else {
		sooner(e.watchNext(now))
		due := l.statsAt
		for i := range s.domains {
			if sc := s.domains[i].schedule; len(s.jobs) == 0 && sc != nil && !sc.Next().IsZero() && (due.IsZero() || sc.Next().Before(due)) {
				due = sc.Next()
			}
		}
		if !due.IsZero() && due.Before(s.retryAt) {
			due = s.retryAt
		}
		sooner(due)
		if now.Before(s.retryAt) {
			sooner(s.retryAt)
		}
	}
	if at.IsZero() {
		at = now.Add(time.Hour)
	}
	return at
}

// drained reports whether the Exporter closes and nothing waits to be sent.
func (e *Exporter) drained() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.closing {
		return false
	}
	e.sealAll()
	return e.yield != nil || e.queue.len() == 0 && e.spoolEmpty()
}

// conclude ends in order: the sessions beside are waited for, then final
// statistics, and a probe that confirms all of it. again: there is more to do
// at once.
func (e *Exporter) conclude(now time.Time) (done, again bool) {
	l := &e.loop
	l.machine.Stop(now)
	if l.old != nil || len(l.gone) > 0 {
		return false, false // what it carried may have to be sent again
	}
	s := l.cur
	if s == nil {
		return true, false
	}
	if !s.concluded {
		s.concluded = true
		if err := e.exportStats(s); err != nil {
			e.cfg.Log.Error("final statistics not sent", "error", err)
		}
		e.closingWord(s)
		return false, true
	}
	if len(s.jobs) > 0 {
		return false, false
	}
	if s.canProbe && s.unproven() {
		if at := s.provable(); now.Before(at) {
			l.recovery.at = at
			return false, false
		}
		s.probe(now)
		return false, !s.probing
	}
	return e.recover(s, now)
}
