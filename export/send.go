package export

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"time"

	"ipfixsuite/export/spool"
	"ipfixsuite/ipfix"
	"ipfixsuite/transport"
)

// pump sends one batch of the queue. more: there may be more to send at
// once; else next is when to look again (zero: only an event changes it).
func (e *Exporter) pump(ctx context.Context, now time.Time) (next time.Time, more bool) {
	l := &e.loop
	s := l.cur
	if s == nil || now.Before(s.retryAt) {
		return time.Time{}, false
	}
	s.round++
	if len(s.jobs) > 0 {
		if done, err := e.tell(ctx, s, now); err != nil {
			e.sendFailed(s, now, err, false)
			return time.Time{}, false
		} else if !done {
			return time.Time{}, false
		}
	}
	if e.yields() {
		return time.Time{}, false
	}
	limit := e.limit(s)
	e.mu.Lock()
	e.maxMessage = limit
	n := e.pick(s)
	hurry := e.closing || len(e.flushes) > 0
	e.mu.Unlock()
	if n == 0 {
		l.lingerTo = time.Time{}
		return time.Time{}, false
	}
	if n < batchMessages && !hurry {
		if l.lingerTo.IsZero() {
			l.lingerTo = now.Add(linger)
		}
		if now.Before(l.lingerTo) {
			return l.lingerTo, false
		}
	}
	next, more = e.sendBatch(ctx, s, now, l.batch[:n], limit)
	if more {
		l.lingerTo = time.Time{}
	}
	return next, more
}

// sendBatch sends of the batch what Templates, window and pace permit now.
func (e *Exporter) sendBatch(ctx context.Context, s *session, now time.Time, batch []*message, limit int) (next time.Time, more bool) {
	l := &e.loop
	room := e.roomOn(s)
	full := false
	n := 0
	for _, m := range batch {
		if m.withdraw != nil || len(m.data) > limit || s.lacks(m, &e.cfg) {
			if n == 0 {
				return time.Time{}, e.attend(ctx, s, now, m, limit)
			}
			break
		}
		// One message always goes when nothing is unconfirmed.
		if room -= len(m.data); room < 0 && (n > 0 || s.octets > s.confirmed) {
			full = true
			break
		}
		if wait := l.pace.wait(now); wait > 0 {
			next = now.Add(wait)
			break
		}
		l.pace.take(m.records)
		l.out[n] = transport.Outgoing{Data: m.data, Stream: s.streamOf(m), Unreliable: s.mayLose(m)}
		n++
	}
	var err error
	if n > 0 {
		e.mu.Lock()
		for i, m := range batch[:n] {
			s.stamp(m, l.out[i].Stream, now)
		}
		e.mu.Unlock()
		var k int
		k, err = s.t.Send(ctx, l.out[:n])
		for i := n - 1; i >= k; i-- {
			s.unstamp(batch[i], l.out[i].Stream)
		}
		e.sent(s, batch[:k], time.Now()) // Send may have waited
		if k < n && err == nil {
			err = errShort
		}
		if k > 0 {
			s.tries = 0
			if !s.refuted {
				// A datagram that was taken is no answer: a handshake that
				// failed is not forgotten for it.
				s.doubted = time.Time{}
			}
		}
	}
	if full || s.laned == nil && s.halfSpent(e.cfg.Window) {
		s.probe(now)
	}
	if err != nil {
		e.sendFailed(s, now, err, true)
		return time.Time{}, false
	}
	return next, n > 0 && !full && next.IsZero()
}

var errShort = errors.New("transport took part of a batch")

// sent accounts for messages the transport took; they are kept until they
// are confirmed.
func (e *Exporter) sent(s *session, batch []*message, now time.Time) {
	records, octets := uint64(0), uint64(0)
	e.mu.Lock()
	for _, m := range batch {
		s.messages++
		s.octets += uint64(len(m.data))
		if s.laned != nil {
			s.carried(s.streamOf(m), len(m.data), now)
		}
		octets += uint64(len(m.data))
		records += uint64(m.records)
		e.n.messages++
		if m.replay {
			e.n.replayed += uint64(m.records)
		} else {
			e.n.sent += uint64(m.records)
			e.n.flows += uint64(m.records - m.options)
		}
		e.keep(s, e.pop(), now)
	}
	e.n.octets += octets
	e.mu.Unlock()
	e.loop.machine.Carried(records, octets)
}

// stamp writes what of the header belongs to this session and moment.
// Exporter.mu is held.
func (s *session) stamp(m *message, stream uint16, now time.Time) {
	seq := s.seq(&s.domains[m.dom.index], stream)
	m.gap += m.lane.lost
	m.lane.lost = 0
	*seq += m.gap
	binary.BigEndian.PutUint32(m.data[4:], exportTime(now))
	binary.BigEndian.PutUint32(m.data[8:], *seq)
	*seq += uint32(m.records)
}

// unstamp takes the numbers back of a message that was not taken; the last
// one stamped first.
func (s *session) unstamp(m *message, stream uint16) {
	*s.seq(&s.domains[m.dom.index], stream) -= uint32(m.records) + m.gap
}

// lacks reports whether the session has to be told Templates before the
// message.
func (s *session) lacks(m *message, cfg *Config) bool {
	sd := s.domain(m.dom, cfg)
	// What comes again may come behind the withdrawal of its Templates, and
	// with StreamPerTemplate an id may have another meaning by now.
	return sd.version < m.version || (m.replay || m.dom.lanes != nil) && !sd.knows(m)
}

// knows reports whether the message can be read with what the session was told.
func (sd *sessionDomain) knows(m *message) bool {
	for _, t := range m.uses {
		if sd.told[t.ID] != t.Template {
			return false
		}
	}
	return true
}

// mayLose reports whether the transport may give the message up: where that was
// asked for, and for flow records alone (RFC 7011, Section 10.2.6; options
// records are few, and others depend on them: RFC 6526, Section 4.2, SHOULD).
func (s *session) mayLose(m *message) bool {
	return s.props.Partial && m.options == 0 && m.withdraw == nil
}

// attend does what must come before the first message of the queue can go.
// It reports whether it succeeded.
func (e *Exporter) attend(ctx context.Context, s *session, now time.Time, m *message, limit int) bool {
	var err error
	switch {
	case m.withdraw != nil:
		if err = e.sendWithdrawal(ctx, s, m.dom, m.withdraw); err == nil {
			e.mu.Lock()
			e.keep(s, e.pop(), now)
			e.mu.Unlock()
		}
	case len(m.data) > limit:
		e.split(m, limit)
	default:
		e.announce(s, m.dom, false)
		e.announceUses(s, m)
	}
	if err != nil {
		e.sendFailed(s, now, err, false)
		return false
	}
	return true
}

// sendFailed handles an error on a session that may go on living: what is
// due next is tried again, until the session has failed for as long as an
// unanswered probe may. Only a message that is itself refused is given up.
func (e *Exporter) sendFailed(s *session, now time.Time, err error, data bool) {
	if s != e.loop.cur || ended(s.t) || errors.Is(err, context.Canceled) {
		return // the loop sees it, or has seen it
	}
	if s.tries++; s.tries == 1 {
		s.failing = now
	}
	if s.tries > 1 && !s.canProbe {
		s.doubt(s.failing, &e.cfg)
	}
	if now.Sub(s.failing) >= e.cfg.DeadAfter {
		e.lose(s, now, err)
		return
	}
	e.mu.Lock()
	e.n.sendErrors++
	if data && s.tries >= sendTries && errors.Is(err, transport.ErrTooLarge) && e.queue.len() > 0 {
		m := e.queue.at(0)
		e.cfg.Log.Warn("message given up", "session", s.t.Peer().Session, "domain", m.dom.id, "records", m.records, "error", err)
		e.dropFirst()
		s.tries = 0
	}
	e.mu.Unlock()
	s.retryAt = now.Add(min(5*time.Millisecond<<min(s.tries, 8), time.Second))
}

// split packs the records of the first message anew, for a session that
// takes only smaller ones.
func (e *Exporter) split(m *message, limit int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	var pieces []*message
	var b ipfix.Builder
	gap := m.gap
	options := 0
	begin := func() { b.Reset(make([]byte, 0, limit), limit) }
	cut := func() {
		if !b.Empty() {
			pieces = append(pieces, &message{
				dom: m.dom, lane: m.lane, uses: slices.Clone(m.uses), number: m.number, records: b.Records(), options: options, gap: gap,
				version: m.version, replay: m.replay, data: b.Finish(ipfix.Header{Domain: m.dom.id}),
			})
			p := pieces[len(pieces)-1]
			p.buf = p.data
			gap, options = 0, 0
		}
		begin()
	}
	begin()
	m.each(func(t *Template, rec []byte) {
		if !b.AddRecord(t.Template, rec) {
			cut()
			if !b.AddRecord(t.Template, rec) {
				e.countDropped(t, rec)
				gap++
				return
			}
		}
		if t.Scope > 0 {
			options++
		}
	})
	cut()
	if n := len(pieces); n > 0 {
		pieces[n-1].pos = m.pos
	} else if (m.pos != spool.Position{}) {
		e.acknowledge(m.pos)
	}
	m.lane.lost += gap
	e.n.split++
	// A flush waits for all pieces; the first message's release counts one.
	if more := uint64(len(pieces)); !m.replay {
		e.sealed += more
		for i := range e.flushes {
			e.flushes[i].upTo += more
		}
	}
	e.release()
	for i := len(pieces) - 1; i >= 0; i-- {
		e.queue.pushFront(pieces[i])
	}
}
