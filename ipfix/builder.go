package ipfix

import "encoding/binary"

// A Builder packs templates, withdrawals and encoded records into one message.
// Neighbours of one kind share a set; padding is never needed. The zero value
// holds nothing: Reset first.
type Builder struct {
	buf     []byte
	max     int
	set     int    // offset of the open set's header; 0: none
	id      uint16 // of the open set
	records int
}

// Reset begins a message of at most max octets, in buf[:0] and what append
// makes of it.
func (b *Builder) Reset(buf []byte, max int) {
	*b = Builder{max: min(max, MaxMessage)}
	var h [HeaderLen]byte
	buf = append(buf[:0], h[:]...)
	b.buf = buf
}

// room opens a set of id, if another one is open, for n octets more.
func (b *Builder) room(id uint16, n int) bool {
	if b.set != 0 && b.id == id {
		return len(b.buf)+n <= b.max
	}
	if len(b.buf)+SetHeaderLen+n > b.max || len(b.buf) < HeaderLen {
		return false
	}
	b.closeSet()
	b.set, b.id = len(b.buf), id
	b.buf = binary.BigEndian.AppendUint16(b.buf, id)
	b.buf = append(b.buf, 0, 0)
	return true
}

func (b *Builder) closeSet() {
	if b.set != 0 {
		binary.BigEndian.PutUint16(b.buf[b.set+2:], uint16(len(b.buf)-b.set))
		b.set = 0
	}
}

// AddTemplate adds the record of t; false: it does not fit, nothing changed.
func (b *Builder) AddTemplate(t *Template) bool {
	if !b.room(t.SetID(), t.TemplateLen()) {
		return false
	}
	b.buf = t.AppendTemplate(b.buf)
	return true
}

// AddWithdrawal withdraws the template id, or with id 2 or 3 all Templates or
// all Options Templates of the domain (RFC 7011, Section 8.1).
func (b *Builder) AddWithdrawal(id uint16, options bool) bool {
	set := uint16(TemplateSetID)
	if options {
		set = OptionsTemplateSetID
	}
	if !b.room(set, 4) {
		return false
	}
	b.buf = binary.BigEndian.AppendUint16(b.buf, id)
	b.buf = append(b.buf, 0, 0)
	return true
}

// AddRecord adds one encoded record of t; false: it does not fit, nothing
// changed.
func (b *Builder) AddRecord(t *Template, rec []byte) bool {
	return b.AddRecords(t, rec, 1)
}

// AddRecords adds n encoded records of t that stand one behind the other.
func (b *Builder) AddRecords(t *Template, recs []byte, n int) bool {
	if !b.room(t.ID, len(recs)) {
		return false
	}
	b.buf = append(b.buf, recs...)
	b.records += n
	return true
}

// Records is the number of Data Records in the message, those of Options
// Templates included: what the sequence number grows by (RFC 7011, Section
// 3.1).
func (b *Builder) Records() int { return b.records }

// Len is the length of the message so far, its header included.
func (b *Builder) Len() int { return len(b.buf) }

// Empty reports whether nothing has been added.
func (b *Builder) Empty() bool { return len(b.buf) <= HeaderLen }

// Finish closes the message and returns it; it aliases the buffer, which the
// next Reset may reuse. h.Length is set here.
func (b *Builder) Finish(h Header) []byte {
	if len(b.buf) < HeaderLen {
		b.Reset(b.buf, MaxMessage)
	}
	b.closeSet()
	h.Length = uint16(len(b.buf))
	h.put(b.buf)
	return b.buf
}
