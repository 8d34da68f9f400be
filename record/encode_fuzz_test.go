package record

import (
	"encoding/json"
	"testing"

	"ipfixsuite/ie"
	"ipfixsuite/ipfix"
	"ipfixsuite/test/workload"
)

// FuzzEncoder: whatever the template and the octets, each line is JSON, and no
// longer than the octets account for.
func FuzzEncoder(f *testing.F) {
	f.Add([]byte{8, 0, 4, 82, 0, 255, 4, 0, 1}, []byte{192, 0, 2, 1, 3, 'a', '"', 0xFF, 17})
	f.Add([]byte{35, 1, 255}, []byte{14, 3, 1, 35, 255, 255, 7, 4, 0, 4, 0, 1, 6, 17})
	f.Add([]byte{36, 1, 255, 37, 1, 255}, []byte{5, 4, 1, 1, 6, 7, 8, 3, 1, 1, 0, 6, 1, 2})
	f.Add([]byte{54, 1, 8, 8, 2, 5, 178, 1, 4, 152, 0, 8, 154, 0, 8, 156, 0, 8}, make([]byte, 64))
	f.Add([]byte{82, 0, 0, 4, 0, 1, 4, 0, 1}, []byte{1, 2, 3, 4})
	f.Fuzz(func(t *testing.T, fields, body []byte) {
		var specs []ipfix.FieldSpec
		for ; len(fields) >= 3 && len(specs) < 64; fields = fields[3:] {
			s := ipfix.FieldSpec{ID: ie.ID{Num: uint16(fields[0]) | uint16(fields[1]&3)<<8}, Length: uint16(fields[2])}
			if fields[1]&0x80 != 0 {
				s.PEN = ie.ReversePEN
			}
			if s.Length == 255 {
				s.Length = variable
			}
			specs = append(specs, s)
		}
		tm, err := ipfix.NewTemplate(256, 0, specs, ie.IANA())
		if err != nil || len(body) > 1<<13 {
			return
		}
		sub, err := ipfix.NewTemplate(257, 0, []ipfix.FieldSpec{spec(4, 1), spec(292, variable)}, ie.IANA())
		if err != nil {
			t.Fatal(err)
		}
		b := &Batch{Meta: goldenMeta, Template: tm, Body: body, Lists: func(id uint16) *ipfix.Template {
			switch {
			case id == 256:
				return tm
			case id < 512:
				return sub
			}
			return nil
		}}
		var e Encoder
		text, n, _ := e.AppendBatch(nil, b)
		want, _ := ipfix.CountRecords(tm, body)
		if n != want {
			t.Fatalf("%d records of %d", n, want)
		}
		// The longest of names, quotes and what stands around a field cost
		// less than 256 octets of text for one of the record, metadata too.
		if len(text) > 512*len(body) {
			t.Fatalf("%d octets became %d", len(body), len(text))
		}
		lines := 0
		for len(text) > 0 {
			i := 0
			for i < len(text) && text[i] != '\n' {
				i++
			}
			if i == len(text) || !json.Valid(text[:i]) {
				t.Fatalf("not a JSON line: %q", text)
			}
			text = text[i+1:]
			lines++
		}
		if lines != n {
			t.Fatalf("%d lines, %d records", lines, n)
		}
	})
}

func TestEncoder_Allocates0(t *testing.T) {
	for _, w := range workload.All(64) {
		bs := batches(t, w)
		var e Encoder
		buf := make([]byte, 0, 1<<18)
		all := func() {
			for _, b := range bs {
				if _, n, err := e.AppendBatch(buf, b); n != b.Records || err != nil {
					panic("batch")
				}
			}
		}
		all() // plans
		if n := testing.AllocsPerRun(100, all); n != 0 {
			t.Errorf("%s: %v allocations", w.Name, n)
		}
	}
}

// What a message of a hostile exporter can become: 16000 fields without
// octets cost nothing, a record of 1 octet is a line of metadata and a name.
func TestEncoder_NoAmplification(t *testing.T) {
	specs := []ipfix.FieldSpec{spec(4, 1)}
	for i := range 10000 {
		specs = append(specs, spec(uint16(i+1000), 0))
	}
	tm := template(t, nil, 256, 0, specs...)
	var e Encoder
	text, n, err := e.AppendBatch(nil, &Batch{Meta: goldenMeta, Template: tm, Body: make([]byte, 60000)})
	if err != nil || n != 60000 || len(text) > 60000*150 {
		t.Error(n, err, len(text))
	}
}
