package wire

import (
	"encoding/binary"
	"hash/crc32"
)

const (
	// HeaderLen is the common header's length.
	HeaderLen = 12
	// ChunkHeaderLen is that of a chunk's type, flags and length.
	ChunkHeaderLen = 4
	// paramHeaderLen is that of a parameter's or cause's type and length.
	paramHeaderLen = 4
)

// Header is a packet's common header without its checksum.
type Header struct {
	Src, Dst uint16
	Tag      uint32 // the receiver's, unless a T bit reflects the sender's
}

// ParseHeader reads the common header; ok is false when b is too short for it
// and one chunk.
func ParseHeader(b []byte) (h Header, ok bool) {
	if len(b) < HeaderLen+ChunkHeaderLen {
		return h, false
	}
	h.Src = binary.BigEndian.Uint16(b)
	h.Dst = binary.BigEndian.Uint16(b[2:])
	h.Tag = binary.BigEndian.Uint32(b[4:])
	return h, true
}

// Append writes the header with a checksum of zero.
func (h Header) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, h.Src)
	b = binary.BigEndian.AppendUint16(b, h.Dst)
	b = binary.BigEndian.AppendUint32(b, h.Tag)
	return append(b, 0, 0, 0, 0)
}

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	fourZeros  [4]byte
)

// checksum is the CRC32c over the packet with its checksum field zero (RFC
// 9260, Section 6.8, Appendix A).
func checksum(b []byte) uint32 {
	sum := crc32.Update(0, castagnoli, b[:8])
	sum = crc32.Update(sum, castagnoli, fourZeros[:])
	return crc32.Update(sum, castagnoli, b[HeaderLen:])
}

// ChecksumOK tells whether the checksum of a packet of at least HeaderLen
// octets is right.
func ChecksumOK(b []byte) bool {
	return binary.LittleEndian.Uint32(b[8:]) == checksum(b)
}

// SetChecksum fills in the checksum of a packet of at least HeaderLen octets.
func SetChecksum(b []byte) {
	binary.LittleEndian.PutUint32(b[8:], checksum(b))
}

// ClearChecksum sets the checksum to zero.
func ClearChecksum(b []byte) { clear(b[8:HeaderLen]) }

// ChunkType is the first octet of a chunk. Its two high bits say what a
// receiver does that does not know it (RFC 9260, Section 3.2).
type ChunkType uint8

// Chunk types (RFC 9260, Section 3.2; RFC 4895, Section 5; RFC 3758, Section
// 3.2).
const (
	DATA             ChunkType = 0
	INIT             ChunkType = 1
	InitAck          ChunkType = 2
	SACKChunk        ChunkType = 3
	Heartbeat        ChunkType = 4
	HeartbeatAck     ChunkType = 5
	Abort            ChunkType = 6
	Shutdown         ChunkType = 7
	ShutdownAck      ChunkType = 8
	ErrorChunk       ChunkType = 9
	CookieEcho       ChunkType = 10
	CookieAck        ChunkType = 11
	ShutdownComplete ChunkType = 14
	Auth             ChunkType = 15
	ForwardTSN       ChunkType = 0xC0
)

// Skip tells whether an unknown chunk is passed over; else the rest of the
// packet is discarded with it.
func (t ChunkType) Skip() bool { return t&0x80 != 0 }

// Report tells whether an unknown chunk is reported to its sender.
func (t ChunkType) Report() bool { return t&0x40 != 0 }

// Chunk flags.
const (
	FlagT byte = 1 // ABORT, SHUTDOWN COMPLETE: the tag is reflected

	FlagEnd       byte = 1 // DATA: last fragment
	FlagBegin     byte = 2 // DATA: first fragment
	FlagUnordered byte = 4
	FlagImmediate byte = 8
)

// Chunk is a view of one chunk.
type Chunk struct {
	Type  ChunkType
	Flags byte
	Value []byte // without header and padding
	// Raw is header, value and padding; the padding may be missing at the end
	// of a packet.
	Raw []byte
}

// Chunks walks through the chunks of a packet.
type Chunks struct {
	rest []byte
	bad  bool
}

// WalkChunks begins behind a packet's common header.
func WalkChunks(packet []byte) Chunks { return Chunks{rest: packet[min(HeaderLen, len(packet)):]} }

// Next fills in the next chunk; false at the end or where the rest is no
// chunk. A last chunk without its padding is understood.
func (w *Chunks) Next(c *Chunk) bool {
	if len(w.rest) == 0 {
		return false
	}
	if len(w.rest) < ChunkHeaderLen {
		w.bad = true
		return false
	}
	n := int(binary.BigEndian.Uint16(w.rest[2:]))
	if n < ChunkHeaderLen || n > len(w.rest) {
		w.bad = true
		return false
	}
	padded := min(Padded(n), len(w.rest))
	c.Type, c.Flags = ChunkType(w.rest[0]), w.rest[1]
	c.Value, c.Raw = w.rest[ChunkHeaderLen:n], w.rest[:padded]
	w.rest = w.rest[padded:]
	return true
}

// Malformed tells whether Next ended at something that is no chunk.
func (w *Chunks) Malformed() bool { return w.bad }

// Rest is what Next has not yet walked through.
func (w *Chunks) Rest() []byte { return w.rest }

// WellFormed tells whether a packet is a header and whole chunks, at least one.
func WellFormed(packet []byte) bool {
	if len(packet) < HeaderLen+ChunkHeaderLen {
		return false
	}
	w := WalkChunks(packet)
	var c Chunk
	for w.Next(&c) {
	}
	return !w.bad
}

// FirstType is the type of a packet's first chunk; the packet has one.
func FirstType(packet []byte) ChunkType { return ChunkType(packet[HeaderLen]) }

// Padded rounds up to a multiple of four.
func Padded(n int) int { return (n + 3) &^ 3 }

// AppendChunk writes a chunk with its padding.
func AppendChunk(b []byte, t ChunkType, flags byte, value []byte) []byte {
	b = append(b, byte(t), flags)
	b = binary.BigEndian.AppendUint16(b, uint16(ChunkHeaderLen+len(value)))
	return Pad(append(b, value...))
}

// AppendView writes a parsed chunk anew, with other flags and its padding
// zero.
func AppendView(b []byte, c *Chunk, flags byte) []byte {
	return AppendChunk(b, c.Type, flags, c.Value)
}

// Pad appends zeros up to a multiple of four; b begins with a packet or at
// another such multiple.
func Pad(b []byte) []byte {
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

// BeginChunk writes the header of a chunk whose value is appended next.
func BeginChunk(b []byte, t ChunkType, flags byte) []byte {
	return append(b, byte(t), flags, 0, 0)
}

// EndChunk fills in the length of the chunk that begins at offset at and ends
// with b, and pads it.
func EndChunk(b []byte, at int) []byte {
	binary.BigEndian.PutUint16(b[at+2:], uint16(len(b)-at))
	return Pad(b)
}
