package metering

import (
	"errors"
	"io"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"testing"

	"ipfixsuite/capture"
	"ipfixsuite/ie"
	"ipfixsuite/ipfix"
	"ipfixsuite/metering"
)

const mixed = "../../testdata/mixed.pcap"

// need skips the test, or fails it where tools are required.
func need(t testing.TB, tools ...string) {
	t.Helper()
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			unmet(t, err.Error())
		}
	}
}

func unmet(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("IPFIXSUITE_REQUIRE_TOOLS") == "1" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// tuple is one way of a conversation. For ICMP Dport is type*256+code.
type tuple struct {
	Src, Dst     netip.Addr
	Sport, Dport uint16
	Proto        uint8
}

type totals struct{ Packets, Octets uint64 }

type ledger map[tuple]totals

func (l ledger) add(k tuple, packets, octets uint64) {
	s := l[k]
	l[k] = totals{s.Packets + packets, s.Octets + octets}
}

func (l ledger) sum() (s totals) {
	for v := range maps.Values(l) {
		s.Packets += v.Packets
		s.Octets += v.Octets
	}
	return s
}

// book meters records as a collector does: it decodes their wire form by
// their template and adds them up, each way of a biflow by itself.
type book struct {
	t         testing.TB
	templates map[metering.TemplateKind]*ipfix.Template
	ledger    ledger
	records   int
	buf       []byte
	values    []ipfix.Value
}

func newBook(t testing.TB) *book {
	return &book{t: t, templates: map[metering.TemplateKind]*ipfix.Template{}, ledger: ledger{}}
}

func (b *book) record(f *metering.Flow) {
	b.records++
	tpl := b.templates[f.Template()]
	if tpl == nil {
		var err error
		if tpl, err = ipfix.NewTemplate(uint16(256+len(b.templates)), 0, metering.Specs(f.Template()), ie.IANA()); err != nil {
			b.t.Fatal(err)
		}
		b.templates[f.Template()] = tpl
	}
	b.buf = f.AppendRecord(b.buf[:0])
	var recs ipfix.Records
	recs.Reset(tpl, b.buf)
	if !recs.Next() {
		b.t.Fatalf("record not decoded: %v", recs.Err())
	}
	b.values = recs.Values(b.values[:0])
	var k tuple
	var fwd, rev totals
	for i, f := range tpl.Fields {
		v := b.values[i]
		switch f.Element.Name {
		case "sourceIPv4Address", "sourceIPv6Address":
			k.Src, _ = netip.AddrFromSlice(v.View)
		case "destinationIPv4Address", "destinationIPv6Address":
			k.Dst, _ = netip.AddrFromSlice(v.View)
		case "sourceTransportPort":
			k.Sport = uint16(v.Num)
		case "destinationTransportPort", "icmpTypeCodeIPv4", "icmpTypeCodeIPv6":
			k.Dport = uint16(v.Num)
		case "protocolIdentifier":
			k.Proto = uint8(v.Num)
		case "packetDeltaCount":
			fwd.Packets = v.Num
		case "octetDeltaCount":
			fwd.Octets = v.Num
		case "reversePacketDeltaCount":
			rev.Packets = v.Num
		case "reverseOctetDeltaCount":
			rev.Octets = v.Num
		}
	}
	b.ledger.add(k, fwd.Packets, fwd.Octets)
	if rev.Packets != 0 {
		b.ledger.add(answer(k), rev.Packets, rev.Octets)
	}
}

// answer is the way back: for a ping the reply's type.
func answer(k tuple) tuple {
	switch {
	case k.Proto == 1 && k.Dport == 0x800:
		return tuple{Src: k.Dst, Dst: k.Src, Dport: 0, Proto: 1}
	case k.Proto == 58 && k.Dport == 0x8000:
		return tuple{Src: k.Dst, Dst: k.Src, Dport: 0x8100, Proto: 58}
	}
	return tuple{Src: k.Dst, Dst: k.Src, Sport: k.Dport, Dport: k.Sport, Proto: k.Proto}
}

// meter reads a capture file through a meter.
func meter(t testing.TB, path string, cfg metering.Config) (*book, metering.Stats) {
	t.Helper()
	b := newBook(t)
	return b, feed(t, path, metering.New(cfg, b.record))
}

// feed gives a meter a whole capture file.
func feed(t testing.TB, path string, m *metering.Meter) metering.Stats {
	t.Helper()
	f, err := capture.OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for {
		p, err := f.Next()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		m.Packet(p.Time, metering.LinkType(p.Link), p.Data, p.Length, p.Interface)
	}
	m.Flush()
	return m.Stats()
}
