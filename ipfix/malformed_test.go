package ipfix_test

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"ipfixsuite/ie"
	"ipfixsuite/ipfix"
)

func TestMalformedHeader_RFC7011_9_1(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		want     error
		offset   int
	}{
		{"empty", "", ipfix.ErrTruncated, 0},
		{"short", "000a 0010 00000000 00000000 000000", ipfix.ErrTruncated, 15},
		{"NetFlow v9", "0009 0001 00000000 00000000 00000000 00000000", ipfix.ErrVersion, 0},
		{"NetFlow v5, short", "0005 0001", ipfix.ErrVersion, 0},
		{"length below the header", "000a 000f 00000000 00000000 00000000", ipfix.ErrLength, 2},
		{"longer than there is", "000a 0011 00000000 00000000 00000000", ipfix.ErrTruncated, 2},
	} {
		_, err := ipfix.ParseHeader(octets(t, tt.in))
		pe, ok := errors.AsType[*ipfix.ParseError](err)
		if !ok || !errors.Is(err, tt.want) || pe.Offset != tt.offset {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	if _, err := (ipfix.Header{}).AppendBinary(nil); err == nil {
		t.Error("a message of 0 octets")
	}
	h := ipfix.Header{Length: 16, ExportTime: 1, Sequence: 2, Domain: 3}
	b, err := h.AppendBinary(nil)
	if got, err2 := ipfix.ParseHeader(b); err != nil || err2 != nil || got != h {
		t.Error(got, err, err2)
	}
}

// TestBadSets: the sets before a fault are read, and the fault says where.
func TestBadSets_RFC7011_9_1(t *testing.T) {
	const head = "000a ffff 00000000 00000000 00000000 "
	for _, tt := range []struct {
		name, in string
		sets     []uint16
		offset   int
		field    string
	}{
		{"no sets", "", nil, 0, ""},
		{"empty set", "0100 0004", []uint16{256}, 0, ""},
		{"reserved ids are handed over", "0000 0004 0001 0004 0004 0004 00ff 0004", []uint16{0, 1, 4, 255}, 0, ""},
		{"length below its header", "0100 0005 aa 0101 0003", []uint16{256}, 23, "set length"},
		{"length 0", "0100 0000", nil, 18, "set length"},
		{"longer than the message", "0100 0004 0101 0005", []uint16{256}, 22, "set length"},
		{"cut header", "0100 0004 0101 00", []uint16{256}, 20, "set header"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var ids []uint16
			var last error
			for s, err := range ipfix.Sets(octets(t, head+tt.in)) {
				if last != nil {
					t.Error("something follows an error")
				}
				if last = err; err == nil {
					ids = append(ids, s.ID)
				}
			}
			if d := cmp.Diff(tt.sets, ids); d != "" {
				t.Error(d)
			}
			if tt.field == "" {
				if last != nil {
					t.Error(last)
				}
				return
			}
			pe, ok := errors.AsType[*ipfix.ParseError](last)
			if !ok || pe.Offset != tt.offset || pe.Field != tt.field {
				t.Errorf("%v, want octet %d, %s", last, tt.offset, tt.field)
			}
		})
	}
	// What follows the message's length is not part of it.
	msg := octets(t, "000a 0014 00000000 00000000 00000000 0100 0004 0101 0004")
	n := 0
	for _, err := range ipfix.Sets(msg) {
		if n++; err != nil {
			t.Error(err)
		}
	}
	if n != 1 {
		t.Errorf("%d sets", n)
	}
}

func TestTemplateSet_RFC7011_3_4(t *testing.T) {
	for _, tt := range []struct {
		name   string
		set    uint16
		in     string
		want   []uint16 // ids
		reason string   // Check of the last one
		offset int      // of the fault that ends it; -1: none
	}{
		{"two", 2, "0100 0001 0001 0004 0101 0001 0002 0004", []uint16{256, 257}, "", -1},
		{"padding 1 to 3", 2, "0100 0001 0001 0004 000000", []uint16{256}, "", -1},
		{"padding to 8 octets", 2, "0100 0001 0001 0004 00000000", []uint16{256}, "", -1},
		{"padding need not be zero", 2, "0100 0001 0001 0004 ffffff", []uint16{256}, "", -1},
		{"more fields than octets", 2, "0100 0001 0001 0004 0101 0002 0002 0004", []uint16{256}, "", 10},
		{"cut enterprise number", 2, "0100 0001 8001 0004 0000", nil, "", 4},
		{"cut scope", 3, "0100 0001 00", nil, "", 5},
		{"scope 0", 3, "0100 0001 0000 0001 0004", []uint16{256}, "scope", -1},
		{"scope over the fields", 3, "0100 0001 0002 0001 0004", []uint16{256}, "scope", -1},
		{"reserved id", 2, "00ff 0001 0001 0004", []uint16{255}, "id", -1},
		{"id of another set", 2, "0003 0000 0100 0000", []uint16{3, 256}, "", -1},
		{"withdrawals", 3, "0100 0000 0101 0000 0000", []uint16{256, 257}, "", -1},
		{"no template set", 4, "0100 0000", nil, "", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var ids []uint16
			var check, last error
			for rec, err := range ipfix.ParseTemplates(tt.set, octets(t, tt.in)) {
				if last = err; err != nil {
					continue
				}
				ids = append(ids, rec.ID)
				check = rec.Check()
				if !rec.Withdrawal() {
					_, err := ipfix.NewTemplate(rec.ID, rec.Scope, rec.Fields, nil)
					if (err != nil) != (check != nil) {
						t.Errorf("NewTemplate %v, Check %v", err, check)
					}
				}
			}
			if d := cmp.Diff(tt.want, ids); d != "" {
				t.Error(d)
			}
			if (tt.reason != "") != (check != nil) {
				t.Errorf("check: %v", check)
			}
			pe, ok := errors.AsType[*ipfix.ParseError](last)
			if ok != (tt.offset >= 0) || ok && pe.Offset != tt.offset {
				t.Errorf("%v, want a fault at %d", last, tt.offset)
			}
		})
	}
}

func TestWithdrawal_RFC7011_8_1(t *testing.T) {
	var b ipfix.Builder
	b.Reset(nil, 100)
	ok := b.AddWithdrawal(300, false) && b.AddWithdrawal(301, false) &&
		b.AddWithdrawal(ipfix.OptionsTemplateSetID, true)
	msg := b.Finish(ipfix.Header{})
	want := octets(t, `000a 0024 00000000 00000000 00000000
		0002 000c 012c 0000 012d 0000  0003 0008 0003 0000`)
	if d := cmp.Diff(want, msg); d != "" || !ok {
		t.Error(d)
	}
	var all []bool
	for s := range ipfix.Sets(msg) {
		for rec, err := range ipfix.ParseTemplates(s.ID, s.Body) {
			if err != nil || rec.Check() != nil || !rec.Withdrawal() {
				t.Error(err, rec.Check())
			}
			all = append(all, rec.WithdrawsAll())
		}
	}
	if d := cmp.Diff([]bool{false, false, true}, all); d != "" {
		t.Error(d)
	}
	for _, bad := range []struct {
		set uint16
		in  string
	}{{2, "0003 0000"}, {3, "0002 0000"}, {2, "0005 0000 0100 0000"}} {
		for rec := range ipfix.ParseTemplates(bad.set, octets(t, bad.in)) {
			if rec.ID < 256 && rec.Check() == nil {
				t.Errorf("set %d: withdrawal of %d", bad.set, rec.ID)
			}
		}
	}
}

func TestRefusedTemplates(t *testing.T) {
	spec := func(n uint16) ipfix.FieldSpec { return ipfix.FieldSpec{ID: ie.ID{Num: 210}, Length: n} }
	for name, f := range map[string]func() (*ipfix.Template, error){
		"reserved id":     func() (*ipfix.Template, error) { return ipfix.NewTemplate(255, 0, []ipfix.FieldSpec{spec(1)}, nil) },
		"no fields":       func() (*ipfix.Template, error) { return ipfix.NewTemplate(256, 0, nil, nil) },
		"scope":           func() (*ipfix.Template, error) { return ipfix.NewTemplate(256, 2, []ipfix.FieldSpec{spec(1)}, nil) },
		"records of none": func() (*ipfix.Template, error) { return ipfix.NewTemplate(256, 0, []ipfix.FieldSpec{spec(0)}, nil) },
		"too long": func() (*ipfix.Template, error) {
			return ipfix.NewTemplate(256, 0, []ipfix.FieldSpec{spec(65534), spec(65534)}, nil)
		},
		"longer than sets": func() (*ipfix.Template, error) { return ipfix.NewTemplate(256, 0, []ipfix.FieldSpec{spec(65516)}, nil) },
		"too many": func() (*ipfix.Template, error) {
			return ipfix.NewTemplate(256, 0, make([]ipfix.FieldSpec, 1<<17), nil)
		},
	} {
		if tm, err := f(); err == nil {
			t.Errorf("%s: %+v", name, tm)
		}
	}
}

// TestPadding: what is shorter than any record is padding, whatever it holds.
func TestPadding_RFC7011_3_3_1(t *testing.T) {
	tm := template(t, 0, ipfix.FieldSpec{ID: ie.ID{Num: 7}, Length: 2}, ipfix.FieldSpec{ID: ie.ID{Num: 82}, Length: ipfix.VariableLength})
	for _, tt := range []struct {
		name, in string
		records  int
		rest     int
		offset   int // of the fault; -1: none
	}{
		{"none", "0001 00 0002 01 61", 2, 0, -1},
		{"zeros", "0001 00 0000", 1, 2, -1},
		{"not zeros", "0001 00 ffff", 1, 2, -1},
		{"a cut value", "0001 00 0002 02 61", 1, 4, 7},
		{"a cut length", "0001 00 0002 ff 00", 1, 4, 6},
		{"empty", "", 0, 0, -1},
	} {
		in := octets(t, tt.in)
		var r ipfix.Records
		r.Reset(tm, in)
		n := 0
		for r.Next() {
			n++
		}
		if r.Next() {
			t.Errorf("%s: goes on after its end", tt.name)
		}
		count, err := ipfix.CountRecords(tm, in)
		pe, _ := errors.AsType[*ipfix.ParseError](r.Err())
		if n != tt.records || count != n || (err == nil) != (r.Err() == nil) || len(r.Rest()) != tt.rest ||
			(pe != nil) != (tt.offset >= 0) || pe != nil && pe.Offset != tt.offset {
			t.Errorf("%s: %d records (counted %d), rest %x, %v", tt.name, n, count, r.Rest(), r.Err())
		}
		if moved := ipfix.At(r.Err(), 20); pe != nil && moved.Error() == r.Err().Error() {
			t.Errorf("%s: %v was not moved", tt.name, moved)
		}
	}
	fixed := template(t, 0, ipfix.FieldSpec{ID: ie.ID{Num: 1}, Length: 8})
	if n, err := ipfix.CountRecords(fixed, make([]byte, 23)); n != 2 || err != nil {
		t.Error(n, err)
	}
}

// TestManyVariableFields: more stops than a cursor remembers.
func TestManyVariableFields(t *testing.T) {
	var specs []ipfix.FieldSpec
	var in []byte
	for i := range 30 {
		specs = append(specs, ipfix.FieldSpec{ID: ie.ID{Num: 82}, Length: ipfix.VariableLength},
			ipfix.FieldSpec{ID: ie.ID{Num: 5}, Length: 1})
		in = append(ipfix.AppendVariable(in, bytes.Repeat([]byte{'a' + byte(i)}, i*11)), byte(i))
	}
	tm := template(t, 0, specs...)
	var r ipfix.Records
	r.Reset(tm, in)
	if !r.Next() {
		t.Fatal(r.Err())
	}
	vals := r.Values(nil)
	var c ipfix.Columns
	var cr ipfix.Records
	cr.Reset(tm, in)
	if cr.Columns(&c) != 1 {
		t.Fatal(cr.Err())
	}
	for i := range specs {
		if !bytes.Equal(r.View(i), vals[i].View) || !bytes.Equal(c.View(i, 0), vals[i].View) {
			t.Errorf("field %d: %x %x %x", i, r.View(i), vals[i].View, c.View(i, 0))
		}
		if i%2 == 1 && (vals[i].Num != uint64(i/2) || c.Nums(i)[0] != vals[i].Num) {
			t.Errorf("field %d is %d", i, vals[i].Num)
		}
	}
}

func TestBuilder(t *testing.T) {
	a := template(t, 0, ipfix.FieldSpec{ID: ie.ID{Num: 1}, Length: 8})
	o := template(t, 1, ipfix.FieldSpec{ID: ie.ID{Num: 149}, Length: 4}, ipfix.FieldSpec{ID: ie.ID{Num: 41}, Length: 2})
	o.ID = 257
	rec := make([]byte, 8)
	var b ipfix.Builder
	if b.AddRecord(a, rec) {
		t.Error("a builder that was not reset takes a record")
	}
	buf := make([]byte, 0, 64)
	b.Reset(buf, 16+12+8+4)
	if !b.Empty() || !b.AddTemplate(a) || b.Len() != 28 || b.AddTemplate(o) || !b.AddRecord(a, rec) || b.AddRecord(a, rec) {
		t.Errorf("%d octets", b.Len())
	}
	msg := b.Finish(ipfix.Header{Sequence: 5})
	if &msg[0] != &buf[:1][0] || b.Records() != 1 || len(msg) != 40 {
		t.Errorf("%d octets, %d records", len(msg), b.Records())
	}
	want := octets(t, "000a 0028 00000000 00000005 00000000 0002 000c 0100 0001 0001 0008 0100 000c 0000000000000000")
	if d := cmp.Diff(want, msg); d != "" {
		t.Error(d)
	}
	b.Reset(buf, 1<<20)
	for b.AddRecord(a, rec) {
	}
	if msg := b.Finish(ipfix.Header{}); len(msg) > ipfix.MaxMessage || len(msg) < ipfix.MaxMessage-8 {
		t.Error(len(msg))
	}
}

func TestReadMessage(t *testing.T) {
	one := octets(t, "000a 0014 00000000 00000001 00000000 0100 0004")
	big := make([]byte, 65535)
	copy(big, octets(t, "000a ffff 00000000 00000002 00000000 0100 ffef"))
	stream := append(append(append([]byte(nil), one...), big...), one...)
	for name, wrap := range map[string]func(io.Reader) io.Reader{
		"whole": func(r io.Reader) io.Reader { return r }, "octet by octet": iotest.OneByteReader, "halves": iotest.HalfReader,
	} {
		r := bufio.NewReaderSize(wrap(bytes.NewReader(stream)), 16)
		var buf []byte
		for _, want := range [][]byte{one, big, one} {
			m, err := ipfix.ReadMessage(r, buf)
			if err != nil || !bytes.Equal(m, want) {
				t.Fatalf("%s: %d octets, %v", name, len(m), err)
			}
			buf = m
		}
		if _, err := ipfix.ReadMessage(r, buf); !errors.Is(err, io.EOF) {
			t.Errorf("%s: %v at the end", name, err)
		}
	}
	for _, tt := range []struct {
		name string
		in   []byte
		want error
	}{
		{"cut", one[:19], io.ErrUnexpectedEOF},
		{"cut header", one[:7], io.ErrUnexpectedEOF},
		{"version", []byte{0, 9, 0, 20}, ipfix.ErrVersion},
		{"length", []byte{0, 10, 0, 15}, ipfix.ErrLength},
	} {
		if _, err := ipfix.ReadMessage(bufio.NewReader(bytes.NewReader(tt.in)), nil); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}
