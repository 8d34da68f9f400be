package metering

import "encoding/binary"

// EtherTypes.
const (
	etherIPv4     = 0x0800
	etherVLAN     = 0x8100
	etherIPv6     = 0x86dd
	etherMPLS     = 0x8847
	etherMPLSMult = 0x8848
	etherPPPoE    = 0x8864
	etherQinQ     = 0x88a8 // 802.1ad
	etherQinQOld  = 0x9100
	etherQinQOld2 = 0x9200
	ether8023Max  = 1500 // at most: a length, not a type
)

const (
	// maxTags bounds a stack of VLAN tags; two are standard, some carriers
	// use three.
	maxTags = 8
	// maxLabels bounds an MPLS label stack.
	maxLabels = 16
)

// Parse reads a packet: data is what was captured, length what was on the
// wire (at least len(data), else len(data) is taken). It never keeps data.
func (h *Headers) Parse(link LinkType, data []byte, length int) Verdict {
	*h = Headers{}
	length = max(length, len(data))
	switch link {
	case LinkEthernet:
		if len(data) < 14 {
			return Short
		}
		return h.ether(binary.BigEndian.Uint16(data[12:]), data, 14, length)
	case LinkRaw, linkRawBSD, linkRawOpen:
		return h.ip(data, 0, length)
	case LinkIPv4:
		return h.ipv4(data, 0, length)
	case LinkIPv6:
		return h.ipv6(data, 0, length)
	case LinkLinuxSLL:
		if len(data) < 16 {
			return Short
		}
		return h.ether(binary.BigEndian.Uint16(data[14:]), data, 16, length)
	case LinkLinuxSLL2:
		if len(data) < 20 {
			return Short
		}
		v := h.ether(binary.BigEndian.Uint16(data), data, 20, length)
		h.Interface = binary.BigEndian.Uint32(data[4:])
		return v
	case LinkNull, LinkLoop:
		return h.loop(data, length)
	case LinkPPP, LinkPPPHDLC:
		off := 0
		if len(data) >= 2 && data[0] == 0xff && data[1] == 0x03 {
			off = 2 // address and control of HDLC-like framing
		}
		return h.ppp(data, off, length)
	case LinkCiscoHDLC:
		if len(data) < 4 {
			return Short
		}
		return h.ether(binary.BigEndian.Uint16(data[2:]), data, 4, length)
	}
	return UnknownLink
}

// ether goes on behind an EtherType: VLAN tags, then the payload at off.
func (h *Headers) ether(typ uint16, data []byte, off, length int) Verdict {
	for range maxTags {
		switch typ {
		case etherIPv4:
			return h.ipv4(data, off, length)
		case etherIPv6:
			return h.ipv6(data, off, length)
		case etherVLAN, etherQinQ, etherQinQOld, etherQinQOld2:
			if len(data) < off+4 {
				return Short
			}
			id := binary.BigEndian.Uint16(data[off:]) & 0x0fff
			switch h.Tags {
			case 0:
				h.VLAN = id
			case 1:
				h.InnerVLAN = id
			}
			h.Tags++
			typ = binary.BigEndian.Uint16(data[off+2:])
			off += 4
		case etherMPLS, etherMPLSMult:
			return h.mpls(data, off, length)
		case etherPPPoE:
			// RFC 2516, Section 4: version, type, code, session, length.
			if len(data) < off+6 {
				return Short
			}
			return h.ppp(data, off+6, length)
		default:
			if typ > ether8023Max {
				return NonIP
			}
			// 802.3: a length stands here; an EtherType may follow in SNAP.
			if len(data) < off+8 {
				return NonIP
			}
			if [6]byte(data[off:]) != [6]byte{0xaa, 0xaa, 0x03, 0, 0, 0} {
				return NonIP
			}
			typ = binary.BigEndian.Uint16(data[off+6:])
			off += 8
			if typ <= ether8023Max {
				return NonIP
			}
		}
	}
	return Malformed
}

// mpls skips a label stack (RFC 3032, Section 2.1); what follows the bottom
// label says by its first nibble what it is (RFC 4928).
func (h *Headers) mpls(data []byte, off, length int) Verdict {
	for range maxLabels {
		if len(data) < off+4 {
			return Short
		}
		bottom := data[off+2]&1 != 0
		off += 4
		if bottom {
			return h.ip(data, off, length)
		}
	}
	return Malformed
}

func (h *Headers) ppp(data []byte, off, length int) Verdict {
	if len(data) < off+1 {
		return Short
	}
	proto := uint16(data[off])
	if proto&1 != 0 {
		off++ // protocol field compression (RFC 1661, Section 6.5)
	} else {
		if len(data) < off+2 {
			return Short
		}
		proto = binary.BigEndian.Uint16(data[off:])
		off += 2
	}
	switch proto {
	case 0x0021:
		return h.ipv4(data, off, length)
	case 0x0057:
		return h.ipv6(data, off, length)
	case 0x0281, 0x0283:
		return h.mpls(data, off, length)
	}
	return NonIP
}

// loop reads the address family of BSD loopback captures. Its byte order is
// the writer's; families are small, so one order makes sense. AF_INET is 2
// everywhere, AF_INET6 differs.
func (h *Headers) loop(data []byte, length int) Verdict {
	if len(data) < 4 {
		return Short
	}
	family := binary.BigEndian.Uint32(data)
	if family > 0xffff {
		family = binary.LittleEndian.Uint32(data)
	}
	switch family {
	case 2:
		return h.ipv4(data, 4, length)
	case 10, 24, 28, 30: // Linux, NetBSD and OpenBSD, FreeBSD, Darwin
		return h.ipv6(data, 4, length)
	}
	return NonIP
}
