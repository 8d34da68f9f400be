package record

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ipfixsuite/ie"
	"ipfixsuite/ipfix"
)

// Octets are written by hand.
func TestParser_Golden(t *testing.T) {
	for _, r := range []struct {
		name, in, want string
		specs          []ipfix.FieldSpec
	}{
		{"a flow, keys make the template", goldenHead + `,"sourceIPv4Address":"192.0.2.1","sourceTransportPort":54321,"protocolIdentifier":17,"octetDeltaCount":1500,"flowStartMilliseconds":"2026-09-21T14:13:20.250"}`,
			`c0000201 d431 11 00000000000005dc 000001a0c4506cfa`,
			[]ipfix.FieldSpec{spec(8, 4), spec(7, 2), spec(4, 1), spec(1, 8), spec(152, 8)}},
		{"another order, white space", " {\t\"protocolIdentifier\" : 17 ,\r\n \"sourceTransportPort\":\"80\" } \r\n", `11 0050`, []ipfix.FieldSpec{spec(4, 1), spec(7, 2)}},
		{"RFC 7373's example", `{"flowStartMilliseconds": "2012-11-05T18:31:01.135", "sourceIPv6Address": "2001:db8:3::a", "octetDeltaCount":195383}`,
			`0000013ad1d7070f 20010db800030000000000000000000a 000000000002fb37`, []ipfix.FieldSpec{spec(152, 8), spec(27, 16), spec(1, 8)}},
		{"unsigned, RFC 7373 section 4.2", `{"tcpControlBits":["0x1B","0b11","007",2]}`, `001b 0003 0007 0002`, []ipfix.FieldSpec{spec(6, 2), spec(6, 2), spec(6, 2), spec(6, 2)}},
		{"clipped to the type, RFC 7373 section 4.2", `{"protocolIdentifier":[256,-1,"0xffff"],"octetDeltaCount":99999999999999999999}`, `ff 00 ff ffffffffffffffff`, []ipfix.FieldSpec{spec(4, 1), spec(4, 1), spec(4, 1), spec(1, 8)}},
		{"clipped to the range, RFC 7373 section 4.2", `{"ipPrecedence":9,"sourceTransportPortsLimit":0}`, `07 0001`, []ipfix.FieldSpec{spec(196, 1), spec(458, 2)}},
		{"signed, RFC 7373 section 4.3", `{"mibObjectValueInteger":[-5,"+7","-0",99999999999]}`, `fffffffb 00000007 00000000 7fffffff`, []ipfix.FieldSpec{spec(434, 4), spec(434, 4), spec(434, 4), spec(434, 4)}},
		{"floats, RFC 7373 section 4.4", `{"samplingProbability":[1.5,"-1e0","+inf","-inf",1e999]}`, `3ff8000000000000 bff0000000000000 7ff0000000000000 fff0000000000000 7fefffffffffffff`, []ipfix.FieldSpec{spec(311, 8), spec(311, 8), spec(311, 8), spec(311, 8), spec(311, 8)}},
		{"booleans", `{"dataRecordsReliability":[true,false,"true","false","0x07"]}`, `01 02 01 02 07`, []ipfix.FieldSpec{spec(276, 1), spec(276, 1), spec(276, 1), spec(276, 1), spec(276, 1)}},
		{"MAC", `{"sourceMacAddress":"00:00:5E:00:53:01"}`, `00005e005301`, []ipfix.FieldSpec{spec(56, 6)}},
		{"octets, RFC 7373 section 4.1", `{"mplsTopLabelStackSection":["0x00FF10","00 ff 10","","0x"]}`, `03 00ff10 03 00ff10 00 00`, []ipfix.FieldSpec{spec(70, variable), spec(70, variable), spec(70, variable), spec(70, variable)}},
		{"strings", `{"interfaceName":"g\u00fc\ud83d\ude00\n\/\b\f\r\t\"\\","interfaceDescription":"å"}`, `0f 67c3bcf09f98800a2f080c0d09225c 02 c3a5`, []ipfix.FieldSpec{spec(82, variable), spec(83, variable)}},
		{"half a character", `{"interfaceName":"\ud83dx\udc00"}`, `07 efbfbd 78 efbfbd`, []ipfix.FieldSpec{spec(82, variable)}},
		{"a long string", `{"interfaceName":"` + strings.Repeat("a", 255) + `"}`, `ff00ff` + strings.Repeat("61", 255), []ipfix.FieldSpec{spec(82, variable)}},
		{"times, RFC 7373 section 4.8", `{"flowStartSeconds":["2026-09-21T14:17:36","2026-09-21T14:17:36Z",1790000256,"2026-09-21T14:17:36.999"],"flowStartMicroseconds":"2026-09-20T20:48:00.5","flowStartNanoseconds":"2026-09-20T20:48:00.250000000","flowEndNanoseconds":"2036-02-07T06:28:16"}`,
			`6ab13c80 6ab13c80 6ab13c80 6ab13c80 ee5ac500 80000000 ee5ac500 40000000 00000000 00000000`,
			[]ipfix.FieldSpec{spec(150, 4), spec(150, 4), spec(150, 4), spec(150, 4), spec(154, 8), spec(156, 8), spec(157, 8)}},
		{"leap second, RFC 7373 section 4.8", `{"flowStartSeconds":"2016-12-31T23:59:60"}`, `58684680`, []ipfix.FieldSpec{spec(150, 4)}},
		{"unsigned256", `{"tcpOptionsFull":["0x102",258,"0b100000010"]}`, strings.Repeat(strings.Repeat("00", 30)+"0102", 3), []ipfix.FieldSpec{spec(520, 32), spec(520, 32), spec(520, 32)}},
		{"unknown elements", `{"pen32473.id100":"0x0102","pen0.id600":"0304","pen0.id4":6}`, `02 0102 02 0304 06`, []ipfix.FieldSpec{entSpec(32473, 100, variable), spec(600, variable), spec(4, 1)}},
		{"reverse", `{"reverseOctetDeltaCount":6}`, `0000000000000006`, []ipfix.FieldSpec{entSpec(29305, 1, 8)}},
		{"null is left out", `{"interfaceName":null,"protocolIdentifier":[1,null,2]}`, `01 02`, []ipfix.FieldSpec{spec(4, 1), spec(4, 1)}},
		{"basicList", `{"basicList":{"@semantic":"allOf","sourceTransportPort":[80,443]}}`, `ff0009 03 0007 0002 0050 01bb`, []ipfix.FieldSpec{spec(291, variable)}},
		{"basicLists of all kinds", `{"basicList":[{"pen32473.id100":[]},{"@semantic":9,"interfaceName":["hi","\"a\""]},{"@semantic":"ordered","basicList":[{"protocolIdentifier":[6,17]}]},{"@data":"0x0300"}]}`,
			`ff0009 ff 8064 ffff 00007ed9 ff000c 09 0052 ffff 02 6869 03 226122 ff000f 04 0123 ffff ff0007 ff 0004 0001 06 11 ff0002 0300`,
			[]ipfix.FieldSpec{spec(291, variable), spec(291, variable), spec(291, variable), spec(291, variable)}},
		{"subTemplateList", `{"subTemplateList":{"@semantic":"ordered","@template":300,"@records":[{"sourceIPv4Address":"192.0.2.1","sourceTransportPort":80},{"sourceIPv4Address":"192.0.2.2","sourceTransportPort":443}]}}`,
			`ff000f 04 0101 c0000201 0050 c0000202 01bb`, []ipfix.FieldSpec{spec(292, variable)}},
		{"subTemplateList without records", `{"subTemplateList":{"@records":[],"@template":300}}`, `ff0003 ff 0000`, []ipfix.FieldSpec{spec(292, variable)}},
		{"subTemplateMultiList", `{"subTemplateMultiList":{"@semantic":"allOf","@parts":[{"@template":999,"@records":[{"sourceIPv4Address":"192.0.2.1","sourceTransportPort":80}]},{"@template":258,"@records":[]}]}}`,
			`ff000f 03 0101 000a c0000201 0050 0102 0000`, []ipfix.FieldSpec{spec(293, variable)}},
	} {
		t.Run(r.name, func(t *testing.T) {
			p := Parser{Define: func(_ int, specs []ipfix.FieldSpec) (*ipfix.Template, error) {
				return ipfix.NewTemplate(257, 0, specs, nil)
			}}
			got, err := p.Parse([]byte(r.in))
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(hex.EncodeToString(octets(t, r.want)), hex.EncodeToString(got.Data)); d != "" {
				t.Error(d)
			}
			if d := cmp.Diff(r.specs, got.Specs); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestParser_Scope(t *testing.T) {
	var p Parser
	got, err := p.Parse([]byte(`{"@scope":1,"observationDomainId":5,"exportedMessageTotalCount":9}`))
	if err != nil || got.Scope != 1 || len(got.Specs) != 2 {
		t.Error(got, err)
	}
}

func TestParser_Faults(t *testing.T) {
	for _, r := range []struct{ name, in, want string }{
		{"nothing", ``, `column 1: not JSON: the line ends where '{' is expected`},
		{"no object", `[1]`, `column 1: not JSON: '[' where '{' is expected`},
		{"empty", `{}`, `column 1: the record has no fields`},
		{"metadata only", `{"@domain":1}`, `column 1: the record has no fields`},
		{"cut short", `{"protocolIdentifier":17`, `column 25: not JSON: the line ends where ',' or '}' is expected`},
		{"two", `{"protocolIdentifier":17}{}`, `column 26: something follows the record, one object a line is expected`},
		{"unknown name", `{"sourceIpv4Adress":"192.0.2.1"}`, `column 2: unknown information element "sourceIpv4Adress", did you mean sourceIPv4Address?`},
		{"twice", `{"protocolIdentifier":1,"protocolIdentifier":2}`, `column 25: "protocolIdentifier": it stands in the record already, use an array`},
		{"by another name", `{"protocolIdentifier":1,"pen0.id4":2}`, `column 25: "pen0.id4": it stands in the record already, use an array`},
		{"address", `{"sourceIPv4Address":"192.0.2.256"}`, `column 22: "sourceIPv4Address": "192.0.2.256" is not an IPv4 address as in "192.0.2.1"`},
		{"the other family", `{"sourceIPv6Address":"192.0.2.1"}`, `column 22: "sourceIPv6Address": "192.0.2.1" is not an IPv6 address as in "2001:db8::1"`},
		{"zone", `{"sourceIPv6Address":"fe80::1%eth0"}`, `column 22: "sourceIPv6Address": "fe80::1%eth0" is not an IPv6 address as in "2001:db8::1"`},
		{"number", `{"protocolIdentifier": "tcp"}`, `column 24: "protocolIdentifier": "tcp": not a whole number`},
		{"fraction", `{"protocolIdentifier":1.5}`, `column 23: "protocolIdentifier": "1.5": not a whole number`},
		{"number for a string", `{"interfaceName":1}`, `column 18: "interfaceName": a number where a string is expected`},
		{"boolean for a number", `{"protocolIdentifier":true}`, `column 23: "protocolIdentifier": a boolean where a number is expected`},
		{"object for a number", `{"protocolIdentifier":{}}`, `column 23: "protocolIdentifier": an object where a number is expected`},
		{"array in an array", `{"protocolIdentifier":[[1]]}`, `column 24: "protocolIdentifier": an array where a number is expected`},
		{"time", `{"flowStartSeconds":"2026-09-21 14:13:20"}`, `column 21: "flowStartSeconds": "2026-09-21 14:13:20" is not a time as in "2026-09-21T14:13:20"`},
		{"zone of a time", `{"flowStartSeconds":"2026-09-21T14:13:20+02:00"}`, `column 21: "flowStartSeconds": "2026-09-21T14:13:20+02:00" is not a time as in "2026-09-21T14:13:20"`},
		{"time out of range", `{"flowStartSeconds":"2107-01-01T00:00:00"}`, `column 21: "flowStartSeconds": "2107-01-01T00:00:00": dateTimeSeconds goes from 1970 to 2106`},
		{"MAC", `{"sourceMacAddress":"00-00-5e-00-53-01"}`, `column 21: "sourceMacAddress": "00-00-5e-00-53-01" is not a MAC address as in "00:00:5e:00:53:01"`},
		{"octets", `{"mplsTopLabelStackSection":"0x0"}`, `column 29: "mplsTopLabelStackSection": "0x0" has half an octet at its end`},
		{"float", `{"samplingProbability":"inf"}`, `column 24: "samplingProbability": "inf" is not a number, "NaN", "+inf" or "-inf"`},
		{"boolean", `{"dataRecordsReliability":"yes"}`, `column 27: "dataRecordsReliability": "yes" is not true or false`},
		{"not UTF-8, RFC 7011 section 6.1.6", "{\"interfaceName\":\"a\xff\"}", `column 19: "interfaceName": the string is not UTF-8`},
		{"escape", `{"interfaceName":"\x"}`, `column 19: not JSON: unknown escape \x`},
		{"control", "{\"interfaceName\":\"\x01\"}", `column 19: not JSON: a control character in a string`},
		{"leading zero", `{"protocolIdentifier":01}`, `column 23: not JSON: a number begins with 0`},
		{"unsigned256", `{"tcpOptionsFull":"-1"}`, `column 19: "tcpOptionsFull": "-1": not a whole number of 256 bits`},
		{"scope", `{"@scope":2,"protocolIdentifier":1}`, `column 1: "@scope": 2 scope fields of 1`},
		{"list", `{"basicList":5}`, `column 14: "basicList": a number where an object with @semantic and the values is expected`},
		{"list without values", `{"basicList":{"@semantic":"allOf"}}`, `column 14: "basicList": a basicList needs the name of an element with an array of its values beside @semantic`},
		{"list of two elements", `{"basicList":{"protocolIdentifier":[1],"sourceTransportPort":[2]}}`, `column 40: "sourceTransportPort": a basicList has one element only`},
		{"semantic", `{"basicList":{"@semantic":"some","protocolIdentifier":[1]}}`, `column 27: "@semantic": "some" is not noneOf, exactlyOneOf, oneOrMoreOf, allOf, ordered, undefined or a number up to 255`},
		{"records in a basicList", `{"basicList":{"@records":[]}}`, `column 15: "@records": no such key in a basicList`},
		{"no templates here", `{"subTemplateList":{"@records":[{"protocolIdentifier":1}]}}`, `column 33: "subTemplateList": records within records cannot be exported here`},
		{"octets of records", `{"subTemplateList":{"@template":300,"@data":"0x01"}}`, `column 45: "@data": octets of a subTemplateList mean nothing without its templates`},
		{"too deep", `{"@x":` + strings.Repeat("[", 100000), `column 15: more than 8 lists or objects within each other`},
		{"too long", `{"interfaceName":["` + strings.Repeat("a", 60000) + `","` + strings.Repeat("a", 60000) + `"]}`, `column 1: the record has 120006 octets, a message has room for 65515`},
		{"too many", `{"protocolIdentifier":[` + strings.Repeat("1,", 1024) + `1]}`, `column 2: "protocolIdentifier": more than 1024 fields`},
	} {
		t.Run(r.name, func(t *testing.T) {
			var p Parser
			_, err := p.Parse([]byte(r.in))
			if err == nil || err.Error() != r.want {
				t.Errorf("got  %v\nwant %s", err, r.want)
			}
			if _, ok := errors.AsType[*ParseError](err); !ok {
				t.Errorf("%T", err)
			}
		})
	}
}

// roundTrip is parse, encode, parse, encode: the two texts are the same.
func roundTrip(t *testing.T, line []byte) {
	templates := make(map[uint16]*ipfix.Template)
	define := func(scope int, specs []ipfix.FieldSpec) (*ipfix.Template, error) {
		for _, tm := range templates {
			if tm.Matches(scope, specs) {
				return tm, nil
			}
		}
		tm, err := ipfix.NewTemplate(uint16(256+len(templates)), scope, specs, ie.IANA())
		if err == nil {
			templates[tm.ID] = tm
		}
		return tm, err
	}
	p := Parser{Define: define}
	var e Encoder
	var texts [2][]byte
	for i := range texts {
		rec, err := p.Parse(line)
		if err != nil {
			if i == 0 {
				return
			}
			t.Fatalf("%s: %v", line, err)
		}
		tm, err := define(rec.Scope, rec.Specs)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if err := tm.Check(); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		b := &Batch{Meta: goldenMeta, Template: tm, Body: rec.Data, Lists: func(id uint16) *ipfix.Template { return templates[id] }}
		var n int
		texts[i], n, err = e.AppendBatch(nil, b)
		if err != nil || n != 1 {
			// Of a record shorter than the least padding nothing can be said.
			t.Fatalf("%s: %d records, %v", line, n, err)
		}
		line = texts[i]
	}
	if d := cmp.Diff(string(texts[0]), string(texts[1])); d != "" {
		t.Fatal(d)
	}
}

func FuzzParser(f *testing.F) {
	for _, s := range []string{
		goldenHead + `,"sourceIPv4Address":"192.0.2.1","flowStartMilliseconds":"2026-09-21T14:13:20.250","protocolIdentifier":[6,17]}`,
		`{"samplingProbability":["NaN","+inf",1e-7,0.1],"mibObjectValueInteger":-5,"dataRecordsReliability":true}`,
		`{"interfaceName":"\ud83d\ude00\"\\","pen32473.id100":"0x0102","tcpOptionsFull":"0x102"}`,
		`{"flowStartMicroseconds":"2026-09-20T20:48:00.999999","flowStartNanoseconds":"1969-12-31T23:59:59.999999999"}`,
		`{"@scope":1,"sourceMacAddress":"00:00:5e:00:53:01","sourceIPv6Address":"::ffff:1.2.3.4"}`,
		`{"basicList":[{"@semantic":9,"interfaceName":["hi"]},{"basicList":[{"flowStartSeconds":["2026-09-21T14:13:20"]}]}]}`,
		`{"subTemplateMultiList":{"@semantic":"allOf","@parts":[{"@records":[{"sourceIPv4Address":"192.0.2.1"}]},{"@template":258,"@records":[]}]}}`,
		`{"subTemplateList":{"@records":[{"subTemplateList":{"@records":[{"interfaceName":"x"}]}}]}}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		if len(line) < 1<<14 {
			roundTrip(t, line)
		}
	})
}

// Every data type there and back: what the Parser makes of an Encoder's text
// is the octets it was made of.
func TestRoundTrip_EveryDataType(t *testing.T) {
	for _, r := range []struct {
		num    uint16
		octets []string
	}{
		{70, []string{"00", "03 0001ff"}}, // octetArray
		{4, []string{"00", "09", "63", "64", "ff"}},
		{7, []string{"0000", "270f", "2710", "ffff"}},
		{10, []string{"00000000", "05f5e0ff", "05f5e100", "ffffffff"}},
		{1, []string{"0000000000000000", "000000e8d4a50fff", "000000e8d4a51000", "002386f26fc0ffff", "002386f26fc10000", "8ac7230489e7ffff", "8ac7230489e80000", "ffffffffffffffff"}},
		{434, []string{"80000000", "ffffffff", "00000000", "7fffffff"}},
		{311, []string{"0000000000000000", "8000000000000000", "3fb999999999999a", "7ff0000000000000", "fff0000000000000", "7fefffffffffffff"}},
		{276, []string{"01", "02", "00", "ff"}},
		{56, []string{"000000000000", "0123456789ab"}},
		{82, []string{"00", "04 f09f9880", "02 0022"}},
		{150, []string{"00000000", "ffffffff"}},
		{152, []string{"0000000000000000", "0000e677d21fdbff", "ffffffffffffffff"}},
		{154, []string{"ee5ac500 00000000", "ee5ac500 fffff000", "7fffffff 00000000", "80000000 00000000"}},
		{156, []string{"ee5ac500 00000000", "7fffffff 80000000", "80000000 40000000"}},
		{8, []string{"00000000", "ffffffff"}},
		{27, []string{strings.Repeat("00", 16), strings.Repeat("ff", 16), "00000000000000000000ffffc0000201"}},
		{291, []string{"ff0006 03 0004 0001 01"}},
		{520, []string{strings.Repeat("00", 32), strings.Repeat("ff", 32), strings.Repeat("01", 32)}},
	} {
		el := ie.IANA().Lookup(ie.ID{Num: r.num})
		for _, s := range r.octets {
			t.Run(fmt.Sprint(el.Type, " ", s), func(t *testing.T) {
				want := octets(t, s)
				tm := template(t, nil, 256, 0, spec(r.num, el.Type.Size()))
				var e Encoder
				text, n, err := e.AppendBatch(nil, &Batch{Meta: goldenMeta, Template: tm, Body: want})
				if n != 1 || err != nil {
					t.Fatal(n, err)
				}
				var p Parser
				got, err := p.Parse(text)
				if err != nil {
					t.Fatalf("%s: %v", text, err)
				}
				if d := cmp.Diff(hex.EncodeToString(want), hex.EncodeToString(got.Data)); d != "" {
					t.Errorf("%s%s", text, d)
				}
				if !tm.Matches(0, got.Specs) {
					t.Error(got.Specs)
				}
			})
		}
	}
}

func BenchmarkParse(b *testing.B) {
	line := []byte(goldenHead + `,"sourceIPv4Address":"192.0.2.1","destinationIPv4Address":"198.51.100.1","sourceTransportPort":54321,"destinationTransportPort":53,"protocolIdentifier":17,"octetDeltaCount":1500,"packetDeltaCount":2,"flowStartMilliseconds":"2026-09-21T14:13:20.250","flowEndMilliseconds":"2026-09-21T14:13:20.250","tcpControlBits":27,"applicationName":"https"}`)
	var p Parser
	b.ReportAllocs()
	b.SetBytes(int64(len(line)))
	for b.Loop() {
		if _, err := p.Parse(line); err != nil {
			b.Fatal(err)
		}
	}
}
