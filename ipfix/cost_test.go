package ipfix_test

import (
	"runtime"
	"testing"

	"ipfixsuite/ie"
	"ipfixsuite/ipfix"
	"ipfixsuite/test/workload"
)

// TestAllocations: decoding by record, by value and by column, encoding and
// packing allocate nothing once their memory has grown.
func TestAllocations(t *testing.T) {
	for _, w := range workload.All(8) {
		d := new(dispatch).fill(load(t, w))
		var (
			sets  ipfix.SetReader
			r     ipfix.Records
			c     ipfix.Columns
			b     ipfix.Builder
			tr    ipfix.TemplateReader
			vals  = make([]ipfix.Value, 0, 32)
			views = make([][]byte, 0, 32)
			rec   = make([]byte, 0, 512)
			buf   = make([]byte, 0, 1500)
		)
		pass := func() {
			for _, m := range w.Messages {
				if _, err := ipfix.ParseHeader(m); err != nil {
					t.Fatal(err)
				}
				b.Reset(buf, 1400)
				sets.Reset(m)
				for s, ok := sets.Next(); ok; s, ok = sets.Next() {
					tm := d[s.ID&511]
					if _, err := ipfix.CountRecords(tm, s.Body); err != nil {
						t.Fatal(err)
					}
					r.Reset(tm, s.Body)
					for r.Next() {
						vals, views = r.Values(vals), r.Views(views)
						var err error
						if rec, err = tm.AppendRecord(rec[:0], vals); err != nil {
							t.Fatal(err)
						}
						b.AddRecord(tm, rec)
					}
					r.Reset(tm, s.Body)
					r.Columns(&c)
				}
				b.Finish(ipfix.Header{})
			}
			sets.Reset(w.Setup)
			for s, ok := sets.Next(); ok; s, ok = sets.Next() {
				tr.Reset(s.ID, s.Body)
				for rec, ok := tr.Next(); ok; rec, ok = tr.Next() {
					// A template that is sent again costs nothing.
					if !d[rec.ID&511].Matches(rec.Scope, rec.Fields) {
						t.Fatal("not the same template")
					}
				}
			}
		}
		pass()
		if n := testing.AllocsPerRun(20, pass); n != 0 {
			t.Errorf("%s: %v allocations", w.Name, n)
		}
	}
}

// TestListAllocations: structured data is walked without allocation.
func TestListAllocations(t *testing.T) {
	ts := alert(t)
	data := octets(t, alertData)
	var r, sub ipfix.Records
	vals := make([]ipfix.Value, 0, 8)
	n := testing.AllocsPerRun(50, func() {
		r.Reset(ts[271], data)
		for r.Next() {
			l, err := ipfix.ParseSubTemplateList(r.View(3))
			if err != nil {
				t.Fatal(err)
			}
			sub.Reset(ts[l.Template], l.Content)
			for sub.Next() {
				vals = sub.Values(vals)
				bl, err := ipfix.ParseBasicList(vals[0].View)
				if err != nil {
					t.Fatal(err)
				}
				for _, err := range bl.All() {
					if err != nil {
						t.Fatal(err)
					}
				}
			}
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestTemplateMemory: a compiled template of 20 fields takes at most 600 octets
// of heap.
func TestTemplateMemory(t *testing.T) {
	w := workload.T20(0)
	var specs []ipfix.FieldSpec
	for _, f := range w.Templates[0].Fields {
		specs = append(specs, ipfix.FieldSpec{ID: ie.ID{PEN: f.PEN, Num: f.Num}, Length: f.Length})
	}
	const n = 10000
	reg := ie.IANA()
	kept := make([]*ipfix.Template, n)
	kept[0], _ = ipfix.NewTemplate(300, 0, specs, reg)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range kept {
		var err error
		if kept[i], err = ipfix.NewTemplate(300, 0, specs, reg); err != nil {
			t.Fatal(err)
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	per := (after.HeapAlloc - before.HeapAlloc) / n
	t.Logf("%d octets a template of %d fields", per, len(specs))
	if per > 600 {
		t.Errorf("%d octets a template, at most 600", per)
	}
	runtime.KeepAlive(kept)
}
