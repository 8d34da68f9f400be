package metering

import "net/netip"

// EndReason says why a record was made (RFC 7012, flowEndReason).
type EndReason uint8

const (
	IdleTimeout     EndReason = 1
	ActiveTimeout   EndReason = 2
	EndOfFlow       EndReason = 3 // FIN both ways or a RST
	ForcedEnd       EndReason = 4 // the meter was flushed
	LackOfResources EndReason = 5 // evicted from a full table
)

// TCP control bits (RFC 7125) the meter acts on.
const (
	tcpFIN = 0x01
	tcpSYN = 0x02
	tcpRST = 0x04
	tcpACK = 0x10
)

// State that outlives a record stands in the bits of half.flags above the 12
// TCP control bits, to keep a Flow within two cache lines.
const (
	flagBits  = 0x0fff
	sawEnd    = 1 << 12 // this way sent FIN or RST
	flowEnded = 1 << 13 // of the forward half: the connection is over
)

// key is the Flow Key in words. In a biflow the two ends are in canonical
// order.
type key struct {
	src, dst [2]uint64
	ports    uint64 // source port, destination port, protocol, version
	where    uint64 // interface, tags
}

const (
	keyV6      = 1 << 8 // in ports, above the protocol
	keyICMP    = 1 << 9
	keyBack    = 1 << 10 // of ICMP: the asking end is the second
	keySrcBit  = 48
	keyDstBit  = 32
	whereVLAN  = 12
	whereTags  = 24 // two bits: 0, 1, 2 tags or more
	whereIface = 32
)

// half is what one way of a flow counts. Times are nanoseconds since 1970.
type half struct {
	packets, octets uint64
	first, last     int64
}

// Flow is an entry of the meter's table and, when the meter hands it out, a
// record: valid during the call, to be encoded by AppendRecord.
type Flow struct {
	key
	fwd, rev   half
	flags      [2]uint16 // TCP control bits and state, forward and reverse
	tos        [2]uint8  // of the first packet
	slot       uint16    // of the wheel; the top bits hold swapped and the reason
	next, prev uint32
}

const (
	slotMask    = wheelSlots - 1
	swapped     = 1 << 15 // the biflow's source is key.dst
	reasonShift = 10
	reasonMask  = 7 << reasonShift
)

// Reason says why the record was made.
func (f *Flow) Reason() EndReason { return EndReason(f.slot & reasonMask >> reasonShift) }

func (f *Flow) setReason(r EndReason) { f.slot = f.slot&^reasonMask | uint16(r)<<reasonShift }

// empty reports whether nothing was counted since the last record.
func (f *Flow) empty() bool { return f.fwd.packets|f.rev.packets == 0 }

// start is the time of the first packet of a flow that is not empty.
func (f *Flow) start() int64 {
	switch {
	case f.rev.packets == 0:
		return f.fwd.first
	case f.fwd.packets == 0:
		return f.rev.first
	}
	return min(f.fwd.first, f.rev.first)
}

// last is the time of the latest packet, also of an empty flow.
func (f *Flow) last() int64 { return max(f.fwd.last, f.rev.last) }

// Counters is what was counted in one direction.
type Counters struct {
	Packets, Octets uint64
	First, Last     int64  // nanoseconds since 1970
	TCPFlags        uint16 // tcpControlBits
	TOS             uint8
}

// Source is the record's source address: of a biflow, who began it.
func (f *Flow) Source() netip.Addr { a, _, _, _ := f.ends(); return addr(f.ports&keyV6 != 0, a) }

// Destination is the record's destination address.
func (f *Flow) Destination() netip.Addr { _, a, _, _ := f.ends(); return addr(f.ports&keyV6 != 0, a) }

// SourcePort is zero for protocols without ports and for ICMP.
func (f *Flow) SourcePort() uint16 { _, _, p, _ := f.ends(); return p }

// DestinationPort is type*256+code for ICMP.
func (f *Flow) DestinationPort() uint16 { _, _, _, p := f.ends(); return p }

// Protocol is the IP protocol (RFC 7012, protocolIdentifier).
func (f *Flow) Protocol() uint8 { return uint8(f.ports) }

// Interface is the ingress interface, 0 if unknown.
func (f *Flow) Interface() uint32 { return uint32(f.where >> whereIface) }

// VLAN is the identifier in the outermost tag.
func (f *Flow) VLAN() uint16 { return uint16(f.where & 0xfff) }

// InnerVLAN is the identifier in the second tag.
func (f *Flow) InnerVLAN() uint16 { return uint16(f.where >> whereVLAN & 0xfff) }

// Forward counts the packets from Source to Destination.
func (f *Flow) Forward() Counters { return f.counters(f.rev.packets != 0 && f.fwd.packets == 0) }

// Reverse counts the way back of a biflow.
func (f *Flow) Reverse() Counters { return f.counters(f.rev.packets == 0 || f.fwd.packets != 0) }

func (f *Flow) counters(reverse bool) Counters {
	h, i := &f.fwd, 0
	if reverse {
		h, i = &f.rev, 1
	}
	if h.packets == 0 {
		return Counters{}
	}
	return Counters{Packets: h.packets, Octets: h.octets, First: h.first, Last: h.last, TCPFlags: f.flags[i] & flagBits, TOS: f.tos[i]}
}

// ends tells source and destination of the record. A biflow of which only
// the way back was seen is a uniflow from the responder.
func (f *Flow) ends() (src, dst [2]uint64, sport, dport uint16) {
	src, dst = f.src, f.dst
	sport, dport = uint16(f.ports>>keySrcBit), uint16(f.ports>>keyDstBit)
	icmp := f.ports&keyICMP != 0
	back := f.fwd.packets == 0 && f.rev.packets != 0
	if back && icmp {
		dport = reply(f.ports&keyV6 != 0, dport)
	}
	if back != (f.slot&swapped != 0) {
		src, dst = dst, src
		if !icmp {
			sport, dport = dport, sport
		}
	}
	return src, dst, sport, dport
}

// request and reply map ICMP types of pairs (RFC 792; RFC 4443, Section 4)
// so that both ways of a ping are one biflow. Types without a pair stay.
func request(v6 bool, typeCode uint16) (uint16, bool) {
	switch {
	case v6 && typeCode>>8 == 129, !v6 && (typeCode>>8 == 14 || typeCode>>8 == 16 || typeCode>>8 == 18):
		return typeCode - 0x100, true
	case !v6 && typeCode>>8 == 0:
		return typeCode | 0x800, true
	}
	return typeCode, false
}

func reply(v6 bool, typeCode uint16) uint16 {
	switch {
	case v6 && typeCode>>8 == 128, !v6 && (typeCode>>8 == 13 || typeCode>>8 == 15 || typeCode>>8 == 17):
		return typeCode + 0x100
	case !v6 && typeCode>>8 == 8:
		return typeCode & 0xff
	}
	return typeCode
}
