package ie

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Rows read by hand in IANA's XML of 2024-07-02 (and RFC 9740 for 520, which
// is younger).
func TestIANA_SpotCheck(t *testing.T) {
	for _, want := range []Element{
		{ID: ID{Num: 1}, Name: "octetDeltaCount", Type: Unsigned64, Semantics: DeltaCounter, Units: "octets", Status: "current", Group: "flowCounter"},
		{ID: ID{Num: 8}, Name: "sourceIPv4Address", Type: IPv4Address, Status: "current", Group: "ipHeader"},
		{ID: ID{Num: 31}, Name: "flowLabelIPv6", Type: Unsigned32, Semantics: Identifier, Max: 0xFFFFF, Status: "current", Group: "ipHeader"},
		{ID: ID{Num: 56}, Name: "sourceMacAddress", Type: MACAddress, Status: "current", Group: "subIpHeader"},
		{ID: ID{Num: 104}, Name: "layer2packetSectionData", Type: OctetArray, Status: "deprecated"},
		{ID: ID{Num: 154}, Name: "flowStartMicroseconds", Type: DateTimeMicroseconds, Units: "microseconds", Status: "current", Group: "timestamp"},
		{ID: ID{Num: 207}, Name: "ipv4IHL", Type: Unsigned8, Units: "4-octet words", Status: "current", Group: "ipHeader"},
		{ID: ID{Num: 236}, Name: "VRFname", Type: String, Status: "current"},
		{ID: ID{Num: 276}, Name: "dataRecordsReliability", Type: Boolean, Status: "current"},
		{ID: ID{Num: 292}, Name: "subTemplateList", Type: SubTemplateList, Semantics: List, Status: "current"},
		{ID: ID{Num: 311}, Name: "samplingProbability", Type: Float64, Semantics: Quantity, Status: "current"},
		{ID: ID{Num: 434}, Name: "mibObjectValueInteger", Type: Signed32, Semantics: Quantity, Status: "current"},
		{ID: ID{Num: 439}, Name: "mibObjectValueCounter", Type: Unsigned64, Semantics: SNMPCounter, Status: "current"},
		{ID: ID{Num: 458}, Name: "sourceTransportPortsLimit", Type: Unsigned16, Semantics: Quantity, Units: "ports", Min: 1, Max: 65535, Status: "current"},
		{ID: ID{Num: 520}, Name: "tcpOptionsFull", Type: Unsigned256, Status: "current"},
	} {
		got := IANA().Lookup(want.ID)
		if got == nil {
			t.Fatalf("%v %s is missing", want.ID, want.Name)
		}
		if want.Name == "tcpOptionsFull" {
			want.Semantics = got.Semantics // IANA says flags, the table is silent
		}
		if d := cmp.Diff(want, *got); d != "" {
			t.Errorf("%s (-want +got):\n%s", want.Name, d)
		}
		if IANA().ByName(want.Name) != got {
			t.Errorf("%s is not found by its name", want.Name)
		}
	}
}

func TestIANA_Whole(t *testing.T) {
	n := 0
	for e := range IANA().All() {
		n++
		if !e.Type.Valid() || !e.Semantics.Valid() || e.Min > e.Max {
			t.Errorf("%v", *e)
		}
		if _, ok := UnitsNumber(e.Units); !ok {
			t.Errorf("%s: units %q", e.Name, e.Units)
		}
		if err := CheckName(e.Name); err != nil {
			t.Errorf("%s: %v", e.Name, err)
		}
	}
	if n != 497 {
		t.Errorf("%d elements, want 497", n)
	}
	if last := IANA().Lookup(ID{Num: 529}); last == nil || last.Name != "udpUnsafeExIDList" {
		t.Errorf("529 is %v", last)
	}
	for _, id := range []ID{{Num: 0}, {Num: 65}, {Num: 530}, {Num: 0xFFFF}, {PEN: 1, Num: 8}} {
		if e := IANA().Lookup(id); e != nil {
			t.Errorf("%v is %v", id, *e)
		}
	}
}

func TestReverse_RFC5103_6_1(t *testing.T) {
	e := IANA().Lookup(ID{PEN: ReversePEN, Num: 1})
	if e == nil || e.Name != "reverseOctetDeltaCount" || e.Type != Unsigned64 || e.Semantics != DeltaCounter {
		t.Fatalf("%v", e)
	}
	if IANA().ByName("reverseOctetDeltaCount") != e || !e.Reverse() || e.Reversible() {
		t.Errorf("reverseOctetDeltaCount: %v", *e)
	}
	if e := IANA().ByName("reverseVRFname"); e == nil || e.ID != (ID{ReversePEN, 236}) {
		t.Errorf("reverseVRFname: %v", e)
	}
	// The list of RFC 5103, Section 6.1, by hand.
	for _, name := range strings.Fields(`flowId templateId observationDomainId commonPropertiesId biflowDirection
		exporterIPv4Address exporterIPv6Address exporterTransportPort collectorIPv4Address collectorIPv6Address
		exportInterface exportProtocolVersion exportTransportProtocol collectorTransportPort flowKeyIndicator
		exportedMessageTotalCount exportedOctetTotalCount exportedFlowRecordTotalCount observedFlowTotalCount
		ignoredPacketTotalCount ignoredOctetTotalCount notSentFlowTotalCount notSentPacketTotalCount
		notSentOctetTotalCount paddingOctets`) {
		e := IANA().ByName(name)
		if e == nil || e.Reversible() {
			t.Errorf("%s: %v", name, e)
			continue
		}
		if r := IANA().Lookup(ID{ReversePEN, e.Num}); r != nil {
			t.Errorf("%s is there", r.Name)
		}
	}
	for _, name := range []string{"sourceIPv4Address", "flowStartMilliseconds", "tcpControlBits", "ingressInterface", "observationPointId"} {
		if !IANA().ByName(name).Reversible() {
			t.Errorf("%s is not reversible", name)
		}
	}
}

func TestDataType(t *testing.T) {
	for _, r := range []struct {
		t         DataType
		name      string
		size      uint16
		reducible bool
	}{
		{OctetArray, "octetArray", 0xFFFF, false}, {Unsigned8, "unsigned8", 1, false}, {Unsigned64, "unsigned64", 8, true},
		{Signed16, "signed16", 2, true}, {Float32, "float32", 4, false}, {Float64, "float64", 8, true},
		{Boolean, "boolean", 1, false}, {MACAddress, "macAddress", 6, false}, {DateTimeSeconds, "dateTimeSeconds", 4, false},
		{DateTimeNanoseconds, "dateTimeNanoseconds", 8, false}, {IPv6Address, "ipv6Address", 16, false},
		{BasicList, "basicList", 0xFFFF, false}, {Unsigned256, "unsigned256", 32, true},
	} {
		if r.t.String() != r.name || r.t.Size() != r.size || r.t.Reducible() != r.reducible {
			t.Errorf("%v: %d %v", r.t, r.t.Size(), r.t.Reducible())
		}
		if got, err := ParseDataType(strings.ToUpper(r.name)); err != nil || got != r.t {
			t.Errorf("parse %s: %v %v", r.name, got, err)
		}
	}
	if _, err := ParseDataType("unsignd32"); err == nil || !strings.Contains(err.Error(), "did you mean unsigned32?") {
		t.Error(err)
	}
	if DataType(99).Valid() || DataType(99).String() != "dataType(99)" || DataType(99).Size() != Variable {
		t.Error("99 passes for a type")
	}
	for _, r := range []struct {
		t    DataType
		n    uint16
		want bool
	}{
		{Unsigned64, 3, true}, {Unsigned64, 9, false}, {Unsigned64, 0, false}, {Unsigned64, Variable, false},
		{Float64, 4, true}, {Float64, 2, false}, {IPv4Address, 3, false}, {String, 7, true}, {Unsigned256, 5, true},
	} {
		if got := r.t.ValidLength(r.n); got != r.want {
			t.Errorf("%v in %d octets: %v", r.t, r.n, got)
		}
	}
}

func TestUnknownName(t *testing.T) {
	for _, id := range []ID{{}, {32473, 100}, {1<<32 - 1, MaxNumber}, {0, 600}} {
		got, ok := ParseUnknownName(UnknownName(id))
		if !ok || got != id {
			t.Errorf("%s: %v %v", UnknownName(id), got, ok)
		}
	}
	for _, s := range []string{"", "pen", "pen1", "pen1.id", "pen.id1", "pen01.id1", "pen1.id01", "pen+1.id1", "pen1.id32768", "pen4294967296.id1", "pen1.id1 ", "Pen1.id1", "pen1.id-1"} {
		if id, ok := ParseUnknownName(s); ok {
			t.Errorf("%q is %v", s, id)
		}
	}
	id, e, err := IANA().Resolve("pen0.id8")
	if err != nil || id != (ID{Num: 8}) || e.Name != "sourceIPv4Address" {
		t.Error(id, e, err)
	}
	if id, e, err := IANA().Resolve("pen32473.id100"); err != nil || id != (ID{32473, 100}) || e != nil {
		t.Error(id, e, err)
	}
	if _, _, err := IANA().Resolve("sourceIp4Address"); err == nil || !strings.Contains(err.Error(), "did you mean sourceIPv4Address?") {
		t.Error(err)
	}
	if got := IANA().Name(ID{32473, 100}); got != "pen32473.id100" {
		t.Error(got)
	}
}

func TestRegistry_ZeroAndNil(t *testing.T) {
	for _, r := range []*Registry{nil, {}, NewRegistry(nil), NewRegistry(IANA()), IANA()} {
		if r.Lookup(ID{Num: 8}) == nil || r.ByName("sourceIPv4Address") == nil || r.Lookup(ID{5, 5}) != nil || r.ByName("x") != nil {
			t.Errorf("%v does not know IANA's elements", r)
		}
	}
	for _, r := range []*Registry{nil, IANA()} {
		if r.Learn(Element{ID: ID{5, 5}, Name: "x"}) == nil || r.Load(strings.NewReader("5,5,x,string"), "f") == nil {
			t.Error("a registry that is shared takes elements in")
		}
	}
	var e *Element
	if e.Reverse() || e.Reversible() {
		t.Error("nil is reversible")
	}
}

func TestLoad(t *testing.T) {
	const file = `# our own
pen,elementId,name,dataType,semantics,units,range
32473,100,vendorScore,unsigned32,quantity,none,0-0x3FF
32473, 101, "vendorLabel", string
0,30000,brandNewElement,unsigned8,flags,,
`
	r := NewRegistry(nil)
	if err := r.Load(strings.NewReader("\ufeff"+file[len("# our own\n"):]), "own.csv"); err != nil {
		t.Fatal(err)
	}
	want := Element{ID: ID{32473, 100}, Name: "vendorScore", Type: Unsigned32, Semantics: Quantity, Max: 0x3FF}
	if d := cmp.Diff(want, *r.Lookup(ID{32473, 100})); d != "" {
		t.Error(d)
	}
	if r.ByName("vendorLabel").ID != (ID{32473, 101}) || r.ByName("brandNewElement").Type != Unsigned8 {
		t.Error("not all are there")
	}
	if err := NewRegistry(r).Load(strings.NewReader("5,5,other,string\r\n5,6,another,string\r\n"), "more.csv"); err != nil {
		t.Error(err)
	}
	if child := NewRegistry(r); child.ByName("vendorScore") == nil {
		t.Error("an overlay does not ask its parent")
	}
	// IANA's own layout has no pen column, so it must say so.
	if err := NewRegistry(nil).Load(strings.NewReader(ianaCSV), "iana.csv"); err == nil || err.Error() != "iana.csv:1: no column pen in the heading, expected pen,elementId,name,dataType,semantics,units,range" {
		t.Error(err)
	}
}

func TestLoad_Faults(t *testing.T) {
	for _, r := range []struct{ name, in, want string }{
		{"type", "5,5,x,strin", `f.csv:1:7: unknown data type "strin", did you mean string?`},
		{"semantics", "5,5,x,string,flag", `f.csv:1:14: unknown semantics "flag", did you mean flags?`},
		{"number", "5,32768,x,string", `f.csv:1:3: element number "32768", expected 1 to 32767 without the enterprise bit`},
		{"pen", "#\n\nfive,5,x,string,,,1-2", `f.csv:3:1: private enterprise number "five", expected 0 to 4294967295`},
		{"few", "5,5,x", `f.csv:1: 3 columns, expected at least pen,elementId,name,dataType`},
		{"heading", "pen,elementId,dataType\n", `f.csv:1: no column name in the heading, expected pen,elementId,name,dataType,semantics,units,range`},
		{"range", "5,5,x,unsigned8,,,3", `f.csv:1:19: range "3", expected two numbers as in 0-63`},
		{"backwards", "5,5,x,unsigned8,,,3-2", `f.csv:1:19: range "3-2" begins after its end`},
		{"IANA", "0,8,mine,string", `f.csv:1:3: the element is known otherwise: 8 is sourceIPv4Address`},
		{"IANA's name", "5,8,SourceIPv4Address,string", `f.csv:1:5: the name cannot be used: SourceIPv4Address is element 8`},
		{"reverse", "29305,148,reverseFlowId,unsigned64", `f.csv:1:1: reverse elements (pen 29305) follow from IANA's, leave this line out`},
		{"twice", "5,5,x,string\n5,5,y,string", `f.csv:2:3: element 5/5 stands in line 1 already`},
		{"name twice", "5,5,x,string\n5,6,X,string", `f.csv:2:5: the name X stands in line 1 already`},
		{"quote", "5,5,\"x,string", `f.csv:1:14: extraneous or missing " in quoted-field`},
		{"name", "5,5,a b,string", `f.csv:1:5: the name cannot be used: ' ' at octet 2, only letters, digits, _ and - may stand there`},
		{"like unknown", "5,5,pen1.id2,string", `f.csv:1:5: the name cannot be used: '.' at octet 5, only letters, digits, _ and - may stand there`},
	} {
		t.Run(r.name, func(t *testing.T) {
			reg := NewRegistry(nil)
			err := reg.Load(strings.NewReader(r.in), "f.csv")
			if err == nil || err.Error() != r.want {
				t.Errorf("got  %v\nwant %s", err, r.want)
			}
			if reg.ids != nil {
				t.Error("a part was taken in")
			}
		})
	}
}

func FuzzLoad(f *testing.F) {
	f.Add([]byte("pen,elementId,name,dataType,semantics,units,range\n32473,100,vendorScore,unsigned32,quantity,none,0-0x3FF\n"))
	f.Add([]byte("5,5,x,string\n# c\n5,6,\"y\",float64,quantity,,\n"))
	f.Add([]byte("0,8,x,string"))
	f.Add([]byte("\"\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		r := NewRegistry(nil)
		if err := r.Load(bytes.NewReader(in), "f"); err != nil {
			if strings.ContainsAny(err.Error(), "\n\x00") {
				t.Fatalf("not one line: %q", err)
			}
			return
		}
		for _, e := range r.ids {
			if r.Lookup(e.ID) != e || r.ByName(e.Name) != e || CheckName(e.Name) != nil || !e.Type.Valid() || e.Num > MaxNumber {
				t.Fatalf("%+v", *e)
			}
			if id := IANA().Lookup(e.ID); id != nil {
				t.Fatalf("overrides %v", id)
			}
		}
	})
}

func BenchmarkLookup(b *testing.B) {
	r := NewRegistry(NewRegistry(nil))
	for b.Loop() {
		if r.Lookup(ID{Num: 8}) == nil || r.Lookup(ID{ReversePEN, 1}) == nil {
			b.Fatal()
		}
	}
}
