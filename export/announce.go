package export

import (
	"context"
	"time"

	"ipfixsuite/ipfix"
	"ipfixsuite/transport"
)

// announce sends Templates of a domain, all of them or those new to the
// session, and the options records it has not had: on a new session all.
func (e *Exporter) announce(ctx context.Context, s *session, d *domain, now time.Time, all bool) error {
	sd := s.domain(d, &e.cfg)
	e.mu.Lock()
	version := d.active.Version()
	var news []*ipfix.Template
	fresh := false
	for _, t := range d.active.All() {
		if sd.ended[t] {
			continue
		}
		if known := sd.told[t.ID] == t; !known || all {
			news = append(news, t)
			fresh = fresh || !known
		}
	}
	records := d.options.ownSince(sd.options)
	if !sd.primed {
		records = d.options.all(e.released)
	}
	own := d.options.own
	e.mu.Unlock()

	copies := 1
	if fresh && !s.props.Reliable {
		copies = announceCopies
	}
	for range copies {
		if err := e.sendTemplates(ctx, s, d, news); err != nil {
			return err
		}
	}
	if err := e.sendRecords(ctx, s, d, records); err != nil {
		return err
	}
	for _, t := range news {
		sd.told[t.ID] = t
	}
	sd.version, sd.options, sd.primed = version, own, true
	if fresh {
		sd.schedule.Announced(now, s.messages)
	} else if all {
		sd.schedule.Sent(now, s.messages)
	}
	return nil
}

// sendTemplates sends messages that hold nothing but Templates.
func (e *Exporter) sendTemplates(ctx context.Context, s *session, d *domain, list []*ipfix.Template) error {
	for len(list) > 0 {
		n, err := e.sendSomeTemplates(ctx, s, d, list)
		if err != nil {
			return err
		}
		list = list[n:]
	}
	return nil
}

// sendSomeTemplates sends one message of them and returns how many it is
// about.
func (e *Exporter) sendSomeTemplates(ctx context.Context, s *session, d *domain, list []*ipfix.Template) (n int, err error) {
	l := &e.loop
	size := e.limit(s)
	l.builder.Reset(l.buf[:0], size)
	for n < len(list) && l.builder.AddTemplate(list[n]) {
		n++
	}
	if n == 0 {
		// Define refused what the session's first size could not hold; the
		// path has shrunk since.
		e.cfg.Log.Error("template larger than a message", "domain", d.id, "template", list[0].ID, "max", size)
		return 1, nil
	}
	if err := e.sendBuilt(ctx, s, d, 0); err != nil {
		return 0, err
	}
	e.mu.Lock()
	e.n.templates += uint64(n)
	e.mu.Unlock()
	return n, nil
}

// sendRecords sends options records apart from the queue.
func (e *Exporter) sendRecords(ctx context.Context, s *session, d *domain, list []optionsRecord) error {
	for len(list) > 0 {
		n, err := e.sendSomeRecords(ctx, s, d, list)
		if err != nil {
			return err
		}
		list = list[n:]
	}
	return nil
}

// sendSomeRecords sends one message of them and returns how many it is about.
func (e *Exporter) sendSomeRecords(ctx context.Context, s *session, d *domain, list []optionsRecord) (n int, err error) {
	l := &e.loop
	l.builder.Reset(l.buf[:0], e.limit(s))
	for n < len(list) && l.builder.AddRecord(list[n].t.Template, list[n].data) {
		n++
	}
	if n == 0 {
		return 1, nil
	}
	if err := e.sendBuilt(ctx, s, d, n); err != nil {
		return 0, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, r := range list[:n] {
		if r.own {
			e.n.control++
		} else {
			e.n.replayed++
		}
	}
	return n, nil
}

// sendWithdrawal tells the collector that a Template ends, where the
// transport carries withdrawals, and forgets it on the session.
func (e *Exporter) sendWithdrawal(ctx context.Context, s *session, d *domain, t *Template) error {
	sd := s.domain(d, &e.cfg)
	sd.ended[t.Template] = true
	if sd.told[t.ID] != t.Template {
		return nil
	}
	if sd.schedule.Withdraws() {
		l := &e.loop
		l.builder.Reset(l.buf[:0], e.limit(s))
		l.builder.AddWithdrawal(t.ID, t.Scope > 0)
		if err := e.sendBuilt(ctx, s, d, 0); err != nil {
			return err
		}
	}
	delete(sd.told, t.ID)
	return nil
}

// sendBuilt sends the message in the loop's builder, which holds that many
// Data Records.
func (e *Exporter) sendBuilt(ctx context.Context, s *session, d *domain, records int) error {
	l := &e.loop
	sd := s.domain(d, &e.cfg)
	msg := l.builder.Finish(ipfix.Header{
		ExportTime: exportTime(time.Now()),
		Sequence:   sd.seq,
		Domain:     d.id,
	})
	if err := e.awaitRoom(ctx, s, len(msg)); err != nil {
		return err
	}
	l.out[0] = transport.Outgoing{Data: msg}
	var err error
	for range sendTries {
		var n int
		if n, err = s.t.Send(ctx, l.out[:1]); n == 1 {
			err = nil
			break
		}
		if err == nil || ended(s.t) {
			break
		}
	}
	if err != nil {
		return err
	}
	s.tries = 0
	sd.seq += uint32(records)
	s.messages++
	s.octets += uint64(len(msg))
	e.mu.Lock()
	e.n.messages++
	e.n.octets += uint64(len(msg))
	e.mu.Unlock()
	return nil
}

// awaitRoom keeps thousands of Templates from overrunning the collector. The
// Exporter's own messages may overdraw the window by half, so that the few
// of every day never wait.
func (e *Exporter) awaitRoom(ctx context.Context, s *session, size int) error {
	l := &e.loop
	for e.cfg.Window > 0 && e.roomOn(s) < size-e.cfg.Window/2 && s.octets > s.confirmed {
		s.probe(time.Now())
		select {
		case r := <-l.probed:
			e.answered(r)
			if s.over {
				return transport.ErrClosed
			}
		case <-s.t.Done():
			return transport.ErrClosed
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// limit is the size of messages built for the session now.
func (e *Exporter) limit(s *session) int {
	return max(min(s.t.MaxMessage(), e.cfg.MaxMessage), minMessage)
}

func ended(t transport.Session) bool { return isDone(t.Done()) }

func isDone(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// exportTime wraps in 2106, as RFC 7011, Section 5.2 has it.
func exportTime(now time.Time) uint32 { return uint32(now.Unix()) }
