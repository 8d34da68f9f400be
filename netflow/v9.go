package netflow

import (
	"encoding/binary"
	"errors"
	"fmt"

	"ipfixsuite/ie"
	"ipfixsuite/ipfix"
)

// Elements that times since boot are turned into and from.
const (
	flowEndSysUpTime      = 21 // LAST_SWITCHED
	flowStartSysUpTime    = 22 // FIRST_SWITCHED
	flowStartMilliseconds = 152
	flowEndMilliseconds   = 153
)

// A plan is a template as sent and as given out: the same fields, but for
// those without octets, and absolute times behind.
type plan struct {
	template    *ipfix.Template
	wireLen     int // octets of a record in the datagram
	first, last int // offsets of the times to be made absolute; -1: none
}

// appendTimes appends the records of body, each with its absolute times.
func (p *plan) appendTimes(dst, body []byte, c clock) []byte {
	for ; len(body) >= p.wireLen; body = body[p.wireLen:] {
		dst = append(dst, body[:p.wireLen]...)
		if p.first >= 0 {
			dst = binary.BigEndian.AppendUint64(dst, c.absolute(binary.BigEndian.Uint32(body[p.first:])))
		}
		if p.last >= 0 {
			dst = binary.BigEndian.AppendUint64(dst, c.absolute(binary.BigEndian.Uint32(body[p.last:])))
		}
	}
	return dst
}

func (s *Session) packetV9(pkt []byte, emit func(*Data)) {
	if len(pkt) < headerLenV9 {
		s.fault(len(pkt), "header", ipfix.ErrTruncated)
		return
	}
	c := clock{uptime: binary.BigEndian.Uint32(pkt[4:]), export: binary.BigEndian.Uint32(pkt[8:])}
	c.unixMS = uint64(c.export) * 1000
	domain := binary.BigEndian.Uint32(pkt[16:])
	for at := headerLenV9; at < len(pkt); {
		b := pkt[at:]
		if len(b) < flowSetLen {
			if !zero(b) { // padding that no length counts is harmless
				s.fault(at, "flowset header", ipfix.ErrTruncated)
			}
			return
		}
		id, n := binary.BigEndian.Uint16(b), int(binary.BigEndian.Uint16(b[2:]))
		if n < flowSetLen {
			s.fault(at+2, "flowset length", fmt.Errorf("%d: %w", n, ipfix.ErrLength))
			return
		}
		if n > len(b) {
			s.fault(at+2, "flowset length", fmt.Errorf("%d of %d octets: %w", len(b), n, ipfix.ErrTruncated))
			return
		}
		body := b[flowSetLen:n]
		switch {
		case id <= optionsTemplateSet:
			s.templateSet(id, domain, body, at+flowSetLen, emit)
		case id < minDataSet:
			s.fault(at, "flowset id", fmt.Errorf("%d is reserved", id))
		default:
			k := key{domain, id}
			if p := s.templates[k]; p != nil {
				s.give(domain, p, c, body, emit)
			} else {
				s.hold(k, c, body)
			}
		}
		at += n
	}
}

// templateSet reads a Template or Options Template FlowSet (RFC 3954,
// Sections 5.2 and 6.1); base is where body starts in the datagram.
//
//	template:  id, field count, then type and length of each
//	options:   id, octets of the scope fields, octets of the options, then both
func (s *Session) templateSet(set uint16, domain uint32, body []byte, base int, emit func(*Data)) {
	head := 4
	if set == optionsTemplateSet {
		head = 6
	}
	for at := 0; len(body)-at >= head; {
		b := body[at:]
		if zero(b[:4]) {
			return // padding
		}
		id := binary.BigEndian.Uint16(b)
		nscope, n := 0, int(binary.BigEndian.Uint16(b[2:]))
		if set == optionsTemplateSet {
			nscope = n
			n += int(binary.BigEndian.Uint16(b[4:]))
			if nscope%4 != 0 || n%4 != 0 {
				s.stats.TemplatesRefused++
				s.fault(base+at+2, "options template", fmt.Errorf("%d octets of scope and %d in all are not whole fields", nscope, n))
				return
			}
			nscope, n = nscope/4, n/4
		}
		if n*4 > len(b)-head {
			s.stats.TemplatesRefused++
			s.fault(base+at+2, "template field count", fmt.Errorf("%d fields in %d octets: %w", n, len(b)-head, ipfix.ErrTruncated))
			return
		}
		s.stats.Templates++
		if err := s.define(key{domain, id}, nscope, b[head:head+n*4], emit); err != nil {
			s.stats.TemplatesRefused++
			s.fault(base+at, "template", err)
		}
		at += head + n*4
	}
}

// define learns a template. A repetition leaves the plan as it is, a
// different one replaces it.
func (s *Session) define(k key, nscope int, fields []byte, emit func(*Data)) error {
	p := plan{first: -1, last: -1} // copied only if it is news
	specs := s.specs[:0]
	kept := 0 // scope fields with octets
	var start, end bool
	for i := 0; i < len(fields); i += 4 {
		num, length := binary.BigEndian.Uint16(fields[i:]), binary.BigEndian.Uint16(fields[i+2:])
		if length == 0 {
			continue
		}
		id := element(num)
		if i/4 < nscope {
			id = scope(num)
			kept++
		}
		if length == ipfix.VariableLength {
			// In version 9 that would be a length as any other, of a record
			// longer than a datagram.
			return fmt.Errorf("template %d: field %d: a length of %d fits in no datagram", k.id, i/4, length)
		}
		switch id {
		case ie.ID{Num: flowStartSysUpTime}:
			if length == 4 {
				p.first = p.wireLen
			}
		case ie.ID{Num: flowEndSysUpTime}:
			if length == 4 {
				p.last = p.wireLen
			}
		case ie.ID{Num: flowStartMilliseconds}:
			start = true
		case ie.ID{Num: flowEndMilliseconds}:
			end = true
		}
		p.wireLen += int(length)
		specs = append(specs, ipfix.FieldSpec{ID: id, Length: length})
	}
	if start || nscope > 0 {
		p.first = -1
	}
	if end || nscope > 0 {
		p.last = -1
	}
	if p.first >= 0 {
		specs = append(specs, ipfix.FieldSpec{ID: ie.ID{Num: flowStartMilliseconds}, Length: 8})
	}
	if p.last >= 0 {
		specs = append(specs, ipfix.FieldSpec{ID: ie.ID{Num: flowEndMilliseconds}, Length: 8})
	}
	s.specs = specs
	if nscope > 0 && kept == 0 && len(specs) > 0 {
		// The whole exporter as a scope without octets: IPFIX needs one
		// scope field, and the first option serves.
		kept = 1
	}
	old := s.templates[k]
	if old != nil && old.template.Matches(kept, specs) {
		return nil
	}
	if old == nil && len(s.templates) >= s.cfg.MaxTemplates {
		return errors.New("too many templates")
	}
	t, err := ipfix.NewTemplate(k.id, kept, specs, s.cfg.Registry)
	if err != nil {
		return err
	}
	p.template = t
	news := p
	s.templates[k] = &news
	s.release(k, &news, emit)
	return nil
}

func zero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
