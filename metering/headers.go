package metering

import (
	"encoding/binary"
	"net/netip"
)

// LinkType is a link layer by its number in capture files (LINKTYPE_ values
// of the pcap and pcapng formats).
type LinkType uint16

// The link layers Headers reads.
const (
	LinkNull      LinkType = 0   // BSD loopback, address family in the byte order of the capturing host
	LinkEthernet  LinkType = 1   // Ethernet II, 802.3 with SNAP, VLAN tags, MPLS, PPPoE
	LinkPPP       LinkType = 9   // PPP, with or without HDLC framing
	LinkRaw       LinkType = 101 // an IPv4 or IPv6 header
	LinkCiscoHDLC LinkType = 104 // Cisco HDLC
	LinkLoop      LinkType = 108 // OpenBSD loopback, address family in network byte order
	LinkLinuxSLL  LinkType = 113 // Linux "cooked" v1
	LinkPPPHDLC   LinkType = 50  // PPP in HDLC-like framing
	LinkIPv4      LinkType = 228
	LinkIPv6      LinkType = 229
	LinkLinuxSLL2 LinkType = 276 // Linux "cooked" v2, names the interface
	linkRawBSD    LinkType = 12  // DLT_RAW as some writers store it
	linkRawOpen   LinkType = 14  // DLT_RAW of OpenBSD
)

// Verdict says what Headers made of a packet.
type Verdict uint8

const (
	Metered     Verdict = iota // an IP packet, addresses and length known
	NonIP                      // ARP, LLC, a pseudowire…
	Malformed                  // header fields that contradict each other
	Short                      // cut off before the IP header's end
	UnknownLink                // a link layer we do not read
	verdicts
)

// String names the verdict as counters do.
func (v Verdict) String() string {
	switch v {
	case Metered:
		return "metered"
	case NonIP:
		return "non-ip"
	case Malformed:
		return "malformed"
	case Short:
		return "short"
	case UnknownLink:
		return "unknown-link"
	}
	return "unknown"
}

// IP protocols whose ports, types or chains we know.
const (
	protoHopByHop = 0
	protoICMP     = 1
	protoTCP      = 6
	protoUDP      = 17
	protoDCCP     = 33
	protoRouting  = 43
	protoFragment = 44
	protoAH       = 51
	protoICMPv6   = 58
	protoNone     = 59
	protoDestOpts = 60
	protoSCTP     = 132
	protoMobility = 135
	protoUDPLite  = 136
	protoHIP      = 139
	protoShim6    = 140
)

// Headers is what one packet says about its flow. The zero value is ready;
// Parse overwrites all of it.
type Headers struct {
	// Src and Dst are the addresses as big-endian numbers; an IPv4 address
	// is the low half of [1].
	Src, Dst [2]uint64
	// Octets is the IP packet's length: header and payload, without the
	// link layer and its padding (RFC 7012, octetDeltaCount).
	Octets uint64
	// Interface is the number a cooked v2 header names, else 0.
	Interface uint32
	// VLAN and InnerVLAN are the outermost and the second tag's VLAN
	// identifiers; Tags tells how many tags there were.
	VLAN, InnerVLAN uint16
	Tags            uint8
	// Version is 4 or 6.
	Version uint8
	// Protocol is the upper layer's: for IPv6 the last next header after
	// the extension headers (RFC 7012, protocolIdentifier).
	Protocol uint8
	// TOS is the IPv4 type of service or the IPv6 traffic class.
	TOS uint8
	// SrcPort and DstPort are zero if the protocol has none or the header
	// was not captured. For ICMP DstPort holds type*256+code.
	SrcPort, DstPort uint16
	// TCPFlags are the lower 12 bits of octets 12 and 13 of the TCP header
	// (RFC 7125).
	TCPFlags uint16
	// Upper is the offset of the upper-layer header in the data, End where
	// the IP packet's captured octets end (padding begins).
	Upper, End int
	// FragmentID and FragmentNext (the protocol, or the next header of the
	// IPv6 fragment header) identify the datagram a fragment belongs to.
	FragmentID   uint32
	FragmentNext uint8
	// Fragment is set on every fragment, Later on all but the first.
	Fragment, Later bool
	// Truncated is set if the capture lacks octets that were looked for.
	Truncated bool
}

// Source is the source address.
func (h *Headers) Source() netip.Addr { return addr(h.Version == 6, h.Src) }

// Destination is the destination address.
func (h *Headers) Destination() netip.Addr { return addr(h.Version == 6, h.Dst) }

func addr(v6 bool, a [2]uint64) netip.Addr {
	if !v6 {
		return netip.AddrFrom4([4]byte{byte(a[1] >> 24), byte(a[1] >> 16), byte(a[1] >> 8), byte(a[1])})
	}
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], a[0])
	binary.BigEndian.PutUint64(b[8:], a[1])
	return netip.AddrFrom16(b)
}

// upper reads what the flow needs of the upper-layer header at off.
func (h *Headers) upper(data []byte, off int) Verdict {
	h.Upper = off
	if h.Later {
		return Metered // the octets there are not a header
	}
	b := data[off:h.End]
	switch h.Protocol {
	case protoTCP:
		if len(b) < 14 {
			h.Truncated = true
			if len(b) < 4 {
				return Metered
			}
		} else {
			h.TCPFlags = uint16(b[12]&0x0f)<<8 | uint16(b[13])
		}
		h.SrcPort, h.DstPort = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	case protoUDP, protoSCTP, protoDCCP, protoUDPLite:
		if len(b) < 4 {
			h.Truncated = true
			return Metered
		}
		h.SrcPort, h.DstPort = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	case protoICMP, protoICMPv6:
		if !h.ICMP() {
			return Metered
		}
		if len(b) < 2 {
			h.Truncated = true
			return Metered
		}
		h.DstPort = binary.BigEndian.Uint16(b)
	}
	return Metered
}

// ICMP reports whether DstPort is a type and code: ICMP within IPv4 or ICMPv6
// within IPv6, not the one within the other.
func (h *Headers) ICMP() bool {
	return h.Version == 4 && h.Protocol == protoICMP || h.Version == 6 && h.Protocol == protoICMPv6
}
