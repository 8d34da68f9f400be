package ipfix_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"ipfixsuite/ie"
	"ipfixsuite/ipfix"
)

// The IPS alert of RFC 6313, Appendix B: templates 268 to 271 and the Data Set
// of Figure 35. signatureId and riskRating have no numbers there; here they are
// enterprise elements 1 and 2.
const alertTemplates = `
	010c 0002  000c 0004  005f 0004            # 268 target
	010d 0002  0008 0004  005f 0004            # 269 attacker
	010e 0001  0123 ffff                       # 270 participant: basicList
	010f 0004  8001 0002 00007ed9  0004 0001  8002 0001 00007ed9  0124 ffff
`

const alertData = `
	03eb 11 0a                                 # 1003, 17, 10
	ff 005b 03 010e                            # allOf participants
	ff 0029 03 0124 ffff                       # P1: allOf subTemplateLists
	ff 0013 01 010d c0000203 00000067 c0000204 00000068
	ff 000b ff 010c c0000267 00000bb9
	ff 0029 03 0124 ffff                       # P2
	ff 000b ff 010d c0000205 00000069
	ff 0013 03 010c c0000268 00000fa1 c0000269 00001389
`

func alert(tb testing.TB) map[uint16]*ipfix.Template {
	tb.Helper()
	reg := ie.NewRegistry(ie.IANA())
	for i, typ := range []ie.DataType{1: ie.Unsigned16, 2: ie.Unsigned8} {
		if i == 0 {
			continue
		}
		e := ie.Element{ID: ie.ID{PEN: 32473, Num: uint16(i)}, Name: "alertField" + string(rune('A'+i)), Type: typ}
		if err := reg.Learn(e); err != nil {
			tb.Fatal(err)
		}
	}
	ts := map[uint16]*ipfix.Template{}
	for rec, err := range ipfix.ParseTemplates(ipfix.TemplateSetID, octets(tb, alertTemplates)) {
		if err != nil {
			tb.Fatal(err)
		}
		t, err := ipfix.NewTemplate(rec.ID, rec.Scope, rec.Fields, reg)
		if err != nil {
			tb.Fatal(err)
		}
		ts[t.ID] = t
	}
	return ts
}

func TestLists_RFC6313_B(t *testing.T) {
	ts := alert(t)
	data := octets(t, alertData)
	if len(data)+ipfix.SetHeaderLen != 102 {
		t.Fatalf("%d octets, Figure 35 has 102", len(data)+ipfix.SetHeaderLen)
	}
	var r ipfix.Records
	r.Reset(ts[271], data)
	if !r.Next() {
		t.Fatal(r.Err())
	}
	type node struct {
		Depth    int
		Semantic ipfix.ListSemantic
		Template uint16
		Nums     []uint64
	}
	var got []node
	var fault error
	var walk func(depth int, sem ipfix.ListSemantic, tm *ipfix.Template, rec []ipfix.Value)
	walk = func(depth int, sem ipfix.ListSemantic, tm *ipfix.Template, vals []ipfix.Value) {
		n := node{Depth: depth, Semantic: sem, Template: tm.ID}
		at := len(got)
		got = append(got, n)
		for i, v := range vals {
			switch tm.Fields[i].Type {
			case ie.SubTemplateList:
				l, err := ipfix.ParseSubTemplateList(v.View)
				if err != nil {
					fault = err
					return
				}
				var sub ipfix.Records
				sub.Reset(ts[l.Template], l.Content)
				for sub.Next() {
					walk(depth+1, l.Semantic, ts[l.Template], sub.Values(nil))
				}
			case ie.BasicList:
				l, err := ipfix.ParseBasicList(v.View)
				if err != nil || l.Field.Num != 292 || l.Semantic != ipfix.AllOf {
					t.Fatalf("%+v %v", l, err)
				}
				for e, err := range l.All() {
					if err != nil {
						fault = err
						return
					}
					s, err := ipfix.ParseSubTemplateList(e)
					if err != nil {
						fault = err
						return
					}
					var sub ipfix.Records
					sub.Reset(ts[s.Template], s.Content)
					for sub.Next() {
						walk(depth+1, s.Semantic, ts[s.Template], sub.Values(nil))
					}
				}
			case ie.OctetArray: // applicationId
				got[at].Nums = append(got[at].Nums, ipfix.ValueOf(ie.Unsigned32, v.View).Num)
			default:
				got[at].Nums = append(got[at].Nums, v.Num)
			}
		}
	}
	vals := r.Values(nil)
	walk(0, ipfix.UndefinedList, ts[271], vals)
	if fault != nil || r.Next() || r.Err() != nil {
		t.Fatal(fault, r.Err())
	}
	want := []node{
		{0, ipfix.UndefinedList, 271, []uint64{1003, 17, 10}},
		{1, ipfix.AllOf, 270, nil},
		{2, ipfix.ExactlyOneOf, 269, []uint64{0xc0000203, 103}},
		{2, ipfix.ExactlyOneOf, 269, []uint64{0xc0000204, 104}},
		{2, ipfix.UndefinedList, 268, []uint64{0xc0000267, 3001}},
		{1, ipfix.AllOf, 270, nil},
		{2, ipfix.UndefinedList, 269, []uint64{0xc0000205, 105}},
		{2, ipfix.AllOf, 268, []uint64{0xc0000268, 4001}},
		{2, ipfix.AllOf, 268, []uint64{0xc0000269, 5001}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	// Lists get three length octets though they are short (RFC 6313,
	// Section 5.1), so the record encodes to the octets of the figure.
	out, err := ts[271].AppendRecord(nil, vals)
	if d := cmp.Diff(data, out); d != "" || err != nil {
		t.Error(d, err)
	}
}

func TestBasicList_RFC6313_4_5_1(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		want     [][]byte
		fault    bool
	}{
		{"fixed elements", "00 0007 0002 0050 01bb", [][]byte{{0, 80}, {1, 187}}, false},
		{"none", "ff 0007 0002", nil, false},
		{"enterprise", "04 8064 0002 00007ed9 0050", [][]byte{{0, 80}}, false},
		{"variable elements", "03 0052 ffff 02 6162 00 ff0001 63", [][]byte{{'a', 'b'}, {}, {'c'}}, false},
		{"cut element", "03 0007 0002 0050 01", [][]byte{{0, 80}}, true},
		{"cut variable element", "03 0052 ffff 02 61", nil, true},
		{"cut length", "03 0052 ffff ff 00", nil, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := octets(t, tt.in)
			l, err := ipfix.ParseBasicList(in)
			if err != nil {
				t.Fatal(err)
			}
			var got [][]byte
			for e, err := range l.All() {
				if (err != nil) && !tt.fault {
					t.Fatal(err)
				}
				if err == nil {
					got = append(got, e)
				} else {
					tt.fault = false
				}
			}
			if tt.fault {
				t.Error("no fault")
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Error(d)
			}
			if out, err := l.AppendBinary(nil); err != nil || !cmp.Equal(out, in) {
				t.Errorf("%v, encoded %x", err, out)
			}
		})
	}
	for _, in := range []string{"", "03", "03 0052 ff", "03 8052 0001 0000", "03 0007 0000 01"} {
		if l, err := ipfix.ParseBasicList(octets(t, in)); err == nil {
			t.Errorf("%q: %+v", in, l)
		}
	}
}

func TestSubTemplateMultiList_RFC6313_4_5_3(t *testing.T) {
	in := octets(t, "03 0100 0008 01020304 0101 0000 0102 0004 0103 0005 aa")
	l, err := ipfix.ParseSubTemplateMultiList(in)
	if err != nil {
		t.Fatal(err)
	}
	var got []ipfix.MultiListPart
	for p, err := range l.All() {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, p)
	}
	want := []ipfix.MultiListPart{
		{Template: 256, Offset: 4, Content: []byte{1, 2, 3, 4}},
		{Template: 257, Offset: 12, Content: []byte{}},
		{Template: 258, Offset: 16, Content: []byte{}},
		{Template: 259, Offset: 20, Content: []byte{0xaa}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	var content []byte
	for _, p := range got[:2] {
		if content, err = ipfix.AppendPart(content, p.Template, p.Content); err != nil {
			t.Fatal(err)
		}
	}
	out, _ := ipfix.SubTemplateMultiList{Semantic: ipfix.AllOf, Content: content}.AppendBinary(nil)
	if d := cmp.Diff(in[:13], out); d != "" {
		t.Error(d)
	}
	for _, bad := range []string{"03 0100", "03 0100 0003 00", "03 0100 0009 01020304"} {
		l, err := ipfix.ParseSubTemplateMultiList(octets(t, bad))
		n := 0
		for _, e := range l.All() {
			err = e
			n++
		}
		if err == nil || n != 1 {
			t.Errorf("%s: %d parts, %v", bad, n, err)
		}
	}
}
