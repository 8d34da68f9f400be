package main

import (
	"bytes"
	"net/netip"
	"time"

	"github.com/calmh/ipfix"
	"github.com/netsampler/goflow2/v2/decoders/netflow"
	"github.com/netsampler/goflow2/v2/format"
	_ "github.com/netsampler/goflow2/v2/format/binary"
	_ "github.com/netsampler/goflow2/v2/format/json"
	"github.com/netsampler/goflow2/v2/producer"
	protoproducer "github.com/netsampler/goflow2/v2/producer/proto"

	"ipfixsuite/test/workload"
)

// calmh is github.com/calmh/ipfix: raw fields, and interpreted ones.
func calmh(w *workload.Workload) ([]contender, error) {
	s := ipfix.NewSession()
	if _, err := s.ParseBuffer(w.Setup); err != nil {
		return nil, err
	}
	in := ipfix.NewInterpreter(s)
	var fields []ipfix.InterpretedField
	run := func(f func(r ipfix.DataRecord)) func() (int, error) {
		return func() (int, error) {
			n := 0
			for _, b := range w.Messages {
				m, err := s.ParseBuffer(b)
				if err != nil {
					return n, err
				}
				for _, r := range m.DataRecords {
					f(r)
				}
				n += len(m.DataRecords)
			}
			return n, nil
		}
	}
	return []contender{
		{"calmh/ipfix ParseBuffer", run(func(ipfix.DataRecord) {})},
		{"calmh/ipfix + Interpret", run(func(r ipfix.DataRecord) {
			fields = in.InterpretInto(r, fields[:cap(fields)])
			sink += uint64(len(fields))
		})},
	}, nil
}

// goflow2 decodes, and makes protobuf and JSON of what it decoded.
func goflow2(w *workload.Workload) ([]contender, error) {
	templates := netflow.CreateTemplateSystem()
	decode := func(b []byte, m *netflow.IPFIXPacket) error {
		var v9 netflow.NFv9Packet
		return netflow.DecodeMessageVersion(bytes.NewBuffer(b), templates, &v9, m)
	}
	if err := decode(w.Setup, new(netflow.IPFIXPacket)); err != nil {
		return nil, err
	}
	var cfg *protoproducer.ProducerConfig
	compiled, err := cfg.Compile()
	if err != nil {
		return nil, err
	}
	prod, err := protoproducer.CreateProtoProducer(compiled, protoproducer.CreateSamplingSystem)
	if err != nil {
		return nil, err
	}
	run := func(f func(m *netflow.IPFIXPacket) error) func() (int, error) {
		return func() (int, error) {
			for _, b := range w.Messages {
				var m netflow.IPFIXPacket
				if err := decode(b, &m); err != nil {
					return 0, err
				}
				if err := f(&m); err != nil {
					return 0, err
				}
			}
			return w.Records, nil
		}
	}
	cs := []contender{{"goflow2 decode", run(func(m *netflow.IPFIXPacket) error {
		sink += uint64(len(m.FlowSets))
		return nil
	})}}
	for _, f := range []struct{ name, format string }{{"goflow2 protobuf", "bin"}, {"goflow2 JSON", "json"}} {
		out, err := format.FindFormat(f.format)
		if err != nil {
			return nil, err
		}
		cs = append(cs, contender{f.name, run(func(m *netflow.IPFIXPacket) error { return produce(prod, out, m) })})
	}
	return cs, nil
}

func produce(prod producer.ProducerInterface, out *format.Format, m *netflow.IPFIXPacket) error {
	from := netip.MustParseAddrPort("127.0.0.1:4739")
	flows, err := prod.Produce(m, &producer.ProduceArgs{
		Src: from, Dst: from, TimeReceived: time.Now(), SamplerAddress: from.Addr(),
	})
	if err != nil {
		return err
	}
	for _, f := range flows {
		_, text, err := out.Format(f)
		if err != nil {
			return err
		}
		sink += uint64(len(text))
	}
	prod.Commit(flows)
	return nil
}
