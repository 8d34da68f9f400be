package export

import (
	"encoding/binary"
	"fmt"
	"slices"

	"ipfixsuite/ie"
	"ipfixsuite/ipfix"
)

// table is what a stream's messages of a domain are read by.
func (s *farSession) table(domain uint32, stream uint16) *farTable {
	key := [2]uint32{domain}
	if s.w.props.Channels {
		key[1] = uint32(stream)
	}
	t := s.tables[key]
	if t == nil {
		t = &farTable{make(map[uint16]*ipfix.Template), make(map[uint16]uint16), make(map[uint16]byte)}
		s.tables[key] = t
	}
	return t
}

// contents are the records of a message that will not be received.
func (s *farSession) contents(msg []byte, stream uint16) (list []farRecord) {
	h, _ := ipfix.ParseHeader(msg)
	t := s.table(h.Domain, stream)
	for set := range ipfix.Sets(msg) {
		if p := t.templates[set.ID]; p != nil && p.Scope == 0 {
			var r ipfix.Records
			for r.Reset(p, set.Body); r.Next(); {
				list = append(list, farRecord{h.Domain, uint32(r.Value(0).Num)})
			}
		}
	}
	return list
}

func (s *farSession) receive(msg []byte, stream uint16) {
	w := s.w
	h, err := ipfix.ParseHeader(msg)
	if err != nil {
		w.fault("session %d: %v", s.id, err)
		return
	}
	key := [2]uint32{h.Domain, uint32(stream)}
	gap := h.Sequence - s.seqs[key]
	if int32(gap) < 0 {
		w.fault("session %d, domain %d, stream %d: sequence number %d, expected %d", s.id, h.Domain, stream, h.Sequence, s.seqs[key])
	}
	w.lost += uint64(gap)
	s.seqs[key] = h.Sequence
	t := s.table(h.Domain, stream)
	for set, err := range ipfix.Sets(msg) {
		switch {
		case err != nil:
			w.fault("session %d: %v", s.id, err)
		case set.ID < ipfix.MinDataSetID:
			s.templates(t, h.Domain, stream, set)
		default:
			s.data(t, h.Domain, stream, set)
		}
	}
}

func (s *farSession) templates(t *farTable, domain uint32, stream uint16, set ipfix.Set) {
	w := s.w
	for rec, err := range ipfix.ParseTemplates(set.ID, set.Body) {
		if err != nil {
			w.fault("session %d: %v", s.id, err)
			return
		}
		where := fmt.Sprintf("session %d, domain %d, stream %d, template %d", s.id, domain, stream, rec.ID)
		old := t.templates[rec.ID]
		if old != nil && t.stream[rec.ID] != stream && !w.nests {
			w.fault("%s: defined on stream %d", where, t.stream[rec.ID])
		}
		if rec.Withdrawal() {
			if old == nil {
				w.fault("%s: withdrawn, but unknown", where)
			}
			delete(t.templates, rec.ID)
			delete(t.reliable, rec.ID)
			continue
		}
		p, err := ipfix.NewTemplate(rec.ID, rec.Scope, rec.Fields, ie.IANA())
		if err != nil {
			w.fault("%s: %v", where, err)
			continue
		}
		switch {
		case w.nests && old != nil && old.Equal(p):
		case old != nil && old.Equal(p):
			w.fault("%s: told twice", where)
		case old != nil:
			w.fault("%s: redefined", where)
		}
		t.templates[rec.ID] = p
		if old == nil || !old.Equal(p) {
			t.stream[rec.ID] = stream
		}
		s.nested[stream] = append(s.nested[stream], rec.ID)
	}
}

func (s *farSession) data(t *farTable, domain uint32, stream uint16, set ipfix.Set) {
	w := s.w
	p := t.templates[set.ID]
	where := fmt.Sprintf("session %d, domain %d, stream %d, data of template %d", s.id, domain, stream, set.ID)
	if p == nil {
		w.fault("%s: overtook it", where)
		return
	}
	if t.stream[set.ID] != stream && (!w.nests || !slices.Contains(s.nested[stream], set.ID)) {
		w.fault("%s: defined on stream %d", where, t.stream[set.ID])
	}
	reliability := p.Scope == 1 && len(p.Fields) == 2 && p.Fields[1].Num == dataRecordsReliability
	if w.perRules {
		if key := [2]uint32{domain, uint32(stream)}; !s.first[key] {
			s.first[key] = true
			if !reliability {
				w.fault("%s: the stream's first Data Record says nothing of reliability", where)
			}
		}
		if !reliability && t.reliable[set.ID] == 0 {
			w.fault("%s: before its reliability was told", where)
		}
	}
	if nests(p) {
		for id, o := range t.templates {
			if o.Scope == 0 && !slices.Contains(s.nested[stream], id) {
				w.fault("%s: template %d is not told on its stream", where, id)
			}
		}
	}
	var r ipfix.Records
	for r.Reset(p, set.Body); r.Next(); {
		s.seqs[[2]uint32{domain, uint32(stream)}]++
		switch {
		case reliability:
			id := uint16(r.Value(0).Num)
			if !w.perRules {
				w.fault("%s: reliability where RFC 6526 does not hold", where)
			}
			if t.reliable[id] != 0 {
				w.fault("%s: the reliability of %d twice", where, id)
			}
			if t.templates[id] == nil || t.stream[id] != stream && (!w.nests || !slices.Contains(s.nested[stream], id)) {
				w.fault("%s: reliability of %d, which is on another stream", where, id)
			}
			t.reliable[id] = r.View(1)[0]
		case p.Scope > 0:
		default:
			// The last field's number is in its value, so that a reused id
			// tells what a record was packed with.
			last := len(p.Fields) - 1
			if got := r.Value(last); p.Fields[last].Length == 4 && uint16(binary.BigEndian.Uint32(r.View(last))) != p.Fields[last].Num {
				w.fault("%s: read as another template: %v", where, got)
			}
			s.pending = append(s.pending, farRecord{domain, uint32(r.Value(0).Num)})
		}
	}
	if r.Err() != nil {
		w.fault("%s: %v", where, r.Err())
	}
}
