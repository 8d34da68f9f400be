package ie

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func typeRecord(pen uint32, num uint16, typ, sem, units uint64, lo, hi uint64, name string) *TypeRecord {
	var t TypeRecord
	t.Set(ID{Num: privateEnterpriseNumber}, uint64(pen), nil)
	t.Set(ID{Num: informationElementID}, uint64(num), nil)
	t.Set(ID{Num: informationElementDataType}, typ, nil)
	t.Set(ID{Num: informationElementSemantics}, sem, nil)
	t.Set(ID{Num: informationElementUnits}, units, nil)
	t.Set(ID{Num: informationElementRangeBegin}, lo, nil)
	t.Set(ID{Num: informationElementRangeEnd}, hi, nil)
	t.Set(ID{Num: informationElementName}, 0, []byte(name))
	t.Set(ID{PEN: 1, Num: informationElementName}, 0, []byte("not this one"))
	t.Set(ID{Num: 340}, 0, []byte("a description"))
	return &t
}

func TestTypeRecord_RFC5610_3_9(t *testing.T) {
	// The enterprise bit in informationElementId is ignored (Section 3.8).
	e, err := typeRecord(32473, 0x8064, 3, 1, 6, 1, 9, "vendorDelay").Element()
	if err != nil {
		t.Fatal(err)
	}
	want := Element{ID: ID{32473, 100}, Name: "vendorDelay", Type: Unsigned32, Semantics: Quantity, Units: "milliseconds", Min: 1, Max: 9}
	if d := cmp.Diff(want, e); d != "" {
		t.Error(d)
	}
	if e, err := typeRecord(1, 2, 13, 0, 0, 0, 0, "padded\x00\x00").Element(); err != nil || e.Name != "padded" {
		t.Error(e, err)
	}
	if e, err := typeRecord(1, 2, 4, 0, 0, 5, 0, "fromFive").Element(); err != nil || e.Max != 1<<64-1 {
		t.Error(e, err)
	}
}

func TestTypeRecord_Hostile(t *testing.T) {
	for _, r := range []struct {
		name string
		t    *TypeRecord
		want string
	}{
		{"empty", new(TypeRecord), "without number, data type or name"},
		{"type", typeRecord(1, 2, 24, 0, 0, 0, 0, "x"), "unknown data type 24"},
		{"type 256", typeRecord(1, 2, 256, 0, 0, 0, 0, "x"), "unknown data type 256"},
		{"semantics", typeRecord(1, 2, 3, 9, 0, 0, 0, "x"), "unknown semantics 9"},
		{"range", typeRecord(1, 2, 3, 0, 0, 9, 3, "x"), "range from 9 to 3"},
		{"no name", typeRecord(1, 2, 3, 0, 0, 0, 0, ""), "it is empty"},
		{"NUL inside, RFC 5610 section 4", typeRecord(1, 2, 3, 0, 0, 0, 0, "a\x00b"), "'\\x00' at octet 2"},
		{"quote", typeRecord(1, 2, 3, 0, 0, 0, 0, `a":1,"b`), `'"' at octet 2`},
		{"metadata", typeRecord(1, 2, 3, 0, 0, 0, 0, "@exporter"), "'@' at octet 1"},
		{"as if unknown", typeRecord(1, 2, 3, 0, 0, 0, 0, "pen0.id8"), "'.' at octet 5"},
		{"long", typeRecord(1, 2, 3, 0, 0, 0, 0, strings.Repeat("a", 65000)), "at most 128"},
		{"flags of a float, section 3.10", typeRecord(1, 2, 9, 5, 0, 0, 0, "x"), "float32 cannot be flags"},
		{"counter of addresses, section 3.10", typeRecord(1, 2, 18, 2, 0, 0, 0, "x"), "ipv4Address cannot be totalCounter"},
		{"a list of numbers", typeRecord(1, 2, 3, 6, 0, 0, 0, "x"), "unsigned32 cannot be list"},
	} {
		t.Run(r.name, func(t *testing.T) {
			if _, err := r.t.Element(); err == nil || !strings.Contains(err.Error(), r.want) {
				t.Errorf("got %v, want %s", err, r.want)
			}
		})
	}
}

func TestDescribesElements(t *testing.T) {
	full := []ID{{Num: 346}, {Num: 303}, {Num: 339}, {Num: 344}, {Num: 341}}
	if !DescribesElements(2, full) {
		t.Error("type records are not recognised")
	}
	if DescribesElements(1, full) || DescribesElements(2, full[:4]) || DescribesElements(0, nil) {
		t.Error("something else passes for type records")
	}
}

func TestLearn_NeverOverrides_RFC5610_3_9(t *testing.T) {
	shared := NewRegistry(nil)
	if err := shared.Load(strings.NewReader("5,1,ours,unsigned8"), "f"); err != nil {
		t.Fatal(err)
	}
	r := NewRegistry(shared)
	for _, row := range []struct {
		name string
		e    Element
		want error
	}{
		{"IANA's", Element{ID: ID{0, 8}, Name: "sourceIPv4Address", Type: String}, ErrKnown},
		{"IANA's, as it is", Element{ID: ID{0, 8}, Name: "sourceIPv4Address", Type: IPv4Address}, nil},
		{"not IANA's yet", Element{ID: ID{0, 9999}, Name: "x", Type: String}, ErrKnown},
		{"a reverse element", Element{ID: ID{ReversePEN, 148}, Name: "x", Type: String}, ErrKnown},
		{"the operator's", Element{ID: ID{5, 1}, Name: "ours", Type: String}, ErrKnown},
		{"the operator's, as it is", Element{ID: ID{5, 1}, Name: "ours", Type: Unsigned8}, nil},
		{"IANA's name", Element{ID: ID{6, 1}, Name: "sourceIPv4Address", Type: String}, ErrName},
		{"like IANA's name", Element{ID: ID{6, 1}, Name: "SOURCEipv4address", Type: String}, ErrName},
		{"a reverse name", Element{ID: ID{6, 1}, Name: "reverseOctetDeltaCount", Type: String}, ErrName},
		{"the operator's name", Element{ID: ID{6, 1}, Name: "Ours", Type: String}, ErrName},
		{"new", Element{ID: ID{6, 1}, Name: "theirs", Type: Unsigned8}, nil},
		{"again", Element{ID: ID{6, 1}, Name: "theirs", Type: Unsigned8}, nil},
		{"its name", Element{ID: ID{6, 2}, Name: "theirs", Type: Unsigned8}, ErrName},
		{"otherwise", Element{ID: ID{6, 1}, Name: "theirs", Type: String}, ErrConflict},
		{"as at first", Element{ID: ID{6, 1}, Name: "theirs", Type: Unsigned8}, ErrConflict},
	} {
		if err := r.Learn(row.e); !errors.Is(err, row.want) {
			t.Errorf("%s: %v, want %v", row.name, err, row.want)
		}
	}
	if r.Lookup(ID{6, 1}) != nil || r.ByName("theirs") != nil {
		t.Error("an element described in two ways is not ignored")
	}
	if shared.Lookup(ID{6, 1}) != nil || len(shared.ids) != 1 {
		t.Error("a session's element got out of it")
	}
	if e := r.Lookup(ID{0, 8}); e.Type != IPv4Address {
		t.Error(*e)
	}
}

func TestLearn_Bounded(t *testing.T) {
	r := NewRegistry(nil)
	for i := range MaxLearnt {
		if err := r.Learn(Element{ID: ID{7, uint16(i)}, Name: fmt.Sprint("e", i), Type: Unsigned8}); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Learn(Element{ID: ID{8, 1}, Name: "oneMore", Type: Unsigned8}); !errors.Is(err, ErrFull) {
		t.Error(err)
	}
	if r.Learn(Element{ID: ID{7, 0}, Name: "e0", Type: Unsigned8}) != nil || r.Lookup(ID{7, 4095}) == nil {
		t.Error("what was learnt before is gone")
	}
}
