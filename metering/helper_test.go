package metering

import (
	"encoding/hex"
	"strings"
	"testing"

	"ipfixsuite/ie"
	"ipfixsuite/ipfix"
)

// unhex reads hex with spaces and newlines; what follows a # on a line is a
// label.
func unhex(t testing.TB, s string) []byte {
	t.Helper()
	var b strings.Builder
	for line := range strings.Lines(s) {
		line, _, _ = strings.Cut(line, "#")
		b.WriteString(strings.Join(strings.Fields(line), ""))
	}
	out, err := hex.DecodeString(b.String())
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// got is a record as text: what a collector would see of it.
type got struct {
	Src, Dst       string
	Sport, Dport   uint16
	Proto          uint8
	Fwd, Rev       Counters
	Reason         EndReason
	VLAN, Inner    uint16
	Interface      uint32
	Kind           TemplateKind
	RecordDecodeOK bool
}

// collect makes a meter whose records are kept. Each is also encoded and its
// length compared with its template's.
func collect(t testing.TB, cfg Config) (*Meter, *[]got) {
	t.Helper()
	var all []got
	lengths := map[TemplateKind]int{}
	for _, k := range Kinds(true) {
		tpl, err := ipfix.NewTemplate(256, 0, Specs(k), ie.IANA())
		if err != nil {
			t.Fatal(err)
		}
		lengths[k] = tpl.RecordLen
	}
	m := New(cfg, func(f *Flow) {
		g := got{
			Src: f.Source().String(), Dst: f.Destination().String(),
			Sport: f.SourcePort(), Dport: f.DestinationPort(), Proto: f.Protocol(),
			Fwd: f.Forward(), Rev: f.Reverse(), Reason: f.Reason(),
			VLAN: f.VLAN(), Inner: f.InnerVLAN(), Interface: f.Interface(), Kind: f.Template(),
		}
		g.RecordDecodeOK = lengths[g.Kind] == len(f.AppendRecord(nil))
		all = append(all, g)
	})
	return m, &all
}

const second = int64(1e9)

// tcp4 is an Ethernet frame with an IPv4 TCP segment of 40 octets between
// hosts a and b of 192.0.2.0/24.
func tcp4(a, b byte, sport, dport uint16, flags byte) []byte {
	return []byte{
		2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x00,
		0x45, 0x10, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0, 192, 0, 2, a, 192, 0, 2, b,
		byte(sport >> 8), byte(sport), byte(dport >> 8), byte(dport), 0, 0, 0, 1, 0, 0, 0, 2, 0x50, flags, 0, 0, 0, 0, 0, 0,
	}
}
