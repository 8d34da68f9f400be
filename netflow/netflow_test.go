package netflow

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ipfixsuite/ie"
	"ipfixsuite/ipfix"
)

// unhex reads hex with spaces; what follows a # in a line is a label.
func unhex(s string) []byte {
	var digits strings.Builder
	for line := range strings.Lines(s) {
		line, _, _ = strings.Cut(line, "#")
		digits.WriteString(strings.Join(strings.Fields(line), ""))
	}
	b, err := hex.DecodeString(digits.String())
	if err != nil {
		panic(err)
	}
	return b
}

// lines renders what a session gives: a line a record.
func lines(s *Session, pkts ...[]byte) (out []string) {
	for _, p := range pkts {
		err := s.Packet(p, func(d *Data) {
			var r ipfix.Records
			r.Reset(d.Template, d.Body)
			n := 0
			for r.Next() {
				n++
				var b strings.Builder
				fmt.Fprintf(&b, "domain %d template %d:", d.Domain, d.Template.ID)
				for i, v := range r.Values(nil) {
					f := d.Template.Fields[i]
					name := f.String()
					if f.Element != nil {
						name = f.Element.Name
					}
					if i < d.Template.Scope {
						name = "*" + name
					}
					switch f.Type {
					case ie.IPv4Address, ie.IPv6Address:
						a, _ := netip.AddrFromSlice(v.View)
						fmt.Fprintf(&b, " %s=%s", name, a)
					case ie.OctetArray, ie.String:
						fmt.Fprintf(&b, " %s=%x", name, v.View)
					default:
						fmt.Fprintf(&b, " %s=%d", name, v.Num)
					}
				}
				out = append(out, b.String())
			}
			if n != d.Records {
				out = append(out, fmt.Sprintf("%d records, but %d said", n, d.Records))
			}
		})
		if err != nil {
			out = append(out, strings.Split(err.Error(), "\n")...)
		}
	}
	return out
}

const header9 = `
	0009 0002   # version, count
	00010000    # 65536 ms since boot
	6553F100    # 1700000000
	00000007    # sequence
	0000002A    # source id 42
`

const template9 = `
	0000 0018   # template flowset, 24 octets
	0100 0004   # template 256 with 4 fields
	0008 0004   # source address
	0016 0004   # FIRST_SWITCHED
	0015 0004   # LAST_SWITCHED
	0004 0001   # protocol
`

const data9 = `
	0100 0020
	C0000201 00008000 00010000 06
	C0000202 FFFFFFFF 00010001 11   # first: 1 ms before the uptime wrapped
	0000
`

var want9 = []string{
	"domain 42 template 256: sourceIPv4Address=192.0.2.1 flowStartSysUpTime=32768 flowEndSysUpTime=65536 protocolIdentifier=6 flowStartMilliseconds=1699999967232 flowEndMilliseconds=1700000000000",
	"domain 42 template 256: sourceIPv4Address=192.0.2.2 flowStartSysUpTime=4294967295 flowEndSysUpTime=65537 protocolIdentifier=17 flowStartMilliseconds=1699999934463 flowEndMilliseconds=1700000000001",
}

func TestPacketV9_RFC3954(t *testing.T) {
	tests := []struct {
		name string
		pkts []string
		want []string
	}{
		{"template and data (5.2, 5.3)", []string{header9 + template9 + data9}, want9},
		{"in two packets", []string{header9 + template9, header9 + data9}, want9},
		{"data before its template", []string{header9 + data9, header9 + template9}, want9},
		{"template sent again", []string{header9 + template9, header9 + template9 + data9}, want9},
		{"options with scopes (6.1)", []string{header9 + `
			0001 0020       # options template flowset
			0101 0008 0008  # template 257, 2 scope fields, 2 options
			0001 0004       # System
			0002 0002       # Interface
			0022 0004       # sampling interval
			0023 0001       # sampling algorithm
			00000000 0000   # padding
			0101 0010
			0000000A 0003 000003E8 01 00`},
			[]string{"domain 42 template 257: *exportingProcessId=10 *ingressInterface=3 samplingInterval=1000 samplingAlgorithm=1"}},
		{"the other scopes, one outside of the RFC", []string{header9 + `
			0001 0020
			0101 0010 0004
			0003 0004  0004 0004  0005 0002  000A 0002
			0029 0001  0000
			0101 0011
			00000001 00000002 0103 0004 63`},
			[]string{"domain 42 template 257: *lineCardId=1 *meteringProcessId=2 *templateId=259 *ingressInterface=4 exportedMessageTotalCount=99"}},
		{"a scope without octets", []string{header9 + `
			0001 0012  0101 0004 0004  0001 0000  0029 0004
			0101 0008  00000007`},
			[]string{"domain 42 template 257: *exportedMessageTotalCount=7"}},
		{"fields of length 0", []string{header9 + `
			0000 0014  0100 0003  0000 0000  0004 0001  0000 0000
			0100 0008  06 11 01 3A`},
			[]string{"domain 42 template 256: protocolIdentifier=6", "domain 42 template 256: protocolIdentifier=17",
				"domain 42 template 256: protocolIdentifier=1", "domain 42 template 256: protocolIdentifier=58"}},
		{"vendor types are not enterprise bits", []string{header9 + `
			0000 0014  0100 0003  80E8 0002  E0F6 0002  0004 0001
			0100 0009  0102 0304 06`},
			[]string{"domain 42 template 256: 9/232=0102 35632/118=0304 protocolIdentifier=6"}},
		{"a length that is not the type's", []string{header9 + `
			0000 0010  0100 0002  0008 0005  0004 0001
			0100 000A  C000020100 06`},
			[]string{"domain 42 template 256: sourceIPv4Address=c000020100 protocolIdentifier=6"}},
		{"domains have their own templates", []string{header9 + template9, `
			0009 0001 00010000 6553F100 00000007 0000002B` + data9},
			nil},
		{"times that are absolute already", []string{header9 + `
			0000 0010  0100 0002  0016 0004  0098 0008
			0100 0010  00000001 0000000000000002`},
			[]string{"domain 42 template 256: flowStartSysUpTime=1 flowStartMilliseconds=2"}},
		{"redefinition", []string{header9 + template9, header9 + `
			0000 000C  0100 0001  0004 0001
			0100 0006  06 11`},
			[]string{"domain 42 template 256: protocolIdentifier=6", "domain 42 template 256: protocolIdentifier=17"}},

		{"empty", []string{""}, []string{"octet 0: version: truncated"}},
		{"another version", []string{"0007 0001 0000"}, []string{"octet 0: version: 7 is not NetFlow 9 or 5"}},
		{"cut in the header", []string{"0009 0001 0000"}, []string{"octet 6: header: truncated"}},
		{"cut in a flowset", []string{header9 + template9 + "0100 0020 C0"}, []string{"octet 46: flowset length: 5 of 32 octets: truncated"}},
		{"flowset length 3", []string{header9 + template9 + "0100 0003"}, []string{"octet 46: flowset length: 3: impossible length"}},
		{"reserved flowset, the rest goes on", []string{header9 + "00FF 0006 ABCD" + template9 + data9},
			append(append([]string(nil), want9...), "octet 20: flowset id: 255 is reserved")},
		{"more fields than octets", []string{header9 + "0000 000C 0100 0002 0004 0001"}, []string{"octet 26: template field count: 2 fields in 4 octets: truncated"}},
		{"reserved template id", []string{header9 + "0000 000C 00FF 0001 0004 0001"}, []string{"octet 24: template: template id 255: ids below 256 are reserved"}},
		{"no fields", []string{header9 + "0000 0008 0100 0000"}, []string{"octet 24: template: template 256: no fields"}},
		{"variable length is none", []string{header9 + "0000 000C 0100 0001 0052 FFFF"}, []string{"octet 24: template: template 256: field 0: a length of 65535 fits in no datagram"}},
		{"scope of half a field", []string{header9 + "0001 000E 0101 0002 0002 0001 0004"}, []string{"octet 26: options template: 2 octets of scope and 4 in all are not whole fields"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := NewSession(Config{})
			var pkts [][]byte
			for _, p := range tt.pkts {
				pkts = append(pkts, unhex(p))
			}
			if diff := cmp.Diff(tt.want, lines(s, pkts...)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

const record5 = `
	0A000001 0A000002 0A0000FE # addresses, next hop
	0001 0002                  # interfaces
	00000003 000000B4          # packets, octets
	0000F000 0000FFFF          # first, last
	C001 0050                  # ports
	FF 1B 06 20                # padding, flags, protocol, ToS
	FDE8 FDE9 18 10 FFFF       # AS, prefix lengths, padding
`

const header5 = `00010000 6553F100 1DCD6500 00000009 01 02 4064`

const want5 = "domain 258 template 256: sourceIPv4Address=10.0.0.1 destinationIPv4Address=10.0.0.2 ipNextHopIPv4Address=10.0.0.254" +
	" ingressInterface=1 egressInterface=2 packetDeltaCount=3 octetDeltaCount=180 flowStartSysUpTime=61440 flowEndSysUpTime=65535" +
	" sourceTransportPort=49153 destinationTransportPort=80 tcpControlBits=27 protocolIdentifier=6 ipClassOfService=32" +
	" bgpSourceAsNumber=65000 bgpDestinationAsNumber=65001 sourceIPv4PrefixLength=24 destinationIPv4PrefixLength=16" +
	" flowStartMilliseconds=1699999996404 flowEndMilliseconds=1700000000499 engineType=1 engineId=2 samplingInterval=100 samplingAlgorithm=1"

func TestPacketV5(t *testing.T) {
	tests := []struct {
		name, pkt string
		want      []string
	}{
		{"two records", "0005 0002" + header5 + record5 + record5, []string{want5, want5}},
		{"none", "0005 0000" + header5, nil},
		{"fewer than said", "0005 0003" + header5 + record5 + "0A", []string{want5, "octet 2: count: 1 records of 3: truncated"}},
		{"more than said", "0005 0001" + header5 + record5 + record5, []string{want5, "octet 72: records: 48 octets behind 1 records"}},
		{"cut in the header", "0005 0001 0000", []string{"octet 6: header: truncated"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, lines(NewSession(Config{}), unhex(tt.pkt))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestSession_Bounds(t *testing.T) {
	s := NewSession(Config{MaxTemplates: 2, MaxHeld: 64})
	tmpl := func(id int) []byte { return unhex(header9 + fmt.Sprintf("0000 000C %04X 0001 0004 0001", id)) }
	data := func(id, n int) []byte {
		return unhex(header9 + fmt.Sprintf("%04X %04X %s", id, 4+n, strings.Repeat("06", n)))
	}
	got := lines(s, tmpl(300), tmpl(301), tmpl(302))
	if diff := cmp.Diff([]string{"octet 24: template: too many templates"}, got); diff != "" {
		t.Error(diff)
	}
	// 40 and 20 octets wait; another 30 push the oldest out; 65 never fit.
	lines(s, data(400, 40), data(401, 20), data(402, 30), data(403, 65))
	want := Stats{Packets: 7, PacketsMalformed: 1, Templates: 3, TemplatesRefused: 1, SetsHeld: 4, SetsUndecodable: 2, OctetsHeld: 50}
	if diff := cmp.Diff(want, s.Stats()); diff != "" {
		t.Error(diff)
	}
	var waiting []string
	s.Pending(func(domain uint32, template uint16, octets int) {
		waiting = append(waiting, fmt.Sprint(domain, template, octets))
	})
	if diff := cmp.Diff([]string{"42 401 20", "42 402 30"}, waiting); diff != "" {
		t.Error(diff)
	}
}

func TestPlausible(t *testing.T) {
	for _, tt := range []struct {
		name, pkt string
		want      bool
	}{
		{"version 9", header9 + template9 + data9, true},
		{"version 5", "0005 0002" + header5 + record5 + record5, true},
		{"version 5, wrong count", "0005 0003" + header5 + record5 + record5, false},
		{"version 9, odd tail", header9 + template9 + "00", false},
		{"version 9, nothing in it", header9, false},
		{"a DNS query with that id", "0009 0100 0001 0000 0000 0000 03777777 076578616d706c65 03636f6d 00 0001 0001", false},
		{"empty", "", false},
	} {
		if got := Plausible(unhex(tt.pkt)); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}

func TestSession_NoAllocations(t *testing.T) {
	s := NewSession(Config{})
	nine, five := unhex(header9+template9+data9), unhex("0005 0002"+header5+record5+record5)
	emit := func(*Data) {}
	run := func() {
		if s.Packet(nine, emit) != nil || s.Packet(five, emit) != nil {
			t.Fatal("fault")
		}
	}
	run()
	if n := testing.AllocsPerRun(100, run); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzPacket(f *testing.F) {
	for _, p := range []string{header9 + template9 + data9, header9 + data9, "0005 0002" + header5 + record5 + record5,
		header9 + "0001 0012  0101 0004 0004  0001 0000  0029 0004 0101 0008  00000007"} {
		f.Add(unhex(p))
	}
	f.Fuzz(func(t *testing.T, pkt []byte) {
		s := NewSession(Config{MaxTemplates: 8, MaxHeld: 100})
		for range 2 { // the second time with the templates known
			s.Packet(pkt, func(d *Data) {
				n, err := ipfix.CountRecords(d.Template, d.Body)
				if err != nil || n != d.Records || n*d.Template.RecordLen != len(d.Body) {
					t.Fatalf("%d octets, %d records said, %d there, %v", len(d.Body), d.Records, n, err)
				}
				var r ipfix.Records
				for r.Reset(d.Template, d.Body); r.Next(); {
					r.Values(nil)
				}
			})
		}
		if st := s.Stats(); st.OctetsHeld > 100 {
			t.Fatalf("%d octets held", st.OctetsHeld)
		}
	})
}

func BenchmarkPacketV9(b *testing.B) {
	s := NewSession(Config{})
	pkt := unhex(header9 + template9)
	if s.Packet(pkt, func(*Data) {}) != nil {
		b.Fatal("fault")
	}
	const records = 100
	pkt = unhex(header9 + fmt.Sprintf("0100 %04X", 4+13*records) + strings.Repeat("C0000201 00008000 00010000 06", records))
	b.SetBytes(int64(len(pkt)))
	b.ReportAllocs()
	for b.Loop() {
		s.Packet(pkt, func(*Data) {})
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/records, "ns/record")
}
