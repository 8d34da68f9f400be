package ipfix_test

import (
	"bufio"
	"bytes"
	"errors"
	"testing"

	"ipfixsuite/ie"
	"ipfixsuite/ipfix"
	"ipfixsuite/test/workload"
)

// readAll reads a record in every way there is and checks that they agree.
func readAll(t *testing.T, tm *ipfix.Template, body []byte) {
	var r, cr ipfix.Records
	var c ipfix.Columns
	var vals []ipfix.Value
	r.Reset(tm, body)
	cr.Reset(tm, body)
	columns := cr.Columns(&c)
	n := 0
	for ; r.Next(); n++ {
		if len(r.Raw()) < tm.MinLen || len(r.Raw()) == 0 {
			t.Fatalf("a record of %d octets, at least %d", len(r.Raw()), tm.MinLen)
		}
		vals = r.Values(vals)
		for i := range vals {
			v := r.Value(i)
			if v.Num != vals[i].Num || !bytes.Equal(v.View, vals[i].View) || !bytes.Equal(v.View, c.View(i, n)) {
				t.Fatalf("field %d: %v, %v, %x", i, v, vals[i], c.View(i, n))
			}
			if col := c.Nums(i); col != nil && col[n] != v.Num {
				t.Fatalf("field %d: %d in its column, %d", i, col[n], v.Num)
			}
			readLists(t, tm.Fields[i].Type, v.View, 0)
		}
		// What is encoded from the values reads as the same values; octets
		// differ where a length was written long, or a text is no UTF-8.
		if rec, err := tm.AppendRecord(nil, vals); err == nil {
			var again ipfix.Records
			again.Reset(tm, rec)
			if !again.Next() || len(again.Rest()) != 0 {
				t.Fatalf("%x was encoded as %x", r.Raw(), rec)
			}
			for i, v := range again.Values(nil) {
				if v.Num != vals[i].Num && !nan(tm.Fields[i].Type) {
					t.Fatalf("field %d: %v came back as %v", i, vals[i], v)
				}
			}
		}
	}
	count, err := ipfix.CountRecords(tm, body)
	if count != n || columns != n || (err == nil) != (r.Err() == nil) {
		t.Fatalf("%d records, %d counted, %d in columns; %v, %v", n, count, columns, r.Err(), err)
	}
	if err := r.Err(); err != nil {
		if e, ok := errors.AsType[*ipfix.ParseError](err); !ok || e.Offset < 0 || e.Offset > len(body) {
			t.Fatal(err)
		}
	} else if len(r.Rest()) >= tm.MinLen {
		t.Fatalf("%d octets are left of records of %d", len(r.Rest()), tm.MinLen)
	}
}

func nan(t ie.DataType) bool { return t.Float() }

// readLists walks structured data to a depth that hostile octets cannot set.
func readLists(t *testing.T, typ ie.DataType, view []byte, depth int) {
	if depth > ipfix.MaxListDepth {
		return
	}
	switch typ {
	case ie.BasicList:
		l, err := ipfix.ParseBasicList(view)
		if err != nil {
			return
		}
		// An enterprise number 0 is read but not written.
		if out, _ := l.AppendBinary(nil); !bytes.Equal(out, view) && (l.Field.PEN != 0 || view[1] < 0x80) {
			t.Fatalf("%x was encoded as %x", view, out)
		}
		element := ie.OctetArray
		if e := ie.IANA().Lookup(l.Field.ID); e != nil {
			element = e.Type
		}
		for e, err := range l.All() {
			if err == nil {
				ipfix.ValueOf(element, e)
				readLists(t, element, e, depth+1)
			}
		}
	case ie.SubTemplateList:
		if l, err := ipfix.ParseSubTemplateList(view); err == nil {
			if out, _ := l.AppendBinary(nil); !bytes.Equal(out, view) {
				t.Fatalf("%x was encoded as %x", view, out)
			}
		}
	case ie.SubTemplateMultiList:
		l, err := ipfix.ParseSubTemplateMultiList(view)
		if err != nil {
			return
		}
		for p, err := range l.All() {
			if err == nil && (p.Offset+len(p.Content) > len(l.Content)) {
				t.Fatalf("%+v", p)
			}
		}
	}
}

// FuzzMessage walks messages as a collector does: templates are learnt as they
// come and data is read by them.
func FuzzMessage(f *testing.F) {
	f.Add(octets(f, appendixA))
	for _, w := range workload.All(2) {
		f.Add(append(append([]byte(nil), w.Setup...), w.Messages[0]...))
		f.Add(w.Messages[1])
	}
	f.Add(octets(f, "000a 004c 00000000 00000000 00000000 0002 0014 0100 0003 0123 ffff 0124 ffff 0125 ffff"+
		"0100 0028 0a 0300070002005000510052 07 03010100010203 0c 0301000008010203040101"))
	f.Fuzz(func(t *testing.T, b []byte) {
		templates := map[uint16]*ipfix.Template{}
		for range 4 {
			h, err := ipfix.ParseHeader(b)
			if err != nil && !errors.Is(err, ipfix.ErrTruncated) {
				return
			}
			octetsSeen := ipfix.HeaderLen
			for s, err := range ipfix.Sets(b) {
				if err != nil {
					break
				}
				if s.Offset != octetsSeen {
					t.Fatalf("set at %d, expected at %d", s.Offset, octetsSeen)
				}
				octetsSeen += ipfix.SetHeaderLen + len(s.Body)
				switch {
				case s.ID >= ipfix.MinDataSetID:
					if tm := templates[s.ID]; tm != nil {
						readAll(t, tm, s.Body)
					}
				default:
					learn(t, templates, s)
				}
			}
			if err != nil {
				return
			}
			b = b[h.Length:]
		}
	})
}

func learn(t *testing.T, templates map[uint16]*ipfix.Template, s ipfix.Set) {
	for rec, err := range ipfix.ParseTemplates(s.ID, s.Body) {
		if err != nil || rec.Withdrawal() {
			continue
		}
		tm, err := ipfix.NewTemplate(rec.ID, rec.Scope, rec.Fields, ie.IANA())
		if err != nil {
			continue
		}
		if rec.Check() != nil {
			t.Fatalf("compiled although %v", rec.Check())
		}
		// Not always the same octets: an enterprise number 0 is IANA's own
		// registry and is not written.
		out := tm.AppendTemplate(nil)
		if len(out) != tm.TemplateLen() {
			t.Fatalf("%d octets, announced %d", len(out), tm.TemplateLen())
		}
		again := 0
		for rec, err := range ipfix.ParseTemplates(s.ID, out) {
			if again++; err != nil || rec.ID != tm.ID || !tm.Matches(rec.Scope, rec.Fields) {
				t.Fatalf("encoded %x, was %x: %v", out, s.Body[rec.Offset:], err)
			}
		}
		if again != 1 {
			t.Fatalf("%x has %d records", out, again)
		}
		templates[rec.ID] = tm
	}
}

// FuzzRecords reads octets by a template made of octets.
func FuzzRecords(f *testing.F) {
	f.Add([]byte{0, 7, 0, 2, 0, 82, 255, 255, 0, 1, 0, 8}, []byte{0, 80, 1, 'x', 0, 0, 0, 0, 0, 0, 0, 9}, uint8(1))
	f.Add([]byte{1, 35, 255, 255, 1, 36, 255, 255}, octets(f, "ff0009 03 0007 0002 0050 0051 05 03 0100 0001"), uint8(0))
	f.Fuzz(func(t *testing.T, template, body []byte, scope uint8) {
		var specs []ipfix.FieldSpec
		for ; len(template) >= 4; template = template[4:] {
			s := ipfix.FieldSpec{ID: ie.ID{Num: uint16(template[0])<<8 | uint16(template[1])}, Length: uint16(template[2])<<8 | uint16(template[3])}
			if s.Num&0x8000 != 0 {
				s.Num &^= 0x8000
				s.PEN = ie.ReversePEN
			}
			specs = append(specs, s)
		}
		if tm, err := ipfix.NewTemplate(256, int(scope), specs, ie.IANA()); err == nil && len(body) < 1<<16 {
			readAll(t, tm, body)
		}
	})
}

// FuzzLists reads octets as each of the structured data types.
func FuzzLists(f *testing.F) {
	f.Add(octets(f, alertData)[7:])
	f.Add(octets(f, "03 0052 ffff 02 6162 00 ff0001 63"))
	f.Add(octets(f, "03 0123 ffff 05 03 0007 0001 50"))
	f.Add(octets(f, "03 0100 0008 01020304 0101 0000"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, typ := range []ie.DataType{ie.BasicList, ie.SubTemplateList, ie.SubTemplateMultiList} {
			readLists(t, typ, b, 0)
		}
	})
}

// FuzzBuilder packs what a script of octets says and reads it again.
func FuzzBuilder(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 0, 0, 1, 1, 5}, uint16(200))
	f.Add(bytes.Repeat([]byte{2, 3}, 200), uint16(1400))
	f.Fuzz(func(t *testing.T, script []byte, limit uint16) {
		iana := func(num, n uint16) ipfix.FieldSpec { return ipfix.FieldSpec{ID: ie.ID{Num: num}, Length: n} }
		a := template(t, 0, iana(1, 8), iana(82, ipfix.VariableLength))
		o := template(t, 1, iana(149, 4), iana(41, 3))
		o.ID = 257
		var b ipfix.Builder
		b.Reset(nil, int(limit))
		var want []byte // ids, in order
		for i, op := range script {
			var ok bool
			switch op % 5 {
			case 0:
				ok = b.AddTemplate(a)
			case 1:
				ok = b.AddTemplate(o)
			case 2:
				rec, err := a.AppendRecord(nil, []ipfix.Value{{Num: uint64(i)}, {View: script[:i]}})
				ok = err == nil && b.AddRecord(a, rec)
			case 3:
				rec, _ := o.AppendRecord(nil, []ipfix.Value{{Num: 1}, {Num: uint64(i)}})
				ok = b.AddRecord(o, rec)
			case 4:
				ok = b.AddWithdrawal(uint16(256+i), i%2 == 0)
			}
			if ok {
				want = append(want, op%5)
			}
		}
		if limit < ipfix.HeaderLen && len(want) > 0 {
			t.Fatal("something fits in less than a header")
		}
		records := b.Records()
		msg := b.Finish(ipfix.Header{})
		if len(msg) > max(int(limit), ipfix.HeaderLen) {
			t.Fatalf("%d octets, at most %d", len(msg), limit)
		}
		var got []byte
		for s, err := range ipfix.Sets(msg) {
			if err != nil || len(s.Body) == 0 {
				t.Fatal(err, s)
			}
			got = append(got, kinds(t, s, a, o)...)
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("packed %d, read %d", want, got)
		}
		n := bytes.Count(want, []byte{2}) + bytes.Count(want, []byte{3})
		if records != n {
			t.Fatalf("%d records, counted %d", n, records)
		}
		if m, err := ipfix.ReadMessage(bufio.NewReader(bytes.NewReader(msg)), nil); err != nil || !bytes.Equal(m, msg) {
			t.Fatal(err)
		}
	})
}

func kinds(t *testing.T, s ipfix.Set, a, o *ipfix.Template) (got []byte) {
	switch s.ID {
	case a.ID, o.ID:
		tm, kind := a, byte(2)
		if s.ID == o.ID {
			tm, kind = o, 3
		}
		n, err := ipfix.CountRecords(tm, s.Body)
		if err != nil {
			t.Fatal(err)
		}
		return bytes.Repeat([]byte{kind}, n)
	}
	for rec, err := range ipfix.ParseTemplates(s.ID, s.Body) {
		switch {
		case err != nil || rec.Check() != nil:
			t.Fatal(err, rec.Check())
		case rec.Withdrawal():
			got = append(got, 4)
		case rec.Options:
			got = append(got, 1)
		default:
			got = append(got, 0)
		}
	}
	return got
}
