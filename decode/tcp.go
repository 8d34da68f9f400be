package decode

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"ipfixsuite/ipfix"
)

const (
	// maxStreams bounds the TCP connections, by direction, that are followed.
	maxStreams = 4096
	// maxAhead bounds the octets of a stream that wait for those before.
	maxAhead = 1 << 20

	flagFIN = 0x01
	flagSYN = 0x02
	flagRST = 0x04
)

// streams are the TCP connections of a capture, one direction each.
type streams map[flow]*stream

// A stream puts segments in order and cuts messages out of them (RFC 7011,
// Section 10.4.3). It begins with a SYN or, if the capture began later, with
// a segment that begins with a message.
type stream struct {
	next    uint32 // sequence number of the octet that comes next
	started bool
	lost    bool // the beginning of a message has to be found
	foreign bool // not IPFIX
	buf     []byte
	ahead   []segment
	waiting int // octets of those
}

type segment struct {
	seq  uint32
	data []byte
}

// tcp follows a segment and reports whether its stream is IPFIX.
func (d *Decoder) tcp(f flow, b []byte, at *time.Time) bool {
	if len(b) < 20 {
		return false
	}
	head := int(b[12]>>4) * 4
	if head < 20 || head > len(b) {
		return false
	}
	seq, flags, data := binary.BigEndian.Uint32(b[4:]), b[13], b[head:]
	if d.streams == nil {
		d.streams = streams{}
	}
	s := d.streams[f]
	if s == nil || flags&flagSYN != 0 {
		if s == nil && len(d.streams) >= maxStreams {
			return false
		}
		if s == nil && flags&flagSYN == 0 && len(data) == 0 {
			return false
		}
		s = &stream{lost: flags&flagSYN == 0}
		d.streams[f] = s
	}
	if flags&flagSYN != 0 {
		s.next, s.started = seq+1, true
		seq++
	}
	if !s.foreign && len(data) > 0 {
		s.segment(d, f, seq, data, at)
	}
	ours := !s.foreign && s.started
	if flags&(flagFIN|flagRST) != 0 && len(s.ahead) == 0 {
		if len(s.buf) > 0 && !s.foreign && d.sessions[f] != nil {
			d.stats.Malformed++
			d.problem(fmt.Errorf("stream from %v ends with %d octets of a message", f.src, len(s.buf)))
		}
		delete(d.streams, f)
	}
	return ours && len(data) > 0
}

// segment takes data in whatever order it comes.
func (s *stream) segment(d *Decoder, f flow, seq uint32, data []byte, at *time.Time) {
	if !s.started {
		if !begins(data) {
			return
		}
		s.next, s.started, s.lost = seq, true, false
	}
	if int32(seq-s.next) > 0 {
		s.ahead = append(s.ahead, segment{seq, slices.Clone(data)})
		s.waiting += len(data)
		if s.waiting <= maxAhead {
			return
		}
		// What lies between is not in the capture.
		first := slices.MinFunc(s.ahead, func(a, b segment) int { return int(int32(a.seq - b.seq)) })
		if d.sessions[f] != nil {
			d.problem(fmt.Errorf("stream from %v: %d octets are missing", f.src, first.seq-s.next))
		}
		s.next, s.buf, s.lost = first.seq, nil, true
	} else if old := int(s.next - seq); old < len(data) {
		s.take(d, f, data[old:], at)
	}
	for again := true; again && len(s.ahead) > 0; {
		again = false
		for i, g := range s.ahead {
			if int32(g.seq-s.next) > 0 {
				continue
			}
			s.ahead = slices.Delete(s.ahead, i, i+1)
			s.waiting -= len(g.data)
			if old := int(s.next - g.seq); old < len(g.data) {
				s.take(d, f, g.data[old:], at)
			}
			again = true
			break
		}
	}
}

// begins tells whether a message starts at b, as far as b shows.
func begins(b []byte) bool {
	return len(b) >= 4 && binary.BigEndian.Uint16(b) == ipfix.Version && binary.BigEndian.Uint16(b[2:]) >= ipfix.HeaderLen
}

// take appends octets in order and decodes the messages they complete.
func (s *stream) take(d *Decoder, f flow, data []byte, at *time.Time) {
	s.next += uint32(len(data))
	if s.lost {
		if !begins(data) {
			return
		}
		s.lost = false
	}
	s.buf = append(s.buf, data...)
	for len(s.buf) >= 4 && !s.foreign {
		if !begins(s.buf) {
			if d.sessions[f] == nil {
				// Nothing of it was IPFIX: another protocol.
				s.foreign, s.buf, s.ahead = true, nil, nil
				return
			}
			d.stats.Malformed++
			d.problem(fmt.Errorf("stream from %v: %w where a message should start", f.src, errNoHeader))
			s.buf, s.lost = nil, true
			return
		}
		n := int(binary.BigEndian.Uint16(s.buf[2:]))
		if len(s.buf) < n {
			return
		}
		if q := d.session(f, f.src.Addr().String(), true); q != nil {
			q.message(d, s.buf[:n], 0, at)
		}
		s.buf = append(s.buf[:0], s.buf[n:]...)
	}
}

var errNoHeader = errors.New("no IPFIX message header")
