package spool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"ipfixsuite/ipfix"
)

var (
	errNumbers = errors.New("no segment numbers left")
	errIDs     = errors.New("templates that contradict each other")
)

// writer is the segment under way.
type writer struct {
	seg     *segment
	f       *os.File
	domains map[uint32]*writerDomain
	dirty   bool // written since the last fsync
}

type writerDomain struct {
	seq      uint32 // of the next message
	checksum uint16 // id of the Message Checksum Options Template
	told     map[uint16]*ipfix.Template
}

// Append takes a message. After an error nothing of it is kept, and the next
// try may succeed: the disk may have room again.
func (s *Spool) Append(m Message) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	h, err := ipfix.ParseHeader(m.Data)
	if err == nil && int(h.Length) != len(m.Data) {
		err = fmt.Errorf("message of %d octets in %d", h.Length, len(m.Data))
	}
	if err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	records, err := count(m)
	if err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	if records == 0 {
		return nil
	}
	if h.ExportTime == 0 {
		h.ExportTime = uint32(s.cfg.Now().Unix())
	}
	if err := s.append(m, h, records); err != nil {
		s.refused(records, err)
		return fmt.Errorf("spool: %w", err)
	}
	if s.failing {
		s.failing = false
		s.cfg.Log.Info("spool can be written again", "dir", s.dir, "refused", s.stats.RecordsRefused)
	}
	return nil
}

// count counts the Data Records of a message.
func count(m Message) (int, error) {
	var sets ipfix.SetReader
	sets.Reset(m.Data)
	total := 0
	for {
		set, ok := sets.Next()
		if !ok {
			return total, sets.Err()
		}
		if set.ID < ipfix.MinDataSetID {
			continue
		}
		t := m.template(set.ID)
		if t == nil {
			return 0, fmt.Errorf("data set %d: %w", set.ID, ErrTemplate)
		}
		n, err := ipfix.CountRecords(t, set.Body)
		if err != nil {
			return 0, err
		}
		total += n
	}
}

func (m *Message) template(id uint16) *ipfix.Template {
	for _, t := range m.Templates {
		if t.ID == id {
			return t
		}
	}
	return nil
}

func (s *Spool) refused(records int, err error) {
	s.stats.WriteErrors++
	s.stats.RecordsRefused += uint64(records)
	if !s.failing {
		s.failing = true
		s.cfg.Log.Warn("spool cannot be written; records stay in memory or are lost", "dir", s.dir, "error", err)
	}
}

// append writes a message and the Templates it needs to a segment that takes
// them.
func (s *Spool) append(m Message, h ipfix.Header, records int) error {
	for {
		if s.w == nil {
			if err := s.begin(); err != nil {
				return err
			}
		}
		w := s.w
		d, fits := w.domain(h.Domain, m.Templates)
		if !fits && w.seg.size == 0 {
			return errIDs
		}
		var seq uint32
		var err error
		if fits {
			if seq, err = s.build(d, m, h, records); err != nil {
				return err
			}
		}
		n := int64(len(s.buf))
		if full := w.seg.size+n > s.cfg.SegmentBytes && w.seg.size > 0; !fits || full {
			if err := s.finish(); err != nil {
				return err
			}
			continue
		}
		if s.bytes+n > s.cfg.MaxBytes && s.segments[0] != w.seg {
			s.dropOldest()
			continue
		}
		return s.write(w, h.Domain, d, seq, records)
	}
}

// domain returns the state of a domain, a new one if need be, that only
// write makes part of w. false: an id means something else in this segment.
func (w *writer) domain(id uint32, list []*ipfix.Template) (*writerDomain, bool) {
	d := w.domains[id]
	if d == nil {
		d = &writerDomain{checksum: ^uint16(0), told: make(map[uint16]*ipfix.Template)}
		for (&Message{Templates: list}).template(d.checksum) != nil {
			d.checksum--
		}
		return d, d.checksum >= ipfix.MinDataSetID
	}
	for _, t := range list {
		old := d.told[t.ID]
		if t.ID == d.checksum || old != nil && old != t && !old.Equal(t) {
			return d, false
		}
	}
	return d, true
}

// build makes in s.buf what is to be written and returns the Sequence Number
// that follows.
func (s *Spool) build(d *writerDomain, m Message, h ipfix.Header, records int) (seq uint32, err error) {
	s.buf, s.news = s.buf[:0], s.news[:0]
	seq = d.seq
	for _, t := range m.Templates {
		if d.told[t.ID] == nil {
			s.news = append(s.news, t)
		}
	}
	if len(d.told) == 0 || len(s.news) > 0 {
		if seq, err = s.templates(d, h, seq); err != nil {
			return 0, err
		}
	}
	if len(m.Data) <= maxBody && onlyData(m.Data) {
		s.put(m.Data, d, h, &seq, records)
		return seq, nil
	}
	return s.split(d, m, h, seq)
}

// onlyData reports whether msg has no sets but Data Sets.
func onlyData(msg []byte) bool {
	var sets ipfix.SetReader
	sets.Reset(msg)
	for {
		set, ok := sets.Next()
		if !ok {
			return true
		}
		if set.ID < ipfix.MinDataSetID {
			return false
		}
	}
}

// stamp writes what of the header belongs to the segment.
func stamp(msg []byte, exportTime, seq uint32) {
	binary.BigEndian.PutUint32(msg[4:], exportTime)
	binary.BigEndian.PutUint32(msg[8:], seq)
}

// put adds one message with that many Data Records besides its checksum.
func (s *Spool) put(msg []byte, d *writerDomain, h ipfix.Header, seq *uint32, records int) {
	start := len(s.buf)
	s.buf = append(s.buf, msg...)
	stamp(s.buf[start:], h.ExportTime, *seq)
	s.buf = seal(s.buf, start, d.checksum)
	*seq += uint32(records) + 1
}

// templates adds the messages with s.news, and first, in a domain that is new
// to the segment, the template of the checksums.
func (s *Spool) templates(d *writerDomain, h ipfix.Header, seq uint32) (uint32, error) {
	list := s.news
	if len(d.told) == 0 {
		c, err := checksumTemplate(d.checksum, s.cfg.Registry)
		if err != nil {
			return 0, err
		}
		list = append([]*ipfix.Template{c}, list...)
	}
	var b ipfix.Builder
	for len(list) > 0 {
		b.Reset(s.pack[:0], maxBody)
		n := 0
		for n < len(list) && b.AddTemplate(list[n]) {
			n++
		}
		if n == 0 {
			return 0, fmt.Errorf("template %d does not fit in a message", list[0].ID)
		}
		list = list[n:]
		s.pack = b.Finish(h)
		s.put(s.pack, d, h, &seq, 0)
	}
	return seq, nil
}

// split packs the records of a message anew that is too long for the checksum
// (RFC 5655, Section 7.3.1), or holds other sets than data.
func (s *Spool) split(d *writerDomain, m Message, h ipfix.Header, seq uint32) (uint32, error) {
	var b ipfix.Builder
	b.Reset(s.pack[:0], maxBody)
	flush := func() {
		n := b.Records()
		s.pack = b.Finish(h)
		s.put(s.pack, d, h, &seq, n)
		b.Reset(s.pack[:0], maxBody)
	}
	var sets ipfix.SetReader
	sets.Reset(m.Data)
	for {
		set, ok := sets.Next()
		if !ok {
			break
		}
		if set.ID < ipfix.MinDataSetID {
			continue
		}
		t := m.template(set.ID)
		var r ipfix.Records
		for r.Reset(t, set.Body); r.Next(); {
			if b.AddRecord(t, r.Raw()) {
				continue
			}
			if !b.Empty() {
				flush()
			}
			if !b.AddRecord(t, r.Raw()) {
				return 0, fmt.Errorf("template %d: a record of %d octets leaves no room for a checksum", t.ID, len(r.Raw()))
			}
		}
	}
	flush()
	return seq, nil
}

// write writes s.buf behind the last whole message. What of it a full disk
// took is cut off, or else written over by the next try.
func (s *Spool) write(w *writer, domain uint32, d *writerDomain, seq uint32, records int) error {
	if _, err := w.f.WriteAt(s.buf, w.seg.size); err != nil {
		_ = w.f.Truncate(w.seg.size)
		return err
	}
	w.dirty = true
	w.seg.size += int64(len(s.buf))
	s.bytes += int64(len(s.buf))
	w.seg.records += uint64(records)
	w.domains[domain] = d
	d.seq = seq
	for _, t := range s.news {
		d.told[t.ID] = t
	}
	s.stats.RecordsSpooled += uint64(records)
	s.stats.MessagesSpooled++
	s.stats.BytesSpooled += uint64(len(s.buf))
	if s.cfg.Sync == SyncAlways {
		if err := w.f.Sync(); err != nil {
			s.syncFailed(err) // it is taken all the same
			return nil
		}
		w.dirty = false
	}
	return nil
}

// begin creates the next segment.
func (s *Spool) begin() error {
	if s.serial >= maxSerial {
		return errNumbers
	}
	g := &segment{serial: s.serial + 1}
	g.path = partName(s.dir, g.serial)
	f, err := os.OpenFile(g.path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	s.serial++
	s.segments = append(s.segments, g)
	s.w = &writer{seg: g, f: f, domains: make(map[uint32]*writerDomain)}
	if s.cfg.Sync != SyncNever {
		if err := syncDir(s.dir); err != nil {
			s.syncFailed(err)
		}
	}
	return nil
}

// finish gives the segment under way its name; one without messages is
// removed.
func (s *Spool) finish() error {
	w := s.w
	if w == nil {
		return nil
	}
	if w.seg.size == 0 {
		s.segments = s.segments[:len(s.segments)-1]
		s.w = nil
		if s.rd != nil && s.rd.seg == w.seg {
			s.rd.close()
			s.rd = nil
		}
		_ = w.f.Close()
		return os.Remove(w.seg.path)
	}
	if s.cfg.Sync != SyncNever {
		if err := w.f.Sync(); err != nil {
			s.syncFailed(err)
		}
	}
	name := finishedName(s.dir, w.seg.serial, w.seg.records)
	if err := os.Rename(w.seg.path, name); err != nil {
		return err
	}
	w.seg.path = name
	s.w = nil
	_ = w.f.Close()
	if s.cfg.Sync != SyncNever {
		if err := syncDir(s.dir); err != nil {
			s.syncFailed(err)
		}
	}
	s.settle()
	return nil
}
