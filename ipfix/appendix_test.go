package ipfix_test

import (
	"encoding/hex"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ipfixsuite/ie"
	"ipfixsuite/ipfix"
)

// octets reads hex with blanks; what follows # on a line is a comment.
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

// The message of RFC 7011, Appendix A: the header of A.1 (152 octets), the sets
// of A.2.1, A.3, A.4.3 and A.4.4, and the enterprise number 32473.
const appendixA = `
	000a 0098 5f5e1000 00000007 00000001  # version 10, 152 octets
	0002 001c                             # Template Set, 28 octets
	0100 0005                             # template 256, 5 fields
	0008 0004  000c 0004  000f 0004  0002 0004  0001 0004
	0100 0040                             # data of 256, 64 octets
	c000020c c00002fe c0000201 00001391 00518c81
	c000021b c0000217 c0000202 000002ec 0005ef46
	c0000238 c0000241 c0000203 00000005 00001986
	0003 001c                             # Options Template Set, 28 octets
	0104 0003 0001                        # template 260, 3 fields, 1 scope
	807b 0004 00007ed9  0029 0002  002a 0002
	0000                                  # padding
	0104 0014                             # data of 260, 20 octets
	00000001 0159 27d9
	00000002 02b2 4fb2
`

func TestAppendixA_RFC7011(t *testing.T) {
	// A.1 says 152, the sum of the sets it names (A.4.1 in its place is 24);
	// with A.4.3 and A.4.4 the message is 16+28+64+28+20.
	msg := octets(t, appendixA)
	msg[3] = byte(len(msg))
	h, err := ipfix.ParseHeader(msg)
	if err != nil {
		t.Fatal(err)
	}
	if want := (ipfix.Header{Length: 156, ExportTime: 1600000000, Sequence: 7, Domain: 1}); h != want {
		t.Errorf("header %+v, want %+v", h, want)
	}
	templates := map[uint16]*ipfix.Template{}
	var got [][]uint64
	var b ipfix.Builder
	b.Reset(nil, 1400)
	for s, err := range ipfix.Sets(msg) {
		if err != nil {
			t.Fatal(err)
		}
		if s.ID < ipfix.MinDataSetID {
			for rec, err := range ipfix.ParseTemplates(s.ID, s.Body) {
				if err != nil {
					t.Fatal(err)
				}
				tm, err := ipfix.NewTemplate(rec.ID, rec.Scope, rec.Fields, ie.IANA())
				if err != nil {
					t.Fatal(err)
				}
				templates[rec.ID] = tm
				b.AddTemplate(tm)
			}
			continue
		}
		var r ipfix.Records
		r.Reset(templates[s.ID], s.Body)
		for r.Next() {
			vals := r.Values(nil)
			var nums []uint64
			for i, v := range vals {
				if templates[s.ID].Fields[i].Element == nil {
					nums = append(nums, ipfix.ValueOf(ie.Unsigned32, v.View).Num)
					continue
				}
				nums = append(nums, v.Num)
			}
			got = append(got, nums)
			rec, err := templates[s.ID].AppendRecord(nil, vals)
			if err != nil || !b.AddRecord(templates[s.ID], rec) {
				t.Fatal(err)
			}
		}
	}
	want := [][]uint64{
		{0xc000020c, 0xc00002fe, 0xc0000201, 5009, 5344385},
		{0xc000021b, 0xc0000217, 0xc0000202, 748, 388934},
		{0xc0000238, 0xc0000241, 0xc0000203, 5, 6534},
		{1, 345, 10201},
		{2, 690, 20402},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if tm := templates[260]; tm.Scope != 1 || tm.Fields[0].PEN != 32473 || tm.Fields[0].Num != 123 {
		t.Errorf("options template %+v", tm)
	}
	// Encoded again it is the same, but for the padding, which we never need.
	again := b.Finish(h)
	pad := 16 + 28 + 64 + 28 - 2
	short := append(append([]byte(nil), msg[:pad]...), msg[pad+2:]...)
	short[3] -= 2
	short[16+28+64+3] -= 2
	if d := cmp.Diff(short, again); d != "" {
		t.Error(d)
	}
}

// TestTemplateSets_RFC7011_A reads the other template sets of the
// appendix.
func TestTemplateSets_RFC7011_A(t *testing.T) {
	iana := func(num, n uint16) ipfix.FieldSpec { return ipfix.FieldSpec{ID: ie.ID{Num: num}, Length: n} }
	ent := func(num, n uint16) ipfix.FieldSpec {
		return ipfix.FieldSpec{ID: ie.ID{PEN: 32473, Num: num}, Length: n}
	}
	for _, tt := range []struct {
		name, in string
		set      uint16
		want     ipfix.TemplateRecord
	}{
		{"A.2.2 enterprise element", "0101 0005 0008 0004 000c 0004 800f 0004 00007ed9 0002 0004 0001 0004", 2,
			ipfix.TemplateRecord{ID: 257, Fields: []ipfix.FieldSpec{iana(8, 4), iana(12, 4), ent(15, 4), iana(2, 4), iana(1, 4)}}},
		{"A.4.1 options", "0102 0003 0001 008d 0004 0029 0002 002a 0002 0000", 3,
			ipfix.TemplateRecord{ID: 258, Scope: 1, Options: true, Fields: []ipfix.FieldSpec{iana(141, 4), iana(41, 2), iana(42, 2)}}},
		{"A.4.2 enterprise option", "0103 0003 0001 008d 0004 0029 0002 802a 0004 00007ed9 0000", 3,
			ipfix.TemplateRecord{ID: 259, Scope: 1, Options: true, Fields: []ipfix.FieldSpec{iana(141, 4), iana(41, 2), ent(42, 4)}}},
		{"A.4.3 enterprise scope", "0104 0003 0001 807b 0004 00007ed9 0029 0002 002a 0002 0000", 3,
			ipfix.TemplateRecord{ID: 260, Scope: 1, Options: true, Fields: []ipfix.FieldSpec{ent(123, 4), iana(41, 2), iana(42, 2)}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := 0
			for rec, err := range ipfix.ParseTemplates(tt.set, octets(t, tt.in)) {
				if err != nil || rec.Check() != nil {
					t.Fatal(err, rec.Check())
				}
				if d := cmp.Diff(tt.want, rec); d != "" {
					t.Error(d)
				}
				n++
			}
			if n != 1 {
				t.Errorf("%d records", n)
			}
		})
	}
}

// TestVariableLength_RFC7011_A_5: one and three octets of length.
func TestVariableLength_RFC7011_A_5(t *testing.T) {
	tm := template(t, 0, ipfix.FieldSpec{ID: ie.ID{Num: 82}, Length: ipfix.VariableLength})
	long := strings.Repeat("61", 1000)
	for _, tt := range []struct {
		name, in string
		want     int
		same     bool // we would write it so too
	}{
		{"A.5.1 5 octets", "05 6162636465", 5, true},
		{"A.5.2 1000 octets", "ff 03e8" + long, 1000, true},
		{"0 octets", "00", 0, true},
		{"0 octets in three", "ff 0000", 0, false},
		{"254 octets", "fe" + long[:508], 254, true},
		{"255 octets", "ff 00ff" + long[:510], 255, true},
		{"3 octets in the long form", "ff 0003 616263", 3, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := octets(t, tt.in)
			var r ipfix.Records
			r.Reset(tm, in)
			if !r.Next() || len(r.View(0)) != tt.want || r.Offset() != 0 || len(r.Raw()) != len(in) {
				t.Fatalf("%v, view %x", r.Err(), r.View(0))
			}
			v := r.Values(nil)
			if r.Next() || r.Err() != nil {
				t.Errorf("a second record, %v", r.Err())
			}
			out, err := tm.AppendRecord(nil, v)
			if err != nil {
				t.Fatal(err)
			}
			if tt.same && !cmp.Equal(out, in) {
				t.Errorf("encoded %x", out)
			}
			if out2 := ipfix.AppendVariable(nil, v[0].View); !cmp.Equal(out, out2) {
				t.Errorf("AppendVariable %x, AppendRecord %x", out2, out)
			}
		})
	}
}

// template compiles specs with id 256.
func template(tb testing.TB, scope int, specs ...ipfix.FieldSpec) *ipfix.Template {
	tb.Helper()
	t, err := ipfix.NewTemplate(256, scope, specs, ie.IANA())
	if err != nil {
		tb.Fatal(err)
	}
	return t
}
