package export

import (
	"context"
	"time"

	"ipfixsuite/export/spool"
)

// A Taker takes a record that another Exporter was to send; t is that
// Exporter's. It may wait. An error says that nobody has taken it.
type Taker func(t *Template, rec []byte) error

// yielding is the end of an Exporter whose records others take.
type yielding struct {
	stored <-chan struct{} // closed: no more of the spool
	take   Taker
}

// Handover closes the Exporter, but lets others have what it has not sent,
// and what it has sent and its collector does not confirm before drain ends:
// the records go to take, one at a time. Those of the spool follow, at its
// rate, until stored ends. When take fails the rest is left to the spool, or
// counted as dropped. Options records are not handed over.
func (e *Exporter) Handover(drain, stored context.Context, take Taker) error {
	e.mu.Lock()
	if !e.closing {
		e.yield = &yielding{stored.Done(), take}
	}
	e.mu.Unlock()
	return e.Close(drain)
}

// yields reports whether nothing more is to be sent.
func (e *Exporter) yields() bool { return e.loop.closing && e.yield != nil }

// passOn gives away what is left. Run calls it when the loop has ended.
func (e *Exporter) passOn() {
	if e.yield == nil {
		return
	}
	for {
		e.mu.Lock()
		e.sealAll()
		var m *message
		if e.queue.len() > 0 {
			m = e.pop()
		}
		e.mu.Unlock()
		switch {
		case m == nil && !e.fetch():
			return
		case m == nil:
			continue
		case !e.passMessage(m):
			return
		}
	}
}

// fetch takes a message out of the spool into the queue, at the spool's rate.
func (e *Exporter) fetch() bool {
	b := &e.back
	if b.spool == nil || isDone(e.yield.stored) {
		return false
	}
	for wait := b.pace.wait(time.Now()); wait > 0; wait = b.pace.wait(time.Now()) {
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-e.yield.stored:
			timer.Stop()
			return false
		}
	}
	var entry spool.Entry
	next := b.spool.Next(&entry)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.countCorrupt()
	if !next {
		return false
	}
	b.pace.take(entry.Records)
	if err := e.load(&entry, time.Now()); err != nil {
		e.cfg.Log.Warn("spooled message given up", "domain", entry.Header.Domain, "records", entry.Records, "error", err)
		e.spoolDropped(&entry)
		e.acknowledge(entry.Pos)
	}
	return true
}

// passMessage gives a message's records away and moves them from this
// Exporter's account to that of whoever takes them. It reports whether all of
// them were taken.
func (e *Exporter) passMessage(m *message) bool {
	if m.withdraw != nil {
		return true
	}
	y := e.yield
	var passed, failed uint64
	var lost []func()
	m.each(func(t *Template, rec []byte) {
		if t.Scope > 0 {
			return // others have it already
		}
		if failed == 0 && y.take(t, rec) == nil {
			passed++
			return
		}
		failed++
		lost = append(lost, func() { e.countDropped(t, rec) })
	})
	e.mu.Lock()
	defer e.mu.Unlock()
	away := passed + uint64(m.options)
	e.n.handed -= min(e.n.handed, away)
	stored := m.pos != spool.Position{}
	switch {
	case m.replay:
		e.n.sent -= min(e.n.sent, away)
		e.n.flows -= min(e.n.flows, passed)
		e.n.replayed += passed
		e.n.unconfirmed += failed
	case stored && failed > 0: // it is still in the spool
	default:
		for _, count := range lost {
			count()
		}
	}
	if stored && failed == 0 {
		e.acknowledge(m.pos)
	}
	e.passed += passed
	return failed == 0
}

// Passed is the number of records that Handover has given away.
func (e *Exporter) Passed() uint64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.passed
}
