package netflow

import (
	"encoding/binary"
	"fmt"

	"ipfixsuite/ie"
	"ipfixsuite/ipfix"
)

// V5TemplateID is the template of version 5 records.
const V5TemplateID = 256

// specsV5 are the fields of a version 5 record in their order, without the
// padding; from flowStartMilliseconds on they come from the header.
var specsV5 = [...][2]uint16{
	{8, 4}, {12, 4}, {15, 4}, // source, destination, next hop
	{10, 2}, {14, 2}, // interfaces
	{2, 4}, {1, 4}, // packets, octets
	{flowStartSysUpTime, 4}, {flowEndSysUpTime, 4},
	{7, 2}, {11, 2}, // ports
	{6, 1}, {4, 1}, {5, 1}, // TCP flags, protocol, ToS
	{16, 2}, {17, 2}, // AS of source and destination
	{9, 1}, {13, 1}, // prefix lengths
	{flowStartMilliseconds, 8}, {flowEndMilliseconds, 8},
	{38, 1}, {39, 1}, // engineType, engineId
	{34, 4}, {35, 1}, // samplingInterval, samplingAlgorithm
}

// Where a version 5 record has its times and its padding.
const (
	firstV5    = 24
	lastV5     = 28
	padV5      = 36
	flagsV5    = 37
	restPadV5  = 46
	sampleMask = 1<<14 - 1 // below it the interval, above the algorithm
)

// packetV5 reads a version 5 datagram:
//
//	version, count, uptime ms, seconds, nanoseconds, sequence,
//	engine type (8), engine id (8), sampling mode (2) and interval (14)
//
// then count records of 48 octets.
func (s *Session) packetV5(pkt []byte, emit func(*Data)) {
	if len(pkt) < headerLenV5 {
		s.fault(len(pkt), "header", ipfix.ErrTruncated)
		return
	}
	count := int(binary.BigEndian.Uint16(pkt[2:]))
	body := pkt[headerLenV5:]
	if have := len(body) / recordLenV5; count > have {
		s.fault(2, "count", fmt.Errorf("%d records of %d: %w", have, count, ipfix.ErrTruncated))
		count = have
	} else if rest := len(body) - count*recordLenV5; rest > 0 && !zero(body[count*recordLenV5:]) {
		s.fault(headerLenV5+count*recordLenV5, "records", fmt.Errorf("%d octets behind %d records", rest, count))
	}
	if count == 0 {
		return
	}
	if s.v5 == nil {
		t, err := templateV5(s.cfg.Registry)
		if err != nil {
			s.fault(0, "template", err)
			return
		}
		s.v5 = &plan{template: t}
	}
	export := binary.BigEndian.Uint32(pkt[8:])
	c := clock{
		uptime: binary.BigEndian.Uint32(pkt[4:]),
		export: export,
		unixMS: uint64(export)*1000 + uint64(binary.BigEndian.Uint32(pkt[12:]))/1e6,
	}
	sampling := binary.BigEndian.Uint16(pkt[22:])
	out := s.out[:0]
	for range count {
		b := body[:recordLenV5]
		body = body[recordLenV5:]
		out = append(out, b[:padV5]...)
		out = append(out, b[flagsV5:restPadV5]...)
		out = binary.BigEndian.AppendUint64(out, c.absolute(binary.BigEndian.Uint32(b[firstV5:])))
		out = binary.BigEndian.AppendUint64(out, c.absolute(binary.BigEndian.Uint32(b[lastV5:])))
		out = append(out, pkt[20], pkt[21])
		out = binary.BigEndian.AppendUint32(out, uint32(sampling&sampleMask))
		out = append(out, byte(sampling>>14))
	}
	s.out = out
	s.stats.Records += uint64(count)
	domain := uint32(pkt[20])<<8 | uint32(pkt[21])
	s.data = Data{Domain: domain, ExportTime: export, Template: s.v5.template, Body: out, Records: count}
	emit(&s.data)
}

func templateV5(reg *ie.Registry) (*ipfix.Template, error) {
	specs := make([]ipfix.FieldSpec, len(specsV5))
	for i, f := range specsV5 {
		specs[i] = ipfix.FieldSpec{ID: ie.ID{Num: f[0]}, Length: f[1]}
	}
	return ipfix.NewTemplate(V5TemplateID, 0, specs, reg)
}
