package export

import (
	"errors"
	"fmt"
	"time"

	"ipfixsuite/ie"
	"ipfixsuite/ipfix"
	"ipfixsuite/templates"
)

// domain is what an Exporter keeps of one Observation Domain, whatever the
// session. Guarded by Exporter.mu.
type domain struct {
	id      uint32
	index   int // among Exporter.domains and session.domains
	active  *templates.Active
	defined map[*ipfix.Template]*Template
	options optionsStore
	main    lane
	lanes   map[uint16]*lane // by Template id, with StreamPerTemplate; nil: main is all
}

// IDs of elements whose meaning the Exporter needs.
var (
	idOctets         = ie.ID{Num: 1}
	idPackets        = ie.ID{Num: 2}
	idReverseOctets  = ie.ID{PEN: ie.ReversePEN, Num: 1}
	idReversePackets = ie.ID{PEN: ie.ReversePEN, Num: 2}
)

// domainFor returns the domain with this id, a new one if need be.
func (e *Exporter) domainFor(id uint32) (*domain, error) {
	if i, ok := e.byID[id]; ok {
		return e.domains[i], nil
	}
	if len(e.domains) == maxDomains {
		return nil, fmt.Errorf("observation domain %d: %d domains are in use already", id, maxDomains)
	}
	d := e.newDomain(id, len(e.domains))
	e.byID[id] = d.index
	e.domains = append(e.domains, d)
	return d, nil
}

func (e *Exporter) newDomain(id uint32, index int) *domain {
	d := &domain{
		id:      id,
		index:   index,
		defined: make(map[*ipfix.Template]*Template),
		options: newOptionsStore(),
	}
	d.main.dom = d
	cfg := templates.ActiveConfig{ReuseAfter: e.cfg.reuseAfter(), Max: e.cfg.MaxTemplates}
	if e.cfg.Streams == StreamPerTemplate {
		cfg.Reserved = reservedIDs
		d.lanes = make(map[uint16]*lane)
	}
	d.active = templates.NewActive(cfg)
	return d
}

// Define returns the handle of a Template in the Exporter's own Observation
// Domain; scope is the number of Scope Fields, 0 for flow records. The same
// shape gives the same handle.
func (e *Exporter) Define(scope int, specs []ipfix.FieldSpec) (*Template, error) {
	return e.DefineIn(e.cfg.Domain, scope, specs)
}

// DefineIn is Define for another Observation Domain.
func (e *Exporter) DefineIn(domainID uint32, scope int, specs []ipfix.FieldSpec) (*Template, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.define(domainID, scope, specs)
}

func (e *Exporter) define(domainID uint32, scope int, specs []ipfix.FieldSpec) (*Template, error) {
	d, err := e.domainFor(domainID)
	if err != nil {
		return nil, err
	}
	p, err := d.active.Define(time.Now(), scope, specs, e.cfg.Registry)
	if err != nil {
		return nil, fmt.Errorf("define template in domain %d: %w", domainID, err)
	}
	if t := d.defined[p]; t != nil {
		return t, nil
	}
	if size := ipfix.HeaderLen + ipfix.SetHeaderLen + len(p.AppendTemplate(nil)); size > e.maxMessage {
		_ = d.active.Withdraw(p.ID, time.Now()) // it is there: just defined
		return nil, fmt.Errorf("define template in domain %d: %w: %d fields make %d octets, a message takes %d",
			domainID, ErrTooLarge, len(specs), size, e.maxMessage)
	}
	t := newTemplate(p, d)
	d.defined[p] = t
	return t, nil
}

// newTemplate finds what the account of drops needs to know of p.
func newTemplate(p *ipfix.Template, d *domain) *Template {
	t := &Template{Template: p, dom: d}
	if d != nil {
		t.lane = d.lane(p.ID)
	}
	for i := range p.Fields {
		switch p.Fields[i].ID {
		case idPackets, idReversePackets:
			t.packets = append(t.packets, i)
		case idOctets, idReverseOctets:
			t.octets = append(t.octets, i)
		}
	}
	return t
}

// Withdraw says that no more records of the Template follow. Those written
// before are sent first; then collectors on reliable transports are told,
// and the id rests for a while (RFC 7011, Sections 8.1 and 8.4). With
// StreamPerTemplate it does not: the next Template with that id comes behind
// the withdrawal on the same stream (RFC 6526, Section 4.4).
func (e *Exporter) Withdraw(t *Template) {
	e.mu.Lock()
	defer e.mu.Unlock()
	d := t.dom
	if d.defined[t.Template] != t || !d.active.Retire(t.ID) {
		return
	}
	e.seal(t.lane)
	d.options.forget(t)
	m := &message{dom: d, lane: t.lane, withdraw: t, version: d.active.Version(), number: e.sealed}
	if d.lanes != nil {
		m.use(t)
		_ = d.active.Free(t.ID) // it is there
		delete(d.defined, t.Template)
	}
	e.queue.push(m)
	e.wake()
}

var errFull = errors.New("queue is full")

// put packs one record. It returns errFull when there is no room for the
// message it would begin, and ErrTooLarge (counted) for a record that no
// message can hold. waits: the source can wait. Exporter.mu is held.
func (e *Exporter) put(t *Template, rec []byte, waits bool) error {
	l := t.lane
	if l.open == nil && !e.begin(l, waits) {
		return errFull
	}
	if !l.builder.AddRecord(t.Template, rec) {
		if !l.builder.Empty() {
			e.seal(l)
			if !e.begin(l, waits) {
				return errFull
			}
		}
		if !l.builder.AddRecord(t.Template, rec) {
			e.n.handed++
			e.drop(t, rec)
			return fmt.Errorf("%w: record of %d octets, a message takes %d", ErrTooLarge, len(rec), e.maxMessage)
		}
	}
	e.n.handed++
	if l.last != t {
		l.last = t
		l.open.use(t)
	}
	if t.Scope > 0 {
		l.open.options++
		t.dom.options.keep(optionsRecord{t: t, data: rec, after: e.sealed + 1})
	}
	return nil
}

// drop counts a record that no message will hold.
func (e *Exporter) drop(t *Template, rec []byte) {
	t.lane.dropped++
	e.countDropped(t, rec)
}

// begin opens a message if the queue has room for it.
func (e *Exporter) begin(l *lane, waits bool) bool {
	if e.queue.len() > 0 && e.queue.octets+e.maxMessage > e.cfg.QueueBytes && !e.maySpill(waits) {
		return false
	}
	if e.crowded(l) {
		return false
	}
	if len(e.packing) >= maxOpen {
		e.seal(e.packing[0])
	}
	m := e.queue.get(e.maxMessage)
	m.dom, m.lane, m.since = l.dom, l, time.Now()
	l.open, l.at, l.last = m, len(e.packing), nil
	e.packing = append(e.packing, l)
	l.builder.Reset(m.buf[:0], e.maxMessage)
	if !e.armed {
		// The loop sleeps without a deadline for open messages.
		e.armed = true
		e.wake()
	}
	return true
}

// seal puts the open message into the queue.
func (e *Exporter) seal(l *lane) {
	m := l.open
	if m == nil {
		return
	}
	l.open = nil
	last := len(e.packing) - 1
	e.packing[l.at] = e.packing[last]
	e.packing[l.at].at = l.at
	e.packing = e.packing[:last]
	if l.builder.Empty() {
		e.queue.put(m)
		return
	}
	m.records = l.builder.Records()
	m.data = l.builder.Finish(ipfix.Header{Domain: l.dom.id})
	m.version = l.dom.active.Version()
	m.gap, l.dropped = l.dropped, 0
	if e.back.spool != nil && e.queue.len() > 0 && e.queue.octets+cap(m.buf) > e.cfg.QueueBytes && e.spill(m) {
		e.queue.put(m)
		return
	}
	e.enter(m)
	if n := e.queue.len(); n == 1 || n == batchMessages {
		e.wake()
	}
}

// enter puts a message at the end of the queue.
func (e *Exporter) enter(m *message) {
	e.sealed++
	m.number = e.sealed
	e.queue.push(m)
}

func (e *Exporter) sealAll() {
	for len(e.packing) > 0 {
		e.seal(e.packing[0])
	}
}
