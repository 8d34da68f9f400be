package metering

import (
	"encoding/binary"

	"ipfixsuite/ie"
	"ipfixsuite/ipfix"
)

// TemplateKind tells the shape of a flow's record; each has a Template.
type TemplateKind uint8

// A kind is a sum of these. Without ICMP a record has ports and TCP control
// bits (zero for protocols without).
const (
	KindIPv6   TemplateKind = 1 << iota
	KindICMP                // type and code instead of ports
	KindVLAN                // one tag: dot1qVlanId
	KindQinQ                // two tags or more, with KindVLAN: dot1qCustomerVlanId too
	KindBiflow              // the way back is counted as well
	kinds
)

// Kinds are all kinds a meter can make records of.
func Kinds(biflow bool) []TemplateKind {
	var all []TemplateKind
	for k := range kinds {
		if k&KindQinQ != 0 && k&KindVLAN == 0 || k&KindBiflow != 0 && !biflow {
			continue
		}
		all = append(all, k)
	}
	return all
}

// Template tells which kind of record AppendRecord makes of the flow. A
// biflow whose way back is empty is a uniflow, without Reverse Information
// Elements (RFC 5103, Section 4, SHOULD).
func (f *Flow) Template() TemplateKind {
	var k TemplateKind
	if f.ports&keyV6 != 0 {
		k |= KindIPv6
	}
	if f.ports&keyICMP != 0 {
		k |= KindICMP
	}
	switch f.where >> whereTags & 3 {
	case 0:
	case 1:
		k |= KindVLAN
	default:
		k |= KindVLAN | KindQinQ
	}
	if f.fwd.packets != 0 && f.rev.packets != 0 {
		k |= KindBiflow
	}
	return k
}

// Numbers of IANA's Information Elements in the records.
const (
	octetDeltaCount          = 1
	packetDeltaCount         = 2
	protocolIdentifier       = 4
	ipClassOfService         = 5
	tcpControlBits           = 6
	sourceTransportPort      = 7
	sourceIPv4Address        = 8
	ingressInterface         = 10
	destinationTransportPort = 11
	destinationIPv4Address   = 12
	sourceIPv6Address        = 27
	destinationIPv6Address   = 28
	icmpTypeCodeIPv4         = 32
	flowEndReason            = 136
	icmpTypeCodeIPv6         = 139
	flowStartMilliseconds    = 152
	flowEndMilliseconds      = 153
	biflowDirection          = 239
	dot1qVlanID              = 243
	dot1qCustomerVlanID      = 245
)

// initiator is biflowDirection's value for a source that began the
// conversation, as far as can be told (RFC 5103, Section 6.3).
const initiator = 1

// Specs are the fields of a kind's records, in the order of AppendRecord.
func Specs(kind TemplateKind) []ipfix.FieldSpec {
	var specs []ipfix.FieldSpec
	add := func(num, length uint16) {
		specs = append(specs, ipfix.FieldSpec{ID: ie.ID{Num: num}, Length: length})
	}
	reverse := func(num, length uint16) {
		specs = append(specs, ipfix.FieldSpec{ID: ie.ID{PEN: ie.ReversePEN, Num: num}, Length: length})
	}
	if kind&KindIPv6 != 0 {
		add(sourceIPv6Address, 16)
		add(destinationIPv6Address, 16)
	} else {
		add(sourceIPv4Address, 4)
		add(destinationIPv4Address, 4)
	}
	switch {
	case kind&KindICMP == 0:
		add(sourceTransportPort, 2)
		add(destinationTransportPort, 2)
		add(tcpControlBits, 2)
	case kind&KindIPv6 != 0:
		add(icmpTypeCodeIPv6, 2)
	default:
		add(icmpTypeCodeIPv4, 2)
	}
	add(protocolIdentifier, 1)
	add(ipClassOfService, 1)
	add(flowEndReason, 1)
	add(ingressInterface, 4)
	if kind&KindVLAN != 0 {
		add(dot1qVlanID, 2)
	}
	if kind&KindQinQ != 0 {
		add(dot1qCustomerVlanID, 2)
	}
	add(flowStartMilliseconds, 8)
	add(flowEndMilliseconds, 8)
	add(packetDeltaCount, 8)
	add(octetDeltaCount, 8)
	if kind&KindBiflow != 0 {
		add(biflowDirection, 1)
		reverse(flowStartMilliseconds, 8)
		reverse(flowEndMilliseconds, 8)
		reverse(packetDeltaCount, 8)
		reverse(octetDeltaCount, 8)
		reverse(ipClassOfService, 1)
		if kind&KindICMP == 0 {
			reverse(tcpControlBits, 2)
		}
	}
	return specs
}

// MaxRecordLen bounds what AppendRecord appends.
const MaxRecordLen = 128

// AppendRecord encodes the record, with the fields of Specs(f.Template()).
func (f *Flow) AppendRecord(dst []byte) []byte {
	kind := f.Template()
	src, dest, sport, dport := f.ends()
	fwd, rev := f.Forward(), &f.rev
	be := binary.BigEndian
	var rec [MaxRecordLen]byte
	b := rec[:0]
	if kind&KindIPv6 != 0 {
		b = be.AppendUint64(b, src[0])
		b = be.AppendUint64(b, src[1])
		b = be.AppendUint64(b, dest[0])
		b = be.AppendUint64(b, dest[1])
	} else {
		b = be.AppendUint64(b, src[1]<<32|dest[1])
	}
	if kind&KindICMP == 0 {
		b = be.AppendUint16(b, sport)
		b = be.AppendUint16(b, dport)
		b = be.AppendUint16(b, fwd.TCPFlags)
	} else {
		b = be.AppendUint16(b, dport)
	}
	b = append(b, f.Protocol(), fwd.TOS, uint8(f.Reason()))
	b = be.AppendUint32(b, f.Interface())
	if kind&KindVLAN != 0 {
		b = be.AppendUint16(b, f.VLAN())
	}
	if kind&KindQinQ != 0 {
		b = be.AppendUint16(b, f.InnerVLAN())
	}
	const ms = 1e6
	b = be.AppendUint64(b, uint64(fwd.First)/ms)
	b = be.AppendUint64(b, uint64(fwd.Last)/ms)
	b = be.AppendUint64(b, fwd.Packets)
	b = be.AppendUint64(b, fwd.Octets)
	if kind&KindBiflow != 0 {
		b = append(b, initiator)
		b = be.AppendUint64(b, uint64(rev.first)/ms)
		b = be.AppendUint64(b, uint64(rev.last)/ms)
		b = be.AppendUint64(b, rev.packets)
		b = be.AppendUint64(b, rev.octets)
		b = append(b, f.tos[1])
		if kind&KindICMP == 0 {
			b = be.AppendUint16(b, f.flags[1]&flagBits)
		}
	}
	return append(dst, b...)
}
