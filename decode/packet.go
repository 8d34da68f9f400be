package decode

import (
	"encoding/binary"
	"net/netip"
	"time"

	"ipfixsuite/capture"
	"ipfixsuite/ipfix"
	"ipfixsuite/metering"
	"ipfixsuite/netflow"
)

const (
	protoTCP  = 6
	protoUDP  = 17
	protoSCTP = 132

	udpHeader = 8
)

// usual are the ports at which datagrams are taken for what they claim to be
// without a second look.
func usual(port uint16) bool {
	switch port {
	case 4739, // IPFIX, as IANA has it
		2055, 2056, 9555, 9995, 9996: // NetFlow, as vendors have it
		return true
	}
	return false
}

// packet decodes one packet of a capture.
func (d *Decoder) packet(p *capture.Packet) {
	var h metering.Headers
	if h.Parse(metering.LinkType(p.Link), p.Data, p.Length) != metering.Metered {
		d.stats.Foreign++
		return
	}
	upper := p.Data[h.Upper:h.End]
	at := time.Unix(0, p.Time)
	f := flow{src: netip.AddrPortFrom(h.Source(), h.SrcPort), dst: netip.AddrPortFrom(h.Destination(), h.DstPort), proto: h.Protocol}
	if h.Fragment {
		proto, whole := d.frags.add(p.Data, &h)
		if len(whole) < 4 {
			return // counted when it is whole, or never
		}
		upper, f.proto = whole, proto
		f.src = netip.AddrPortFrom(f.src.Addr(), binary.BigEndian.Uint16(whole))
		f.dst = netip.AddrPortFrom(f.dst.Addr(), binary.BigEndian.Uint16(whole[2:]))
	}
	ours := false
	switch f.proto {
	case protoUDP:
		ours = d.udp(f, upper, &at)
	case protoTCP:
		ours = d.tcp(f, upper, &at)
	case protoSCTP:
		ours = d.sctp(f, upper, &at)
	}
	if !ours {
		d.stats.Foreign++
	}
}

// udp decodes a datagram and reports whether it was IPFIX or NetFlow.
func (d *Decoder) udp(f flow, b []byte, at *time.Time) bool {
	if len(b) < udpHeader {
		return false
	}
	said := int(binary.BigEndian.Uint16(b[4:])) // 0: a segment before offload
	payload := b[udpHeader:]
	if said > udpHeader && said-udpHeader < len(payload) {
		payload = payload[:said-udpHeader]
	}
	if len(payload) < 2 {
		return false
	}
	known := usual(f.src.Port()) || usual(f.dst.Port())
	if !known {
		s := d.sessions[f]
		known = s != nil && s.sure
	}
	switch version := binary.BigEndian.Uint16(payload); {
	case version == ipfix.Version && (known || plausible(payload, said-udpHeader)):
		if s := d.session(f, f.src.Addr().String(), false); s != nil {
			s.message(d, payload, 0, at)
		}
		return true
	case netflow.Version(payload) != 0 && (known || netflow.Plausible(payload)):
		if s := d.session(f, f.src.Addr().String(), false); s != nil {
			s.netflow(d, payload)
		}
		return true
	}
	return false
}

// plausible tells whether b looks like an IPFIX message: its length is that of
// the payload on the wire, and its first set is possible.
func plausible(b []byte, wire int) bool {
	h, _ := ipfix.ParseHeader(b)
	if int(h.Length) != max(wire, len(b)) {
		return false
	}
	if int(h.Length) == ipfix.HeaderLen {
		return true
	}
	if len(b) < ipfix.HeaderLen+ipfix.SetHeaderLen {
		return false
	}
	id, n := binary.BigEndian.Uint16(b[16:]), binary.BigEndian.Uint16(b[18:])
	return (id == ipfix.TemplateSetID || id == ipfix.OptionsTemplateSetID || id >= ipfix.MinDataSetID) &&
		n >= ipfix.SetHeaderLen && n <= h.Length-ipfix.HeaderLen
}
