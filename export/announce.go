package export

import (
	"context"
	"errors"
	"time"

	"ipfixsuite/ipfix"
	"ipfixsuite/transport"
)

// announce makes the session be told the Templates of a domain, all of them or
// those new to it, and the options records it has not had: a new session all.
func (e *Exporter) announce(s *session, d *domain, all bool) {
	sd := s.domain(d, &e.cfg)
	e.mu.Lock()
	defer e.mu.Unlock()
	j := job{d: d, all: all}
	for _, t := range d.active.All() {
		if sd.ended[t] {
			continue
		}
		old := sd.told[t.ID]
		if old == t && (!all || s.props.Reliable) || old != nil && old != t && d.lanes != nil {
			continue // of those ids what was is still on its way: announceUses
		}
		j.templates = append(j.templates, t)
		j.fresh = j.fresh || old != t
		s.replace(sd, &j, t)
	}
	j.records = d.options.ownSince(sd.options)
	if !sd.primed {
		j.records = d.options.all(e.released)
	}
	for _, r := range j.records {
		if sd.told[r.t.ID] != r.t.Template {
			j.templates, j.fresh = append(j.templates, r.t.Template), true
			s.replace(sd, &j, r.t.Template)
		}
	}
	s.arrange(&j)
	if j.fresh && !s.props.Reliable {
		for range announceCopies - 1 {
			s.jobs = append(s.jobs, job{d: d, templates: j.templates})
		}
	}
	s.jobs = append(s.jobs, j)
	s.nested(d, j.templates)
	sd.version, sd.options, sd.primed = d.active.Version(), d.options.own, true
}

// replace notes that the session is to be told t.
func (s *session) replace(sd *sessionDomain, j *job, t *ipfix.Template) {
	if old := sd.told[t.ID]; old != nil && old != t && sd.schedule.Withdraws() {
		// It was withdrawn on another session, and the id has a new meaning
		// (RFC 7011, Section 8.1, MUST).
		j.ended = append(j.ended, old)
	}
	sd.told[t.ID] = t
}

// announceUses makes the session be told the Templates that the message was
// packed with, where their ids stand for others, or for nothing, on it.
func (e *Exporter) announceUses(s *session, m *message) {
	sd := s.domain(m.dom, &e.cfg)
	if sd.knows(m) {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	j := job{d: m.dom, fresh: true}
	for _, t := range m.uses {
		if sd.told[t.ID] != t.Template {
			j.templates = append(j.templates, t.Template)
			s.replace(sd, &j, t.Template)
		}
	}
	if !s.props.Reliable {
		for range announceCopies - 1 {
			s.jobs = append(s.jobs, job{d: m.dom, templates: j.templates})
		}
	}
	s.jobs = append(s.jobs, j)
	s.nested(m.dom, j.templates)
}

// nested makes the stream of a Template whose records hold those of others have
// these as well: on another stream they could come too late.
func (s *session) nested(d *domain, list []*ipfix.Template) {
	if s.spread != StreamPerTemplate {
		return
	}
	for _, t := range list {
		if !nests(t) {
			continue
		}
		j := job{d: d, via: t}
		for _, o := range d.active.All() {
			if s.stream(d, o.ID) != s.stream(d, t.ID) {
				j.templates = append(j.templates, o)
			}
		}
		s.jobs = append(s.jobs, j)
	}
}

// sendTemplates sends one message of Templates and returns how many it is
// about. They are of one stream: that of via, if it is not nil.
func (e *Exporter) sendTemplates(ctx context.Context, s *session, d *domain, list []*ipfix.Template, via *ipfix.Template) (n int, err error) {
	l := &e.loop
	size := e.limit(s)
	stream, most := s.run(d, list)
	if via != nil {
		stream, most = s.stream(d, via.ID), len(list)
	}
	l.builder.Reset(l.buf[:0], size)
	records := 0
	if s.perStream && via == nil {
		n = e.addReliability(s, d, stream, list[:most])
		records = n
	} else {
		for n < most && l.builder.AddTemplate(list[n]) {
			n++
		}
	}
	if n == 0 {
		// Define refused what the session's first size could not hold; the
		// path has shrunk since.
		e.cfg.Log.Error("template larger than a message", "domain", d.id, "template", list[0].ID, "max", size)
		return 1, nil
	}
	if err := e.sendBuilt(ctx, s, d, stream, records); err != nil {
		return 0, err
	}
	if records > 0 {
		e.toldReliability(s.domain(d, &e.cfg), stream)
	}
	e.mu.Lock()
	e.n.templates += uint64(n)
	e.n.control += uint64(records)
	e.mu.Unlock()
	return n, nil
}

// sendRecords sends one message of options records and returns how many it is
// about.
func (e *Exporter) sendRecords(ctx context.Context, s *session, d *domain, list []optionsRecord) (n int, err error) {
	l := &e.loop
	l.builder.Reset(l.buf[:0], e.limit(s))
	stream := s.stream(d, list[0].t.ID)
	for n < len(list) && s.stream(d, list[n].t.ID) == stream && l.builder.AddRecord(list[n].t.Template, list[n].data) {
		n++
	}
	if n == 0 {
		return 1, nil
	}
	if err := e.sendBuilt(ctx, s, d, stream, n); err != nil {
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
	if d.lanes == nil {
		sd.ended[t.Template] = true
	}
	if sd.told[t.ID] != t.Template {
		return nil
	}
	if sd.schedule.Withdraws() {
		if _, err := e.sendWithdrawals(ctx, s, d, []*ipfix.Template{t.Template}); err != nil {
			return err
		}
	}
	delete(sd.told, t.ID)
	return nil
}

// sendWithdrawals sends one message of them and returns how many it is about.
func (e *Exporter) sendWithdrawals(ctx context.Context, s *session, d *domain, list []*ipfix.Template) (n int, err error) {
	l := &e.loop
	l.builder.Reset(l.buf[:0], e.limit(s))
	// On the stream of the Template, and only those of one stream in a message
	// (RFC 6526, Section 4.4, MUST).
	stream, most := s.run(d, list)
	for n < most && l.builder.AddWithdrawal(list[n].ID, list[n].Scope > 0) {
		n++
	}
	if err := e.sendBuilt(ctx, s, d, stream, 0); err != nil {
		return 0, err
	}
	return n, nil
}

// sendBuilt sends the message in the loop's builder, which holds that many
// Data Records, on a stream.
func (e *Exporter) sendBuilt(ctx context.Context, s *session, d *domain, stream uint16, records int) error {
	l := &e.loop
	seq := s.seq(s.domain(d, &e.cfg), stream)
	msg := l.builder.Finish(ipfix.Header{
		ExportTime: exportTime(time.Now()),
		Sequence:   *seq,
		Domain:     d.id,
	})
	l.out[0] = transport.Outgoing{Data: msg, Stream: stream}
	var err error
	for range sendTries {
		var n int
		if n, err = s.t.Send(ctx, l.out[:1]); n == 1 {
			err = nil
			break
		}
		if err == nil || ended(s.t) || s == e.loop.old && errors.Is(err, transport.ErrBusy) {
			break // who carries the data does not wait for others
		}
	}
	if err != nil {
		return err
	}
	s.tries = 0
	*seq += uint32(records)
	s.messages++
	s.octets += uint64(len(msg))
	if s.laned != nil {
		s.carried(stream, len(msg), time.Now())
	}
	e.mu.Lock()
	e.n.messages++
	e.n.octets += uint64(len(msg))
	e.mu.Unlock()
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
