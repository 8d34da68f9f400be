package decode

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"ipfixsuite/metering"
)

const (
	// maxFragmented bounds the datagrams that lack fragments; the oldest goes
	// for a new one.
	maxFragmented = 256
	// maxPieces bounds the fragments of one: 64 KiB in pieces of 68 octets
	// would be more, but nobody's exporter sends those.
	maxPieces = 128
	maxWhole  = 65535
)

// fragments puts IP datagrams together again (RFC 791, Section 3.2; RFC 8200,
// Section 4.5). Overlapping fragments make no datagram.
type fragments struct {
	waiting map[fragmentKey]*pieces
	order   []fragmentKey
}

type fragmentKey struct {
	src, dst netip.Addr
	id       uint32
	proto    uint8
}

type pieces struct {
	parts []piece
	total int // octets of the whole; 0: the last has not come
}

type piece struct {
	offset int
	data   []byte
}

// add takes a fragment and returns the payload of the datagram that it
// completes, if it does.
func (f *fragments) add(packet []byte, h *metering.Headers) (proto uint8, whole []byte) {
	offset, more, ok := position(packet, h)
	if !ok || h.Truncated {
		return 0, nil
	}
	data := packet[h.Upper:h.End]
	k := fragmentKey{h.Source(), h.Destination(), h.FragmentID, h.FragmentNext}
	p := f.waiting[k]
	if p == nil {
		if len(f.order) >= maxFragmented {
			delete(f.waiting, f.order[0])
			f.order = slices.Delete(f.order, 0, 1)
		}
		if f.waiting == nil {
			f.waiting = map[fragmentKey]*pieces{}
		}
		p = &pieces{}
		f.waiting[k] = p
		f.order = append(f.order, k)
	}
	if len(p.parts) >= maxPieces || offset+len(data) > maxWhole {
		return 0, nil
	}
	p.parts = append(p.parts, piece{offset, slices.Clone(data)})
	if !more {
		p.total = offset + len(data)
	}
	whole = p.join()
	if whole != nil {
		delete(f.waiting, k)
		f.order = slices.DeleteFunc(f.order, func(o fragmentKey) bool { return o == k })
	}
	return h.FragmentNext, whole
}

// join returns the datagram if its fragments are all there, each once.
func (p *pieces) join() []byte {
	if p.total == 0 {
		return nil
	}
	slices.SortStableFunc(p.parts, func(a, b piece) int { return a.offset - b.offset })
	whole := make([]byte, 0, p.total)
	for _, part := range p.parts {
		switch {
		case part.offset+len(part.data) <= len(whole):
			continue // a repetition
		case part.offset != len(whole):
			return nil
		}
		whole = append(whole, part.data...)
	}
	if len(whole) != p.total {
		return nil
	}
	return whole
}

// position is where in its datagram a fragment's payload belongs, in octets.
func position(packet []byte, h *metering.Headers) (offset int, more, ok bool) {
	if h.Version == 6 {
		// The fragment header stands right in front, as long as no extension
		// header follows it.
		at := h.Upper - 8
		if at < 0 || h.Upper > len(packet) || binary.BigEndian.Uint32(packet[at+4:]) != h.FragmentID {
			return 0, false, false
		}
		v := binary.BigEndian.Uint16(packet[at+2:])
		return int(v &^ 7), v&1 != 0, true
	}
	// The header's start follows from its length, which it says itself.
	for words := 5; words <= 15; words++ {
		at := h.Upper - 4*words
		if at < 0 {
			break
		}
		b := packet[at:]
		if b[0] == 0x40|byte(words) && uint32(binary.BigEndian.Uint16(b[4:])) == h.FragmentID &&
			binary.BigEndian.Uint32(b[12:]) == uint32(h.Src[1]) && binary.BigEndian.Uint32(b[16:]) == uint32(h.Dst[1]) {
			v := binary.BigEndian.Uint16(b[6:])
			return int(v&0x1FFF) * 8, v&0x2000 != 0, true
		}
	}
	return 0, false, false
}
