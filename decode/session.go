package decode

import (
	"errors"
	"fmt"
	"time"

	"ipfixsuite/collect"
	"ipfixsuite/ie"
	"ipfixsuite/ipfix"
	"ipfixsuite/netflow"
	"ipfixsuite/record"
	"ipfixsuite/templates"
)

// A session is one exporter's state: templates, and what waits for them.
type session struct {
	flow
	id       uint64
	exporter string
	reliable bool
	sure     bool // something of it was decoded: what is wrong is its fault
	store    *templates.Store
	v9       *netflow.Session
}

// limits are wider than a collector's: a file is as large as it is.
var limits = templates.Limits{HeldSets: 1 << 14, HeldBytes: 16 << 20, Domains: 1 << 12}

// message decodes one IPFIX message. now is the time of the packet it came in,
// nil if that is not known.
func (s *session) message(d *Decoder, msg []byte, stream uint16, now *time.Time) {
	d.stats.Messages++
	h, err := ipfix.ParseHeader(msg)
	if err != nil {
		d.stats.Malformed++
		d.problem(err)
		if !errors.Is(err, ipfix.ErrTruncated) || len(msg) < ipfix.HeaderLen {
			return
		}
		// The sets that are there whole can be decoded.
	}
	s.sure = true
	if s.store == nil {
		s.store = templates.NewStore(templates.StoreConfig{
			Registry: d.cfg.Registry, Reliable: s.reliable, Lifetime: -1, Limits: limits,
		}, d.budget)
	}
	dom := s.store.Domain(h.Domain)
	if dom == nil {
		d.problem(fmt.Errorf("too many observation domains"))
		return
	}
	m := templates.Message{Now: time.Unix(int64(h.ExportTime), 0), ExportTime: h.ExportTime, Sequence: h.Sequence, Stream: stream}
	if now != nil {
		m.Now = *now
	}
	ok := err == nil
	for set, err := range ipfix.Sets(msg) {
		switch {
		case err != nil:
			if ok { // else it was said before
				d.problem(err)
			}
			ok = false
		case set.ID == ipfix.TemplateSetID || set.ID == ipfix.OptionsTemplateSetID:
			dom.Templates(m, set, func(c templates.Change) { s.changed(d, dom, h.ExportTime, c) })
		case set.ID < ipfix.MinDataSetID:
			d.problem(fmt.Errorf("octet %d: set id %d is reserved", set.Offset, set.ID))
		default:
			if t := dom.Lookup(set.ID); t != nil {
				s.data(d, dom, t, h.ExportTime, set)
			} else if !dom.Hold(m, set) {
				d.stats.SetsDropped++
				d.problem(fmt.Errorf("octet %d: data of template %d, which is not known, and no room to keep it", set.Offset, set.ID))
			}
		}
	}
	if rest := len(msg) - int(h.Length); rest > 0 {
		ok = false
		d.problem(fmt.Errorf("octet %d: %d octets behind the message", h.Length, rest))
	}
	if !ok && err == nil {
		d.stats.Malformed++
	}
}

// changed follows what a template record did.
func (s *session) changed(d *Decoder, dom *templates.Domain, exportTime uint32, c templates.Change) {
	switch c.Kind {
	case templates.Defined, templates.Redefined:
		d.stats.Templates++
		dom.Release(c.ID, func(h templates.Held) {
			s.data(d, dom, c.Template, h.Message.ExportTime, ipfix.Set{ID: h.ID, Offset: h.Offset, Body: h.Body})
		})
	case templates.Refreshed:
		d.stats.Templates++
	case templates.Invalid, templates.Refused:
		d.problem(c.Err)
	}
}

// data hands on a data set and learns from it, if it describes elements.
func (s *session) data(d *Decoder, dom *templates.Domain, t *ipfix.Template, exportTime uint32, set ipfix.Set) {
	n, err := ipfix.CountRecords(t, set.Body)
	if err != nil {
		d.problem(ipfix.At(err, set.BodyOffset()))
	}
	if n == 0 {
		return
	}
	body := set.Body
	if err != nil {
		body = whole(t, body)
	}
	d.emit(s, dom.ID(), exportTime, record.Batch{
		Template: t, Body: body, Records: n, Lists: dom.Lookup, Registry: dom.Registry(),
	})
	if t.Scope > 0 && collect.ControlOf(t) == collect.ElementTypes {
		learn(d, dom, t, body)
	}
}

// whole is the stretch of whole records that body starts with.
func whole(t *ipfix.Template, body []byte) []byte {
	var r ipfix.Records
	for r.Reset(t, body); r.Next(); {
	}
	return body[:len(body)-len(r.Rest())]
}

// learn takes in Information Element type records (RFC 5610).
func learn(d *Decoder, dom *templates.Domain, t *ipfix.Template, body []byte) {
	var r ipfix.Records
	var values []ipfix.Value
	for r.Reset(t, body); r.Next(); {
		var rec ie.TypeRecord
		values = r.Values(values)
		for i := range t.Fields {
			rec.Set(t.Fields[i].ID, values[i].Num, values[i].View)
		}
		e, err := rec.Element()
		if err == nil {
			err = dom.Learn(e)
		}
		if err != nil && !errors.Is(err, ie.ErrKnown) {
			d.problem(err)
		}
	}
}

// netflow decodes one NetFlow datagram.
func (s *session) netflow(d *Decoder, pkt []byte) {
	d.stats.Messages++
	if s.v9 == nil {
		s.v9 = netflow.NewSession(netflow.Config{Registry: d.cfg.Registry, MaxHeld: held})
	}
	before := s.v9.Stats()
	err := s.v9.Packet(pkt, func(n *netflow.Data) {
		s.sure = true
		d.emit(s, n.Domain, n.ExportTime, record.Batch{Template: n.Template, Body: n.Body, Records: n.Records, Registry: d.cfg.Registry})
	})
	after := s.v9.Stats()
	d.stats.Templates += after.Templates - after.TemplatesRefused - before.Templates + before.TemplatesRefused
	d.stats.SetsDropped += after.SetsUndecodable - before.SetsUndecodable
	if err != nil {
		d.stats.Malformed++
		d.problem(err)
	} else {
		s.sure = true
	}
}

// close reports what waited in vain.
func (s *session) close(d *Decoder) {
	type missing struct {
		domain uint32
		id     uint16
	}
	octets, sets := map[missing]int{}, map[missing]int{}
	var order []missing
	add := func(m missing, n int) {
		if sets[m] == 0 {
			order = append(order, m)
		}
		sets[m]++
		octets[m] += n
		d.stats.SetsWaiting++
	}
	if s.store != nil {
		s.store.Close(func(dom *templates.Domain, h templates.Held) { add(missing{dom.ID(), h.ID}, len(h.Body)) })
	}
	if s.v9 != nil {
		s.v9.Pending(func(domain uint32, id uint16, n int) { add(missing{domain, id}, n) })
	}
	for _, m := range order {
		d.at.File = s.exporter
		d.problem(fmt.Errorf("domain %d: template %d never came, %d data sets (%d octets) not decoded", m.domain, m.id, sets[m], octets[m]))
	}
}
