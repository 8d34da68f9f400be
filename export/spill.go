package export

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"ipfixsuite/export/spool"
	"ipfixsuite/ipfix"
)

const (
	// spillAfter is how long there may be no session before what waits goes
	// to the spool, unless the collector is known to be dead, and how long
	// after a failure it is tried again.
	spillAfter = time.Second
	// defaultSpoolRate of records a second: what comes back of the spool
	// leaves the collector room for the present.
	defaultSpoolRate = 20_000
)

// backlog is the Exporter's side of its spool. Exporter.mu guards it.
type backlog struct {
	spool   *spool.Spool // nil: there is none
	failed  time.Time    // when it last refused a message
	spilled uint64       // records
	unacked []unacked    // handed out by the spool, in its order
	corrupt [2]uint64    // what spool.Corrupt told last
	needed  []*ipfix.Template

	// Of the loop.
	pace bucket
	at   time.Time // when the pace lets the next message go
}

type unacked struct {
	pos  spool.Position
	done bool
}

// openSpool opens the spool, if there is to be one.
func (e *Exporter) openSpool() error {
	if e.cfg.SpoolDir == "" {
		return nil
	}
	cfg := e.cfg.Spool
	cfg.Registry, cfg.Log = e.cfg.Registry, e.cfg.Log
	cfg.Dropped = e.spoolDropped
	s, err := spool.Open(e.cfg.SpoolDir, cfg)
	if err != nil {
		return err
	}
	e.back.spool = s
	e.back.pace = bucket{rate: max(e.cfg.SpoolRate, 0)}
	return nil
}

// maySpill reports whether a message may be begun though the queue is full:
// it goes to the spool when it is sealed. A source that can wait does so while
// there is a session. While the spool refuses, it is tried again now and then,
// as long as memory bears it. Exporter.mu is held.
func (e *Exporter) maySpill(waits bool) bool {
	b := &e.back
	return b.spool != nil && (!waits || e.session == nil) && e.queue.octets+e.maxMessage <= 2*e.cfg.QueueBytes &&
		(b.failed.IsZero() || time.Since(b.failed) >= spillAfter)
}

// spill moves a message to the spool and reports whether it is there.
// Exporter.mu is held.
func (e *Exporter) spill(m *message) bool {
	b := &e.back
	b.needed = spool.Needed(b.needed[:0], m.data, m)
	if err := b.spool.Append(spool.Message{Data: m.data, Templates: b.needed}); err != nil {
		b.failed = time.Now() // the spool has logged it
		return false
	}
	b.failed = time.Time{}
	b.spilled += uint64(m.records)
	if m.replay {
		// It comes again as if for the first time.
		e.n.sent -= uint64(m.records)
		e.n.flows -= uint64(m.records - m.options)
	} else {
		m.lane.lost += m.gap // the next message tells of them
	}
	return true
}

// spillQueue moves all that waits to the spool, but for what came from there
// and the ends of Templates. Only the loop may: it holds messages while it
// sends.
func (e *Exporter) spillQueue(now time.Time) {
	b := &e.back
	l := &e.loop
	if b.spool == nil || l.cur != nil || now.Before(l.spillFrom) {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if !b.failed.IsZero() && now.Sub(b.failed) < spillAfter {
		return
	}
	b.failed = time.Time{} // it is time to try: the first message does
	for range e.queue.len() {
		m := e.queue.at(0)
		stays := m.withdraw != nil || m.pos != spool.Position{} || !b.failed.IsZero() || !e.spill(m)
		if !stays {
			e.release()
			continue
		}
		e.queue.push(e.queue.pop()) // once around, so that the order stays
	}
}

// spillAt is when spillQueue is to be called again without a session.
func (e *Exporter) spillAt(now time.Time) time.Time {
	b := &e.back
	if b.spool == nil || e.loop.cur != nil {
		return time.Time{}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	switch at := e.loop.spillFrom; {
	case now.Before(at):
		return at
	case !b.failed.IsZero() && e.queue.len() > 0:
		return b.failed.Add(spillAfter)
	}
	return time.Time{}
}

// unspool takes messages back out of the spool while the queue is nearly
// empty: what sources write now goes first.
func (e *Exporter) unspool(now time.Time) {
	b := &e.back
	b.at = time.Time{}
	if b.spool == nil || e.loop.cur == nil || e.yields() {
		return
	}
	var entry spool.Entry
	for {
		e.mu.Lock()
		busy := e.queue.len() >= batchMessages || e.queue.octets > e.cfg.QueueBytes/4
		e.mu.Unlock()
		if busy {
			return
		}
		if s := e.loop.cur; s.canProbe && s.kept.octets > e.cfg.RetainBytes/2 { // keep could not let go of more
			if at := s.kept.first().at.Add(s.reordering()); now.Before(at) {
				b.at = at
			} else {
				s.probe(now)
			}
			return
		}
		if wait := b.pace.wait(now); wait > 0 {
			if b.spool.Unread() > 0 {
				b.at = now.Add(wait)
			}
			return
		}
		next := b.spool.Next(&entry)
		e.mu.Lock()
		e.countCorrupt()
		if !next {
			e.mu.Unlock()
			return
		}
		b.pace.take(entry.Records)
		if err := e.load(&entry, now); err != nil {
			e.cfg.Log.Warn("spooled message given up", "domain", entry.Header.Domain, "records", entry.Records, "error", err)
			e.spoolDropped(&entry)
			e.acknowledge(entry.Pos)
		}
		e.mu.Unlock()
	}
}

// load puts a message of the spool into the queue, with the ids that its
// Templates have now.
func (e *Exporter) load(entry *spool.Entry, now time.Time) error {
	b := &e.back
	b.unacked = append(b.unacked, unacked{pos: entry.Pos})
	d, err := e.domainFor(entry.Header.Domain)
	if err != nil {
		return err
	}
	options := 0
	var uses []*Template
	var sets ipfix.SetReader
	sets.Reset(entry.Data)
	for {
		set, ok := sets.Next()
		if !ok {
			break
		}
		was := entry.Template(set.ID)
		t, err := e.define(entry.Header.Domain, was.Scope, was.Specs(nil))
		if err != nil {
			return err
		}
		if !slices.Contains(uses, t) {
			uses = append(uses, t)
		}
		if t.ID != set.ID {
			if namesTemplates(was) {
				return fmt.Errorf("template %d: its records name templates by ids of an earlier run", set.ID)
			}
			binary.BigEndian.PutUint16(entry.Data[set.Offset:], t.ID)
		}
		if was.Scope > 0 {
			n, err := ipfix.CountRecords(was, set.Body)
			if err != nil {
				return err
			}
			options += n
		}
	}
	if entry.Recovered {
		e.n.handed += uint64(entry.Records)
	}
	m := e.queue.get(max(len(entry.Data), e.maxMessage))
	m.buf = append(m.buf[:0], entry.Data...)
	m.data = m.buf
	m.dom, m.lane, m.records, m.options, m.pos = d, &d.main, entry.Records, options, entry.Pos
	m.version, m.since = d.active.Version(), now
	m.uses = append(m.uses[:0], uses...)
	if d.lanes != nil && len(uses) > 1 {
		e.loadApart(m)
		return nil
	}
	if len(uses) > 0 {
		m.lane = uses[0].lane
	}
	e.enter(m)
	return nil
}

// loadApart puts the records of a spooled message with several Templates into
// messages of one each. Its place in the spool is the last one's.
func (e *Exporter) loadApart(m *message) {
	type part struct {
		of      *Template
		builder ipfix.Builder
		options int
	}
	var parts []*part
	m.each(func(t *Template, rec []byte) {
		var p *part
		for _, have := range parts {
			if have.of == t {
				p = have
			}
		}
		if p == nil {
			p = &part{of: t}
			p.builder.Reset(make([]byte, 0, len(m.data)), len(m.data))
			parts = append(parts, p)
		}
		p.builder.AddRecord(t.Template, rec) // it had room in the whole
		if t.Scope > 0 {
			p.options++
		}
	})
	for i, p := range parts {
		o := &message{
			dom: m.dom, lane: p.of.lane, uses: []*Template{p.of}, records: p.builder.Records(), options: p.options,
			version: m.version, since: m.since, data: p.builder.Finish(ipfix.Header{Domain: m.dom.id}),
		}
		o.buf = o.data
		if i == len(parts)-1 {
			o.pos = m.pos
		}
		e.enter(o)
	}
	e.queue.put(m)
}

// namesTemplates reports whether records may hold template ids.
func namesTemplates(t *ipfix.Template) bool {
	for i := range t.Fields {
		if f := &t.Fields[i]; f.Type.Structured() || f.PEN == 0 && f.Num == templateID {
			return true
		}
	}
	return false
}

// acknowledge notes that a message of the spool is delivered, and tells the
// spool once all before it are. Exporter.mu is held.
func (e *Exporter) acknowledge(pos spool.Position) {
	b := &e.back
	for i := range b.unacked {
		if b.unacked[i].pos == pos {
			b.unacked[i].done = true
			break
		}
	}
	n := 0
	for n < len(b.unacked) && b.unacked[n].done {
		n++
	}
	if n == 0 {
		return
	}
	if err := b.spool.Ack(b.unacked[n-1].pos); err != nil {
		e.cfg.Log.Warn("spool does not note what is delivered; it may come twice", "error", err)
	}
	b.unacked = b.unacked[:copy(b.unacked, b.unacked[n:])]
}

// spoolDropped counts a spooled message that will not be sent, for the
// statistics of RFC 7011, Section 4.3. Exporter.mu is held.
func (e *Exporter) spoolDropped(entry *spool.Entry) {
	if entry.Recovered {
		e.n.handed += uint64(entry.Records)
	}
	var sets ipfix.SetReader
	sets.Reset(entry.Data)
	for {
		set, ok := sets.Next()
		if !ok {
			break
		}
		was := entry.Template(set.ID)
		if was == nil {
			continue
		}
		t := newTemplate(was, nil)
		n := uint32(0)
		var r ipfix.Records
		for r.Reset(was, set.Body); r.Next(); n++ {
			e.countDropped(t, r.Raw())
		}
		if l := e.laneOf(entry.Header.Domain, was); l != nil {
			l.lost += n
		}
	}
}

// laneOf is where the records of a spooled Template go now.
func (e *Exporter) laneOf(domain uint32, was *ipfix.Template) *lane {
	if e.cfg.Streams != StreamPerTemplate {
		if d, err := e.domainFor(domain); err == nil {
			return &d.main
		}
	} else if t, err := e.define(domain, was.Scope, was.Specs(nil)); err == nil {
		return t.lane
	}
	return nil // nothing can be sent that would show the gap
}

// leave moves what is left at the end to the spool, as far as it takes it.
// Exporter.mu is held.
func (e *Exporter) leave() {
	if e.back.spool == nil {
		return
	}
	for range e.queue.len() {
		m := e.queue.at(0)
		switch {
		case m.withdraw != nil || m.pos != spool.Position{}: // it is there still
			e.release()
		case e.spill(m):
			e.release()
		default:
			e.queue.push(e.queue.pop())
		}
	}
}

// closeSpool ends the spool's part. all: everything was delivered in order.
func (e *Exporter) closeSpool(all bool) error {
	b := &e.back
	if b.spool == nil {
		return nil
	}
	e.mu.Lock()
	if n := len(b.unacked); all && n > 0 {
		for i := range b.unacked {
			b.unacked[i].done = true
		}
		e.acknowledge(b.unacked[n-1].pos)
	}
	e.mu.Unlock()
	if n := b.spool.Stats().RecordsPending; n > 0 {
		e.cfg.Log.Info("records wait in the spool", "records", n, "dir", e.cfg.SpoolDir)
	}
	return b.spool.Close()
}

// spoolEmpty reports whether nothing waits in the spool.
func (e *Exporter) spoolEmpty() bool { return e.back.spool == nil || e.back.spool.Unread() == 0 }
