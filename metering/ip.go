package metering

import "encoding/binary"

// maxExtensions bounds the walk along IPv6 extension headers; hosts see one
// to three.
const maxExtensions = 16

// ip reads an IP header whose version is told by its first nibble only.
func (h *Headers) ip(data []byte, off, length int) Verdict {
	if len(data) <= off {
		return Short
	}
	switch data[off] >> 4 {
	case 4:
		return h.ipv4(data, off, length)
	case 6:
		return h.ipv6(data, off, length)
	}
	return NonIP
}

// ipv4 reads an IPv4 header (RFC 791) at off.
func (h *Headers) ipv4(data []byte, off, length int) Verdict {
	if len(data) < off+20 {
		return Short
	}
	b := data[off:]
	if b[0]>>4 != 4 {
		return Malformed
	}
	head := int(b[0]&0x0f) * 4
	total := int(binary.BigEndian.Uint16(b[2:]))
	onWire := length - off
	if total == 0 {
		total = onWire // a segment before offload, too long for the field
	}
	if head < 20 || total < head {
		return Malformed
	}
	h.Version = 4
	h.TOS = b[1]
	h.Protocol = b[9]
	h.Octets = uint64(total)
	h.Src[1] = uint64(binary.BigEndian.Uint32(b[12:]))
	h.Dst[1] = uint64(binary.BigEndian.Uint32(b[16:]))
	if frag := binary.BigEndian.Uint16(b[6:]); frag&0x3fff != 0 {
		h.Fragment = true
		h.Later = frag&0x1fff != 0
		h.FragmentID = uint32(binary.BigEndian.Uint16(b[4:]))
		h.FragmentNext = b[9]
	}
	h.End = min(len(data), off+total)
	h.Truncated = total > onWire
	if len(b) < head {
		h.Truncated = true
		h.Upper = h.End
		return Metered
	}
	return h.upper(data, off+head)
}

// ipv6 reads an IPv6 header and its extension headers (RFC 8200) at off.
func (h *Headers) ipv6(data []byte, off, length int) Verdict {
	if len(data) < off+40 {
		return Short
	}
	b := data[off:]
	if b[0]>>4 != 6 {
		return Malformed
	}
	payload := int(binary.BigEndian.Uint16(b[4:]))
	onWire := length - off
	h.Version = 6
	h.TOS = b[0]<<4 | b[1]>>4
	h.Protocol = b[6]
	h.Src = [2]uint64{binary.BigEndian.Uint64(b[8:]), binary.BigEndian.Uint64(b[16:])}
	h.Dst = [2]uint64{binary.BigEndian.Uint64(b[24:]), binary.BigEndian.Uint64(b[32:])}
	h.Octets = uint64(40 + payload)
	if payload == 0 && h.Protocol != protoNone {
		// A jumbogram (its option below tells the length) or a segment
		// before offload.
		h.Octets = uint64(onWire)
		h.End = len(data)
	} else {
		h.End = min(len(data), off+40+payload)
		h.Truncated = 40+payload > onWire
	}
	return h.extensions(data, off+40, payload == 0)
}

// extensions walks from one extension header to the next up to the upper
// layer's. Where the capture ends first, Protocol is the last that was named.
func (h *Headers) extensions(data []byte, off int, jumbo bool) Verdict {
	for range maxExtensions {
		switch h.Protocol {
		case protoHopByHop, protoRouting, protoDestOpts, protoMobility, protoHIP, protoShim6, protoFragment, protoAH:
		default:
			return h.upper(data, off)
		}
		if h.Later {
			return h.upper(data, off) // the middle of some payload
		}
		if h.End < off+8 {
			h.Truncated = true
			h.Upper = h.End
			return Metered
		}
		b := data[off:h.End]
		size := (int(b[1]) + 1) * 8
		switch h.Protocol {
		case protoFragment:
			size = 8
			if frag := binary.BigEndian.Uint16(b[2:]); frag&0xfff9 != 0 { // else an atomic fragment (RFC 6946)
				h.Fragment = true
				h.Later = frag&0xfff8 != 0
				h.FragmentID = binary.BigEndian.Uint32(b[4:])
				h.FragmentNext = b[0]
			}
		case protoAH:
			size = (int(b[1]) + 2) * 4 // RFC 4302, Section 2.2
		case protoHopByHop:
			if jumbo {
				h.jumbogram(b[:min(size, len(b))], off)
			}
		}
		h.Protocol = b[0]
		off += size
		if off > h.End {
			h.Truncated = true
			h.Upper = h.End
			return Metered
		}
	}
	return Malformed
}

// jumbogram looks for the Jumbo Payload option (RFC 2675, Section 2) in a
// hop-by-hop header that stands right behind the IPv6 header.
func (h *Headers) jumbogram(b []byte, off int) {
	for i := 2; i+1 < len(b); {
		if b[i] == 0 { // Pad1
			i++
			continue
		}
		if b[i] == 0xc2 && b[i+1] == 4 && i+6 <= len(b) {
			if n := binary.BigEndian.Uint32(b[i+2:]); n > 0xffff {
				h.Octets = 40 + uint64(n)
				h.End = int(min(uint64(h.End), uint64(off)+uint64(n)))
			}
			return
		}
		i += 2 + int(b[i+1])
	}
}
