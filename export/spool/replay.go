package spool

import "ipfixsuite/ipfix"

// Next hands out the oldest message that it has not handed out since Open or
// Rewind, and makes e describe it. false: there is none now. What does not
// verify any more is counted and passed over.
func (s *Spool) Next(e *Entry) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for !s.closed {
		g := s.reading()
		if g == nil {
			return false
		}
		active := s.w != nil && s.w.seg == g
		if s.rd == nil && !s.openAt(g) {
			if active {
				return false
			}
			s.passed(g)
			continue
		}
		skipped := s.rd.skipped
		ok := s.rd.next(g.size, e)
		if n := s.rd.skipped - skipped; n > 0 {
			s.stats.BytesCorrupt += uint64(n)
			s.cfg.Log.Warn("spool segment is corrupt", "segment", g.path, "offset", s.rd.offset, "skipped", n)
		}
		if ok {
			s.at = e.Pos
			e.Recovered = g.serial <= s.earlier
			g.handed = s.rd.records
			s.stats.RecordsReplayed += uint64(e.Records)
			return true
		}
		if active {
			return false // more may come
		}
		s.passed(g)
	}
	return false
}

// reading is the segment that Next reads; nil: there is none.
func (s *Spool) reading() *segment {
	for _, g := range s.segments {
		if g.serial >= s.at.serial && !g.passed {
			if s.rd != nil && s.rd.seg != g {
				s.rd.close()
				s.rd = nil
			}
			return g
		}
	}
	return nil
}

// openAt opens g at the place Next has come to.
func (s *Spool) openAt(g *segment) bool {
	r, err := openReader(g, s.cfg.Registry, s.readBuf)
	if err != nil {
		s.cfg.Log.Warn("spool segment cannot be read", "segment", g.path, "error", err)
		return false
	}
	s.rd = r
	if s.at.serial < g.serial {
		s.at = Position{serial: g.serial}
		return true
	}
	// What stands before may hold Templates. It was counted when it was
	// handed out.
	var e Entry
	for r.offset < s.at.offset && r.next(s.at.offset, &e) {
	}
	r.skipped = 0
	r.seek(s.at)
	return true
}

// passed counts what is missing of a finished segment at its end.
func (s *Spool) passed(g *segment) {
	s.at = Position{serial: g.serial, offset: g.size, records: g.handed}
	g.passed = true
	if s.rd != nil {
		s.rd.close()
		s.rd = nil
	}
	if missing := g.unread(); missing > 0 {
		g.void += missing
		s.stats.RecordsCorrupt += missing
		if g.serial <= s.earlier {
			s.corruptEarlier += missing
		}
		s.cfg.Log.Warn("spooled records are corrupt", "segment", g.path, "records", missing)
	}
	s.settle()
}

// Corrupt is the number of records so far that do not verify any more, and how
// many of these an earlier run appended.
func (s *Spool) Corrupt() (records, earlier uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats.RecordsCorrupt, s.corruptEarlier
}

// Ack marks the message at pos and all before as delivered: they are not
// handed out again, also not after a restart.
func (s *Spool) Ack(pos Position) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	mark := func(g *segment) {
		upTo := g.handed
		if g.serial == pos.serial {
			upTo = min(upTo, pos.records)
		}
		if g.serial > pos.serial || upTo <= g.acked {
			return
		}
		s.stats.RecordsDelivered += upTo - g.acked
		g.acked = upTo
	}
	for _, g := range s.segments {
		mark(g)
	}
	kept := s.gone[:0]
	for _, g := range s.gone {
		if mark(g); g.acked < g.handed {
			kept = append(kept, g)
		}
	}
	s.gone = kept
	var err error
	if pos.after(s.cursor.pos) {
		err = s.cursor.store(pos)
	}
	s.settle()
	if err != nil { // settle may have made room
		err = s.cursor.store(s.cursor.pos)
	}
	return err
}

func (p Position) after(q Position) bool {
	return p.serial > q.serial || p.serial == q.serial && p.offset > q.offset
}

// settle removes finished segments of which nothing is needed any more.
func (s *Spool) settle() {
	for len(s.segments) > 0 {
		g := s.segments[0]
		if s.w != nil && s.w.seg == g || !g.done() {
			return
		}
		if end := (Position{serial: g.serial, offset: g.size, records: g.acked}); end.after(s.cursor.pos) {
			// Should it not be written, the segment is seen again by the
			// next Open only if it cannot be removed either.
			_ = s.cursor.store(end)
		}
		s.remove(g)
	}
}

// Rewind makes Next begin again with what is not marked as delivered: the
// session that carried it was lost.
func (s *Spool) Rewind() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range s.gone { // cannot be handed out again
		s.stats.RecordsDropped += g.handed - g.acked
	}
	s.gone = nil
	for _, g := range s.segments {
		g.handed, g.passed = g.acked, false
	}
	s.at = s.cursor.pos
	if s.rd != nil && s.rd.seg.serial == s.at.serial {
		s.rd.seek(s.at)
	} else if s.rd != nil {
		s.rd.close()
		s.rd = nil
	}
}

// dropOldest gives up the oldest segment, which is finished.
func (s *Spool) dropOldest() {
	g := s.segments[0]
	lost := g.unread()
	if lost > 0 && s.cfg.Dropped != nil {
		s.tellDropped(g)
	}
	if g.handed > g.acked {
		s.gone = append(s.gone, g)
	}
	s.stats.RecordsDropped += lost
	if lost > 0 {
		s.cfg.Log.Warn("spool is full: its oldest records are dropped", "dir", s.dir, "records", lost, "limit", s.cfg.MaxBytes)
	}
	s.remove(g)
}

// tellDropped reads what Next has not handed out of a segment.
func (s *Spool) tellDropped(g *segment) {
	r, err := openReader(g, s.cfg.Registry, s.scratch())
	if err != nil {
		return
	}
	defer r.close()
	var e Entry
	for r.next(g.size, &e) {
		e.Recovered = g.serial <= s.earlier
		if r.records > g.handed {
			s.cfg.Dropped(&e)
		}
	}
}

// Clone returns a copy of e that stays valid.
func (e *Entry) Clone() *Entry {
	c := *e
	c.Data = append([]byte(nil), e.Data...)
	c.templates = make(map[uint16]*ipfix.Template, len(e.templates))
	for id, t := range e.templates {
		c.templates[id] = t
	}
	return &c
}
