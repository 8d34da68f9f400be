package spool

import (
	"bytes"
	"encoding/binary"
	"os"

	"ipfixsuite/ie"
	"ipfixsuite/ipfix"
)

const (
	// readBuffer holds a message of the greatest length and what makes the
	// cost of read(2) vanish.
	readBuffer = 256 << 10
	// maxTemplates bounds the Templates known of one segment.
	maxTemplates = 1 << 16
)

// An Entry is one message as Next hands it out.
type Entry struct {
	// Data is the message as it was appended, but for its Sequence Number;
	// only Data Sets. It is valid until the next call of Next and may be
	// changed.
	Data    []byte
	Header  ipfix.Header
	Records int
	// Pos is what Ack takes: this message and all before.
	Pos Position
	// Recovered: an earlier run appended it.
	Recovered bool

	templates map[uint16]*ipfix.Template
}

// Template returns what id means in the message; nil: nothing.
func (e *Entry) Template(id uint16) *ipfix.Template { return e.templates[id] }

// reader takes a segment apart. What does not verify is skipped.
type reader struct {
	seg     *segment
	reg     *ie.Registry
	f       *os.File
	buf     []byte
	r, w    int   // buf[r:w] has been read and not yet delivered
	offset  int64 // in the file, of buf[r]
	records uint64
	skipped int64 // octets
	domains map[uint32]map[uint16]*ipfix.Template
	known   int // Templates in all domains
	lists   ipfix.TemplateReader
}

// openReader reads a segment from its start; buf has readBuffer octets.
func openReader(g *segment, reg *ie.Registry, buf []byte) (*reader, error) {
	f, err := os.Open(g.path)
	if err != nil {
		return nil, err
	}
	return &reader{seg: g, reg: reg, f: f, buf: buf, domains: make(map[uint32]map[uint16]*ipfix.Template)}, nil
}

func (r *reader) close() { _ = r.f.Close() }

// seek goes back to a place behind a message that next has met.
func (r *reader) seek(p Position) {
	r.r, r.w, r.offset, r.records = 0, 0, p.offset, p.records
}

// fill tries to have n octets before limit in the buffer.
func (r *reader) fill(n int, limit int64) bool {
	if r.w-r.r >= n {
		return true
	}
	if r.offset+int64(n) > limit {
		return false
	}
	if len(r.buf)-r.r < n {
		r.w = copy(r.buf, r.buf[r.r:r.w])
		r.r = 0
	}
	for r.w-r.r < n {
		at := r.offset + int64(r.w-r.r)
		want := r.buf[r.w:min(len(r.buf), r.w+int(min(limit-at, readBuffer)))]
		m, err := r.f.ReadAt(want, at)
		r.w += m
		if m == 0 && err != nil { // the file is shorter than it was, or unreadable
			return false
		}
	}
	return true
}

func (r *reader) advance(n int) {
	r.r += n
	r.offset += int64(n)
}

// next reads the next message with Data Records, up to limit: what of the
// file is known to be whole messages. What is garbled is skipped, counted in
// octets. false: there is none.
func (r *reader) next(limit int64, e *Entry) bool {
	for r.offset < limit {
		msg := r.message(limit)
		if msg == nil {
			if !r.resync(limit) {
				return false
			}
			continue
		}
		r.advance(len(msg))
		if !r.read(msg, e) {
			r.skipped += int64(len(msg))
			continue
		}
		if e.Records > 0 {
			e.Pos = Position{serial: r.seg.serial, offset: r.offset, records: r.records}
			return true
		}
	}
	return false
}

// message returns the message at offset if it is whole.
func (r *reader) message(limit int64) []byte {
	if !r.fill(ipfix.HeaderLen, limit) || binary.BigEndian.Uint16(r.buf[r.r:]) != ipfix.Version {
		return nil
	}
	n := int(binary.BigEndian.Uint16(r.buf[r.r+2:]))
	if n < ipfix.HeaderLen+checksumSetLen || !r.fill(n, limit) {
		return nil
	}
	msg := r.buf[r.r : r.r+n : r.r+n]
	if !sealed(msg) {
		return nil
	}
	return msg
}

// resync goes to the next whole message behind offset, or to the end.
func (r *reader) resync(limit int64) bool {
	from := r.offset
	defer func() { r.skipped += r.offset - from }()
	r.step(1, limit)
	for r.offset < limit {
		if !r.fill(2, limit) {
			r.offset = limit
			r.r, r.w = 0, 0
			return false
		}
		i := bytes.Index(r.buf[r.r:r.w], []byte{0, ipfix.Version})
		if i < 0 {
			r.step(max(1, r.w-r.r-1), limit) // its last octet may be half a version
			continue
		}
		r.advance(i)
		if r.message(limit) != nil {
			return true
		}
		r.step(1, limit)
	}
	return false
}

// step passes over n octets, which may not be in the buffer yet.
func (r *reader) step(n int, limit int64) {
	if r.w-r.r < n {
		r.r, r.w = 0, 0
		r.offset = min(limit, r.offset+int64(n))
		return
	}
	r.advance(n)
}

// read takes a whole message in. It fails if data in it has no Template.
func (r *reader) read(msg []byte, e *Entry) bool {
	h, err := ipfix.ParseHeader(msg)
	if err != nil {
		return false
	}
	d := r.domains[h.Domain]
	if d == nil {
		d = make(map[uint16]*ipfix.Template)
		r.domains[h.Domain] = d
	}
	body := msg[:len(msg)-checksumSetLen]
	*e = Entry{Header: h, templates: d}
	var sets ipfix.SetReader
	sets.Reset(body)
	for {
		set, ok := sets.Next()
		if !ok {
			break
		}
		if set.ID < ipfix.MinDataSetID {
			if !r.define(d, set) {
				return false
			}
			continue
		}
		t := d[set.ID]
		if t == nil {
			return false
		}
		n, err := ipfix.CountRecords(t, set.Body)
		if err != nil {
			return false
		}
		e.Records += n
	}
	if sets.Err() != nil {
		return false
	}
	binary.BigEndian.PutUint16(body[2:], uint16(len(body)))
	e.Header.Length = uint16(len(body))
	e.Data = body
	r.records += uint64(e.Records)
	return true
}

// define takes the Templates of a set.
func (r *reader) define(d map[uint16]*ipfix.Template, set ipfix.Set) bool {
	if set.ID != ipfix.TemplateSetID && set.ID != ipfix.OptionsTemplateSetID {
		return false
	}
	r.lists.Reset(set.ID, set.Body)
	for {
		rec, ok := r.lists.Next()
		if !ok {
			return r.lists.Err() == nil
		}
		old := d[rec.ID]
		if rec.Withdrawal() || old != nil && old.Matches(rec.Scope, rec.Fields) {
			continue
		}
		if old == nil && r.known == maxTemplates {
			return false
		}
		t, err := ipfix.NewTemplate(rec.ID, rec.Scope, rec.Fields, r.reg)
		if err != nil {
			return false
		}
		if old == nil {
			r.known++
		}
		d[rec.ID] = t
	}
}
