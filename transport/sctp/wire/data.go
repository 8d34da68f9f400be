package wire

import "encoding/binary"

// DataHeaderLen is what stands before a DATA chunk's user data, the chunk
// header included:
//
//	+-------+-------+---------------+
//	| 0     | ..IUBE| length        |
//	+-------+-------+---------------+
//	| TSN                           |
//	+---------------+---------------+
//	| stream        | SSN           |
//	+---------------+---------------+
//	| payload protocol identifier   |
//	+-------------------------------+
const DataHeaderLen = ChunkHeaderLen + dataFixed

const dataFixed = 12

// Data is a view of a DATA chunk (RFC 9260, Section 3.3.1).
type Data struct {
	Flags       byte
	TSN         uint32
	Stream, SSN uint16
	PPID        uint32
	User        []byte
}

// ParseData reads a DATA chunk.
func ParseData(c *Chunk) (d Data, ok bool) {
	if len(c.Value) < dataFixed {
		return d, false
	}
	d.Flags = c.Flags
	d.TSN = binary.BigEndian.Uint32(c.Value)
	d.Stream = binary.BigEndian.Uint16(c.Value[4:])
	d.SSN = binary.BigEndian.Uint16(c.Value[6:])
	d.PPID = binary.BigEndian.Uint32(c.Value[8:])
	d.User = c.Value[dataFixed:]
	return d, true
}

// Append writes the chunk with its padding.
func (d *Data) Append(b []byte) []byte {
	b = append(b, byte(DATA), d.Flags)
	b = binary.BigEndian.AppendUint16(b, uint16(DataHeaderLen+len(d.User)))
	b = binary.BigEndian.AppendUint32(b, d.TSN)
	b = binary.BigEndian.AppendUint16(b, d.Stream)
	b = binary.BigEndian.AppendUint16(b, d.SSN)
	b = binary.BigEndian.AppendUint32(b, d.PPID)
	return Pad(append(b, d.User...))
}

// SACK is a view of a SACK chunk (RFC 9260, Section 3.3.4).
type SACK struct {
	Cumulative uint32
	Window     uint32
	gaps       []byte
}

const sackFixed = 12

// ParseSACK reads a SACK whose length is what its counts make it.
func ParseSACK(value []byte) (s SACK, ok bool) {
	if len(value) < sackFixed {
		return s, false
	}
	s.Cumulative = binary.BigEndian.Uint32(value)
	s.Window = binary.BigEndian.Uint32(value[4:])
	gaps := 4 * int(binary.BigEndian.Uint16(value[8:]))
	dups := 4 * int(binary.BigEndian.Uint16(value[10:]))
	if len(value) != sackFixed+gaps+dups {
		return s, false
	}
	s.gaps = value[sackFixed : sackFixed+gaps]
	return s, true
}

// Gaps is the number of Gap Ack Blocks.
func (s *SACK) Gaps() int { return len(s.gaps) / 4 }

// Gap is block i, as offsets from the Cumulative TSN.
func (s *SACK) Gap(i int) (start, end uint16) {
	return binary.BigEndian.Uint16(s.gaps[4*i:]), binary.BigEndian.Uint16(s.gaps[4*i+2:])
}

// Forward is a view of a FORWARD TSN chunk (RFC 3758, Section 3.2).
type Forward struct {
	Cumulative uint32
	streams    []byte
}

// ParseForward reads a FORWARD TSN of whole stream entries.
func ParseForward(value []byte) (f Forward, ok bool) {
	if len(value) < 4 || len(value)%4 != 0 {
		return f, false
	}
	return Forward{binary.BigEndian.Uint32(value), value[4:]}, true
}

// Streams is the number of entries.
func (f *Forward) Streams() int { return len(f.streams) / 4 }

// Stream is entry i: a stream and the last SSN that is given up on it.
func (f *Forward) Stream(i int) (stream, ssn uint16) {
	return binary.BigEndian.Uint16(f.streams[4*i:]), binary.BigEndian.Uint16(f.streams[4*i+2:])
}

// ShutdownTSN reads the cumulative acknowledgement of a SHUTDOWN (RFC 9260,
// Section 3.3.8).
func ShutdownTSN(value []byte) (tsn uint32, ok bool) {
	if len(value) != 4 {
		return 0, false
	}
	return binary.BigEndian.Uint32(value), true
}
