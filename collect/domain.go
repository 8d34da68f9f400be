package collect

import (
	"time"

	"ipfixsuite/templates"
)

// maxStreams bounds the SCTP streams of one domain that are told apart. What
// comes on others is decoded, its loss is not seen.
const maxStreams = 256

// A domain is a session's state of one Observation Domain.
type domain struct {
	store    *templates.Domain
	lastSeen time.Time
	streams  []stream
	last     int // of streams
}

// A stream is one SCTP stream; other transports have one (RFC 7011, Section
// 3.1).
type stream struct {
	id       uint16
	received uint64 // Data Records
	logged   uint64 // of the account, in the log
	lossy    bool   // some of its data may be lost (RFC 6526)
	convention
	sequence
}

func (d *domain) stream(id uint16, fromZero bool) *stream {
	if d.last < len(d.streams) && d.streams[d.last].id == id {
		return &d.streams[d.last]
	}
	for i := range d.streams {
		if d.streams[i].id == id {
			d.last = i
			return &d.streams[i]
		}
	}
	if len(d.streams) >= maxStreams {
		return nil
	}
	d.streams = append(d.streams, stream{id: id, sequence: sequence{fromZero: fromZero}})
	d.last = len(d.streams) - 1
	return &d.streams[d.last]
}

func (d *domain) sequence() (sum SequenceStats) {
	for i := range d.streams {
		sum.add(&d.streams[i].SequenceStats)
	}
	return sum
}

func (d *domain) settle() {
	for i := range d.streams {
		d.streams[i].settle()
	}
}
