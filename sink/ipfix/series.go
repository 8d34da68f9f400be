package ipfix

import (
	"encoding/binary"

	"ipfixsuite/ipfix"
	"ipfixsuite/ipfixfile"
	"ipfixsuite/record"
)

// A series is the files of one exporter, one at a time.
type series struct {
	sink     *Sink
	exporter string
	used     uint64
	w        *ipfixfile.Writer

	// Of the file under way.
	segment   uint64
	domains   map[uint32]*domain
	last      *domain
	templates int

	// The message under way, built in the Writer's buffer; nil: none. Until
	// it is finished the Writer must be left alone.
	msg        []byte
	domain     *domain
	exportTime uint32
	sequence   uint32

	scratch []byte // a body whose template ids are changed
	stay    bool   // in this file, although it is full
}

// write puts a data set into the message under way, or the next. Whenever
// that begins a file, it has to look for its templates anew.
func (q *series) write(b *record.Batch) error {
	size := ipfix.SetHeaderLen + len(b.Body)
	defer func() { q.stay = false }()
	for try := 0; ; try++ {
		// What does not even fit in an empty file makes it larger.
		q.stay = try > 1
		if err := q.message(b.Domain, b.ExportTime, size); err != nil {
			return err
		}
		segment := q.segment
		id, refs, err := q.template(b.Template)
		if err != nil {
			return err
		}
		body := b.Body
		if refs {
			if body, err = q.follow(b); err != nil {
				return err
			}
		}
		if q.segment != segment {
			continue
		}
		if err := q.message(b.Domain, b.ExportTime, size); err != nil {
			return err
		}
		if q.segment != segment {
			continue
		}
		q.set(id, body)
		q.domain.sequence += uint32(b.Records)
		return nil
	}
}

// message makes sure that a message of that domain and time is under way with
// room for size octets.
func (q *series) message(id, exportTime uint32, size int) error {
	if q.msg != nil {
		if q.domain.id == id && q.exportTime == exportTime && len(q.msg)+size <= ipfix.MaxMessage {
			return nil
		}
		if err := q.finish(); err != nil {
			return err
		}
	}
	segment := q.segment
	if !q.stay || q.w.Idle() {
		var err error
		if segment, err = q.w.Begin(ipfix.HeaderLen + size); err != nil {
			return err
		}
	}
	if segment != q.segment {
		q.segment, q.domains, q.last, q.templates = segment, map[uint32]*domain{}, nil, 0
	}
	room, err := q.w.Available()
	if err != nil {
		return err
	}
	q.msg = room[:ipfix.HeaderLen] // filled in by finish
	q.domain, q.exportTime = q.find(id), exportTime
	q.sequence = q.domain.sequence
	return nil
}

// set appends a set, for which message has made room.
func (q *series) set(id uint16, body []byte) {
	q.msg = binary.BigEndian.AppendUint16(q.msg, id)
	q.msg = binary.BigEndian.AppendUint16(q.msg, uint16(ipfix.SetHeaderLen+len(body)))
	q.msg = append(q.msg, body...)
}

// finish hands the message under way to the Writer.
func (q *series) finish() error {
	m := q.msg
	q.msg = nil
	if len(m) <= ipfix.HeaderLen {
		return nil
	}
	binary.BigEndian.PutUint16(m, ipfix.Version)
	binary.BigEndian.PutUint16(m[2:], uint16(len(m)))
	binary.BigEndian.PutUint32(m[4:], q.exportTime)
	binary.BigEndian.PutUint32(m[8:], q.sequence)
	binary.BigEndian.PutUint32(m[12:], q.domain.id)
	return q.w.Append(m)
}

func (q *series) find(id uint32) *domain {
	if q.last != nil && q.last.id == id {
		return q.last
	}
	d := q.domains[id]
	if d == nil {
		d = newDomain(id)
		q.domains[id] = d
	}
	q.last = d
	return d
}
