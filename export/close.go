package export

import (
	"context"
	"time"

	"ipfixsuite/rotation"
	"ipfixsuite/transport"
)

// forget ends what belongs to the session in the loop and keeps its counters.
func (e *Exporter) forget(s *session) {
	l := &e.loop
	s.over = true
	s.stop()
	close(s.probes)
	switch s {
	case l.cur:
		l.cur = nil
	case l.next:
		l.next = nil
	case l.old:
		l.old = nil
	}
	now := time.Now()
	s.learn()
	e.mu.Lock()
	defer e.mu.Unlock()
	for s.kept.n > 0 {
		if k := s.kept.first(); k.fate == lost && s.mayLose(k.m) {
			e.giveUpOn(s.kept.pop(), now)
		} else {
			e.done(s.kept.pop(), now)
		}
	}
	for _, m := range s.missed { // there is no next session
		e.done(m, now)
	}
	s.missed = nil
	st := s.t.Stats()
	e.n.probesSent += st.ProbesSent
	e.n.probesAnswered += st.ProbesAnswered
	if e.session == s.t {
		e.session = nil
	}
}

// end closes every session in order.
func (e *Exporter) end() {
	l := &e.loop
	for _, s := range append([]*session{l.cur, l.next, l.old}, l.gone...) {
		if s == nil {
			continue
		}
		e.lastWord(s)
		if s.canProbe && s.unproven() {
			e.replay(s, time.Now()) // spooled if it can be, else counted
		}
		risk := e.young(s, time.Now())
		e.forget(s)
		l.wg.Go(func() { // ends by closeTimeout; Run waits for it
			if closeSession(s.t) != nil { // and there is no next session
				e.mu.Lock()
				defer e.mu.Unlock()
				e.n.unconfirmed += risk
			}
		})
		e.cfg.Log.Info("session closed", "session", s.t.Peer().Session)
	}
	l.gone = nil
}

// young is how many records the session keeps because of their age: should the
// collector's end of it have died, they may not have been written.
func (e *Exporter) young(s *session, now time.Time) (records uint64) {
	if s.canProbe || s.over {
		return 0
	}
	e.confirm(s, now)
	for i := range s.kept.n {
		records += uint64(s.kept.at(i).m.records)
	}
	return records
}

// closeResult is how the closing of a session ended.
type closeResult struct {
	id  rotation.ID
	err error // it was no orderly end
}

// closeSession closes a session, which is over either way. That the peer says
// nothing to it is no error.
func closeSession(t transport.Session) error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	err := t.Close(ctx)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// parted takes the result of a closing. What a session had handed to the next
// one is sent again when it turns out that the collector's end of it has died.
func (e *Exporter) parted(now time.Time, r closeResult) {
	e.loop.machine.Closed(now, r.id)
	if r.err == nil {
		return
	}
	if again := e.disinherit(r.id, now); again > 0 {
		e.mu.Lock()
		e.n.lost++
		e.mu.Unlock()
		e.cfg.Log.Warn("session lost", "session", uint64(r.id), "error", r.err, "records_again", again)
	}
}
