package decode

import (
	"encoding/binary"
	"time"
)

const (
	// maxAssociations bounds the SCTP associations, by direction, whose
	// fragmented messages are put together.
	maxAssociations = 1024
	maxStreamsOpen  = 64

	sctpHeader     = 12
	chunkHeader    = 4
	dataHeader     = 16
	chunkData      = 0
	fragmentsFirst = 2 // B
	fragmentsLast  = 1 // E
)

// associations are the messages of SCTP associations that are not complete.
type associations map[flow]*association

// An association is one direction; DATA chunks come in the order of their TSN
// but for what is sent again, which is recognised by its TSN (RFC 9260,
// Section 3.3.1).
type association struct {
	seen    [1024]uint32 // TSN + 1 at TSN modulo its size
	partial map[uint16]*partial
}

type partial struct {
	tsn uint32 // of its last chunk
	buf []byte
}

// sctp decodes the user messages in a packet that are IPFIX (RFC 7011, Section
// 10.2.1: a message of SCTP is one of IPFIX) and reports whether there were
// any.
func (d *Decoder) sctp(f flow, b []byte, at *time.Time) bool {
	if len(b) < sctpHeader {
		return false
	}
	ours := false
	for b = b[sctpHeader:]; len(b) >= chunkHeader; {
		n := int(binary.BigEndian.Uint16(b[2:]))
		if n < chunkHeader || n > len(b) {
			return ours
		}
		if b[0] == chunkData && n > dataHeader {
			ours = d.chunk(f, b[:n], at) || ours
		}
		b = b[min(len(b), (n+3)&^3):]
	}
	return ours
}

func (d *Decoder) chunk(f flow, b []byte, at *time.Time) bool {
	flags, tsn, stream := b[1], binary.BigEndian.Uint32(b[4:]), binary.BigEndian.Uint16(b[8:])
	data := b[dataHeader:]
	a := d.chunks[f]
	if a == nil {
		if flags&fragmentsFirst == 0 || !begins(data) || len(d.chunks) >= maxAssociations {
			return false
		}
		if d.chunks == nil {
			d.chunks = associations{}
		}
		a = &association{partial: map[uint16]*partial{}}
		d.chunks[f] = a
	}
	if slot := &a.seen[tsn%uint32(len(a.seen))]; *slot == tsn+1 {
		return true // sent again
	} else {
		*slot = tsn + 1
	}
	if flags&fragmentsFirst != 0 {
		if flags&fragmentsLast != 0 {
			return d.sctpMessage(f, data, stream, at)
		}
		if len(a.partial) >= maxStreamsOpen && a.partial[stream] == nil {
			clear(a.partial)
		}
		a.partial[stream] = &partial{tsn: tsn, buf: append([]byte(nil), data...)}
		return true
	}
	p := a.partial[stream]
	if p == nil || tsn != p.tsn+1 || len(p.buf)+len(data) > maxWhole {
		delete(a.partial, stream)
		return true
	}
	p.tsn, p.buf = tsn, append(p.buf, data...)
	if flags&fragmentsLast != 0 {
		delete(a.partial, stream)
		return d.sctpMessage(f, p.buf, stream, at)
	}
	return true
}

func (d *Decoder) sctpMessage(f flow, data []byte, stream uint16, at *time.Time) bool {
	if !begins(data) && d.sessions[f] == nil {
		return false
	}
	if s := d.session(f, f.src.Addr().String(), true); s != nil {
		s.message(d, data, stream, at)
	}
	return true
}
