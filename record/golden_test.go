package record

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ipfixsuite/ie"
	"ipfixsuite/ipfix"
)

// octets reads hexadecimal digits; white space and what follows # in a line
// are for the reader.
func octets(tb testing.TB, s string) []byte {
	tb.Helper()
	var digits strings.Builder
	for line := range strings.Lines(s) {
		line, _, _ = strings.Cut(line, "#")
		digits.WriteString(strings.Join(strings.Fields(line), ""))
	}
	b, err := hex.DecodeString(digits.String())
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func spec(num, length uint16) ipfix.FieldSpec {
	return ipfix.FieldSpec{ID: ie.ID{Num: num}, Length: length}
}

func entSpec(pen uint32, num, length uint16) ipfix.FieldSpec {
	return ipfix.FieldSpec{ID: ie.ID{PEN: pen, Num: num}, Length: length}
}

const variable = ipfix.VariableLength

func template(tb testing.TB, reg *ie.Registry, id uint16, scope int, specs ...ipfix.FieldSpec) *ipfix.Template {
	tb.Helper()
	if reg == nil {
		reg = ie.IANA()
	}
	t, err := ipfix.NewTemplate(id, scope, specs, reg)
	if err != nil {
		tb.Fatal(err)
	}
	return t
}

var goldenMeta = &Meta{Exporter: "r1.example", Session: 7, Domain: 1, ExportTime: 1790000000}

// Of 1790000000: date -u -d @1790000000 says 2026-09-21 14:13:20.
const goldenHead = `{"@exporter":"r1.example","@session":7,"@domain":1,"@template":256,"@exportTime":"2026-09-21T14:13:20"`

// Lines and octets are written by hand; times are those of date(1).
func TestEncoder_Golden(t *testing.T) {
	for _, r := range []struct {
		name, in, want string
		specs          []ipfix.FieldSpec
	}{
		{"a flow", `
			c0000201          # 192.0.2.1
			c6336401          # 198.51.100.1
			d431 0035 11      # 54321 -> 53, UDP
			00000000000005dc  # 1500
			0000000002        # 2, reduced to 5 octets
			000001a0c4506cfa`, // 1790000000250 ms
			`"sourceIPv4Address":"192.0.2.1","destinationIPv4Address":"198.51.100.1","sourceTransportPort":54321,"destinationTransportPort":53,"protocolIdentifier":17,"octetDeltaCount":1500,"packetDeltaCount":2,"flowStartMilliseconds":"2026-09-21T14:13:20.250"`,
			[]ipfix.FieldSpec{spec(8, 4), spec(12, 4), spec(7, 2), spec(11, 2), spec(4, 1), spec(1, 8), spec(2, 5), spec(152, 8)}},
		{"all 64 bits", `ffffffffffffffff`, `"octetTotalCount":18446744073709551615`, []ipfix.FieldSpec{spec(85, 8)}},
		{"signed, RFC 7373 section 4.3", `ffffffff fe`, `"mibObjectValueInteger":[-1,-2]`, []ipfix.FieldSpec{spec(434, 4), spec(434, 1)}},
		{"float64 and reduced to float32", `3ff8000000000000 3dcccccd`, `"samplingProbability":[1.5,0.1]`, []ipfix.FieldSpec{spec(311, 8), spec(311, 4)}},
		{"floats without a number, RFC 7373 section 4.4", `7ff8000000000001 7ff0000000000000 ff800000`, `"samplingProbability":["NaN","+inf","-inf"]`, []ipfix.FieldSpec{spec(311, 8), spec(311, 8), spec(311, 4)}},
		{"huge and tiny floats", `7fefffffffffffff 0000000000000001 8000000000000000`, `"samplingProbability":[1.7976931348623157e+308,5e-324,-0]`, []ipfix.FieldSpec{spec(311, 8), spec(311, 8), spec(311, 8)}},
		{"boolean, RFC 7011 section 6.1.5", `01 02 00`, `"dataRecordsReliability":[true,false,"0x00"]`, []ipfix.FieldSpec{spec(276, 1), spec(276, 1), spec(276, 1)}},
		{"MAC", `00005e005301`, `"sourceMacAddress":"00:00:5e:00:53:01"`, []ipfix.FieldSpec{spec(56, 6)}},
		{"IPv6, RFC 5952", `20010db8000000000000000000000001 00000000000000000000000000000000`, `"sourceIPv6Address":"2001:db8::1","destinationIPv6Address":"::"`, []ipfix.FieldSpec{spec(27, 16), spec(28, 16)}},
		{"addresses of all lengths", `00000000 ffffffff 0a6401ff`, `"sourceIPv4Address":"0.0.0.0","destinationIPv4Address":"255.255.255.255","ipNextHopIPv4Address":"10.100.1.255"`, []ipfix.FieldSpec{spec(8, 4), spec(12, 4), spec(15, 4)}},
		{"octetArray", `03 00ff10`, `"mplsTopLabelStackSection":"0x00ff10"`, []ipfix.FieldSpec{spec(70, variable)}},
		{"no octets", `00 00`, `"mplsTopLabelStackSection":"0x","interfaceName":""`, []ipfix.FieldSpec{spec(70, variable), spec(82, variable)}},
		{"unsigned256, RFC 9740", strings.Repeat("00", 31) + `06 ` + strings.Repeat("ff", 32) + strings.Repeat("00", 32) + `0102`,
			`"tcpOptionsFull":["0x6","0x` + strings.Repeat("f", 64) + `","0x0","0x102"]`,
			[]ipfix.FieldSpec{spec(520, 32), spec(520, 32), spec(520, 32), spec(520, 2)}},
		{"times, RFC 7373 section 4.8", `
			6ab13c80          # 1790000256: 14:17:36
			0000000000000001  # 1 ms
			ee5ac500 80000000 # NTP 3998926080 is 1789937280: 2026-09-20 20:48:00, and a half
			ee5ac500 40000000 # and a quarter
			00000000 00000000 # the era of 2036
			ffffffff ffffffff`,
			`"flowStartSeconds":"2026-09-21T14:17:36","flowStartMilliseconds":"1970-01-01T00:00:00.001","flowStartMicroseconds":"2026-09-20T20:48:00.500000","flowStartNanoseconds":["2026-09-20T20:48:00.250000000","2036-02-07T06:28:16.000000000"],"flowEndNanoseconds":"2036-02-07T06:28:16.000000000"`,
			[]ipfix.FieldSpec{spec(150, 4), spec(152, 8), spec(154, 8), spec(156, 8), spec(156, 8), spec(157, 8)}},
		{"the low bits of microseconds mean nothing, RFC 7011 section 6.1.9", `ee5ac500 000007ff ee5ac500 fffff800`, `"flowStartMicroseconds":"2026-09-20T20:48:00.000000","flowEndMicroseconds":"2026-09-20T20:48:01.000000"`, []ipfix.FieldSpec{spec(154, 8), spec(155, 8)}},
		{"years with more digits than four", `0000e677d21fdbff 0000e677d21fdc00 ffffffffffffffff`, `"flowStartMilliseconds":["9999-12-31T23:59:59.999","253402300800000","18446744073709551615"]`, []ipfix.FieldSpec{spec(152, 8), spec(152, 8), spec(152, 8)}},
		{"before 1970", `83aa7e7f c0000000 83aa7e7f ffffffff`, `"flowStartMicroseconds":"1969-12-31T23:59:59.750000","flowStartNanoseconds":"1970-01-01T00:00:00.000000000"`, []ipfix.FieldSpec{spec(154, 8), spec(156, 8)}},
		{"string", `0c 67c3bcc3a520f09f98802f00 09 225c0a0d09081f7f2f`,
			`"interfaceName":"gü` + "å 😀" + `/\u0000","interfaceDescription":"\"\\\n\r\t\u0008\u001f\u007f/"`,
			[]ipfix.FieldSpec{spec(82, variable), spec(83, variable)}},
		{"not UTF-8, RFC 7011 section 6.1.6", `06 61ff62c341ed`, "\"interfaceName\":\"a\ufffdb\ufffdA\ufffd\"", []ipfix.FieldSpec{spec(82, variable)}},
		{"a filled-up string", `6574683000000000 00000000`, `"interfaceName":"eth0","interfaceDescription":""`, []ipfix.FieldSpec{spec(82, 8), spec(83, 4)}},
		{"unknown elements", `0102 0304`, `"pen32473.id100":"0x0102","pen0.id600":"0x0304"`, []ipfix.FieldSpec{entSpec(32473, 100, 2), spec(600, 2)}},
		{"reverse, RFC 5103", `0005 0000000000000006`, `"reverseTcpControlBits":5,"reverseOctetDeltaCount":6`, []ipfix.FieldSpec{entSpec(29305, 6, 2), entSpec(29305, 1, 8)}},
		{"no reverse of it, RFC 5103 section 6.1", `0102030405060708`, `"pen29305.id148":"0x0102030405060708"`, []ipfix.FieldSpec{entSpec(29305, 148, 8)}},
		{"an element twice, apart", `01 0007 02`, `"protocolIdentifier":[1,2],"sourceTransportPort":7`, []ipfix.FieldSpec{spec(4, 1), spec(7, 2), spec(4, 1)}},
		{"lengths that the type has not", `010203 04`, `"sourceIPv4Address":"0x010203","flowStartSeconds":"0x04"`, []ipfix.FieldSpec{spec(8, 3), spec(150, 1)}},
		{"a number wider than its type", `0102`, `"protocolIdentifier":258`, []ipfix.FieldSpec{spec(4, 2)}},
		{"numbers of variable length", `02 0102 00 04 c0000201 03 c00002 01 01`,
			`"sourceTransportPort":[258,null],"sourceIPv4Address":["192.0.2.1","0xc00002"],"dataRecordsReliability":true`,
			[]ipfix.FieldSpec{spec(7, variable), spec(7, variable), spec(8, variable), spec(8, variable), spec(276, variable)}},
		{"fields of no length", `05`, `"protocolIdentifier":5`, []ipfix.FieldSpec{spec(82, 0), spec(4, 1), spec(70, 0)}},
		{"3 octets of length", `ff0003 616263`, `"interfaceName":"abc"`, []ipfix.FieldSpec{spec(82, variable)}},
		{"basicList", `ff0009 03 0007 0002 0050 01bb`,
			`"basicList":{"@semantic":"allOf","sourceTransportPort":[80,443]}`, []ipfix.FieldSpec{spec(291, variable)}},
		{"basicList of an enterprise, empty, and one without a semantic", `09 00 8064 0004 00007ed9 07 09 0007 0002 0050`,
			`"basicList":[{"@semantic":"noneOf","pen32473.id100":[]},{"@semantic":"9","sourceTransportPort":[80]}]`,
			[]ipfix.FieldSpec{spec(291, variable), spec(291, variable)}},
		{"basicList of strings", `0c ff 0052 ffff 02 6869 03 226122`,
			`"basicList":{"@semantic":"undefined","interfaceName":["hi","\"a\""]}`, []ipfix.FieldSpec{spec(291, variable)}},
		{"basicList cut short", `08 03 0007 0002 0050 01`, `"basicList":{"@data":"0x0300070002005001"}`, []ipfix.FieldSpec{spec(291, variable)}},
		{"basicList in a basicList", `0d 03 0123 ffff 07 04 0004 0001 06 11`,
			`"basicList":{"@semantic":"allOf","basicList":[{"@semantic":"ordered","protocolIdentifier":[6,17]}]}`, []ipfix.FieldSpec{spec(291, variable)}},
		{"subTemplateList", `0f 04 0101 c0000201 0050 c0000202 01bb`, `"subTemplateList":{"@semantic":"ordered","@template":257,"@records":[{"sourceIPv4Address":"192.0.2.1","sourceTransportPort":80},{"sourceIPv4Address":"192.0.2.2","sourceTransportPort":443}]}`,
			[]ipfix.FieldSpec{spec(292, variable)}},
		{"subTemplateList without records and of an unknown template", `03 04 0101 05 03 0309 0102`,
			`"subTemplateList":[{"@semantic":"ordered","@template":257,"@records":[]},{"@semantic":"allOf","@template":777,"@data":"0x0102"}]`,
			[]ipfix.FieldSpec{spec(292, variable), spec(292, variable)}},
		{"subTemplateMultiList", `14 03 0101 000a c0000201 0050 0102 0000 0309 0005 07`,
			`"subTemplateMultiList":{"@semantic":"allOf","@parts":[{"@template":257,"@records":[{"sourceIPv4Address":"192.0.2.1","sourceTransportPort":80}]},{"@template":258,"@records":[]},{"@template":777,"@data":"0x07"}]}`,
			[]ipfix.FieldSpec{spec(293, variable)}},
		{"lists too short", `00 02 0101 00`, `"basicList":{"@data":"0x"},"subTemplateList":{"@data":"0x0101"},"subTemplateMultiList":{"@data":"0x"}`,
			[]ipfix.FieldSpec{spec(291, variable), spec(292, variable), spec(293, variable)}},
	} {
		t.Run(r.name, func(t *testing.T) {
			sub := template(t, nil, 257, 0, spec(8, 4), spec(7, 2))
			b := &Batch{Meta: goldenMeta, Template: template(t, nil, 256, 0, r.specs...), Body: octets(t, r.in), Records: 1,
				Lists: func(id uint16) *ipfix.Template {
					if id == 257 {
						return sub
					}
					return nil
				}}
			var e Encoder
			got, n, err := e.AppendBatch(nil, b)
			if err != nil || n != 1 {
				t.Fatal(n, err)
			}
			if d := cmp.Diff(goldenHead+","+r.want+"}\n", string(got)); d != "" {
				t.Error(d)
			}
			if !json.Valid(got) {
				t.Errorf("not JSON: %s", got)
			}
		})
	}
}

func TestEncoder_Batch(t *testing.T) {
	reg := ie.NewRegistry(nil)
	long := "a" + strings.Repeat("x", ie.MaxName-1)
	if err := reg.Learn(ie.Element{ID: ie.ID{PEN: 9, Num: 1}, Name: long, Type: ie.IPv4Address}); err != nil {
		t.Fatal(err)
	}
	var e Encoder
	tm := template(t, reg, 300, 1, entSpec(9, 1, 4), spec(4, 1))
	meta := &Meta{Exporter: "a\"b\xff", Session: 1<<64 - 1, Domain: 1<<32 - 1}
	got, n, err := e.AppendBatch([]byte("before\n"), &Batch{Meta: meta, Template: tm, Body: octets(t, "01020304 05 06070809 0a 0000")})
	head := `{"@exporter":"a\"b` + "\ufffd" + `","@session":18446744073709551615,"@domain":4294967295,"@template":300,"@scope":1,"@exportTime":"1970-01-01T00:00:00"`
	want := "before\n" + head + `,"` + long + `":"1.2.3.4","protocolIdentifier":5}` + "\n" + head + `,"` + long + `":"6.7.8.9","protocolIdentifier":10}` + "\n"
	if d := cmp.Diff(want, string(got)); d != "" || n != 2 || err != nil {
		t.Error(n, err, d)
	}
	// The same Encoder, another template with the same Meta, changed in place.
	meta.Domain = 5
	tm = template(t, reg, 301, 0, spec(82, variable))
	got, n, err = e.AppendBatch(nil, &Batch{Meta: meta, Template: tm, Body: octets(t, "0161 05616263")})
	want = strings.Replace(strings.Replace(head, "4294967295", "5", 1), `300,"@scope":1`, "301", 1) + `,"interfaceName":"a"}` + "\n"
	if d := cmp.Diff(want, string(got)); d != "" || n != 1 {
		t.Error(n, d)
	}
	if pe, ok := errors.AsType[*ipfix.ParseError](err); !ok || pe.Offset < 2 {
		t.Errorf("a record cut short: %v", err)
	}
	got, _, _ = e.AppendBatch(nil, &Batch{Template: tm, Body: octets(t, "0161")})
	if want := `{"@template":301,"interfaceName":"a"}` + "\n"; string(got) != want {
		t.Errorf("without metadata: %s", got)
	}
}

// A record within a record within… is text up to a bound.
func TestEncoder_Depth_RFC6313(t *testing.T) {
	x := octets(t, "ff 0004 0001 06")
	for range 3000 {
		n := len(x)
		x = append(octets(t, "ff 0123 ffff ff"), append([]byte{byte(n >> 8), byte(n)}, x...)...)
	}
	body := append([]byte{255, byte(len(x) >> 8), byte(len(x))}, x...)
	var e Encoder
	got, _, err := e.AppendBatch(nil, &Batch{Template: template(t, nil, 256, 0, spec(291, variable)), Body: body})
	if err != nil || !json.Valid(got) || strings.Count(string(got), "@semantic") != MaxDepth {
		t.Errorf("%v %.300s", err, got)
	}
}

func TestEncoder_PlansBounded(t *testing.T) {
	var e Encoder
	for i := range 2*MaxPlans + 10 {
		tm := template(t, nil, uint16(256+i), 0, spec(4, 1))
		if _, n, err := e.AppendBatch(nil, &Batch{Template: tm, Body: []byte{1}}); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		if len(e.plans) > MaxPlans {
			t.Fatal(len(e.plans))
		}
	}
}
