package ipfix_test

import (
	"bytes"
	"testing"

	"ipfixsuite/ie"
	"ipfixsuite/ipfix"
	"ipfixsuite/test/workload"
)

// TestRoundTrip decodes every workload by views, values and columns and
// encodes it again to the same octets, set by set.
func TestRoundTrip(t *testing.T) {
	for _, w := range workload.All(40) {
		t.Run(w.Name, func(t *testing.T) {
			ts := load(t, w)
			total := 0
			for mi, m := range w.Messages {
				h, err := ipfix.ParseHeader(m)
				if err != nil {
					t.Fatal(err)
				}
				var b ipfix.Builder
				b.Reset(nil, len(m))
				n := 0
				for s, err := range ipfix.Sets(m) {
					if err != nil {
						t.Fatal(err)
					}
					n += sameSet(t, ts[s.ID], s, &b)
				}
				if n != w.Counts[mi] {
					t.Fatalf("message %d: %d records, want %d", mi, n, w.Counts[mi])
				}
				if got := b.Finish(h); b.Records() != n || len(got) > len(m) {
					t.Fatalf("message %d: rebuilt %d octets of %d, %d records of %d", mi, len(got), len(m), b.Records(), n)
				}
				total += n
			}
			if total != w.Records {
				t.Fatal(total, w.Records)
			}
		})
	}
}

func sameSet(t *testing.T, tmpl *ipfix.Template, s ipfix.Set, b *ipfix.Builder) int {
	t.Helper()
	var r, cr ipfix.Records
	var c ipfix.Columns
	r.Reset(tmpl, s.Body)
	cr.Reset(tmpl, s.Body)
	if n, err := ipfix.CountRecords(tmpl, s.Body); err != nil || cr.Columns(&c) != n {
		t.Fatalf("columns %d, count %d, %v", c.Len(), n, err)
	}
	k := 0
	var vals []ipfix.Value
	var views [][]byte
	for r.Next() {
		vals, views = r.Values(vals), r.Views(views)
		for i := range tmpl.Fields {
			one := r.Value(i)
			if vals[i].Num != one.Num || !bytes.Equal(vals[i].View, one.View) ||
				!bytes.Equal(views[i], one.View) || !bytes.Equal(c.View(i, k), one.View) {
				t.Fatalf("field %d of record %d: %v %v %v %v", i, k, vals[i], one, views[i], c.View(i, k))
			}
			if col := c.Nums(i); col != nil && col[k] != one.Num {
				t.Fatalf("field %d of record %d: column %d, value %d", i, k, col[k], one.Num)
			}
		}
		rec, err := tmpl.AppendRecord(nil, vals)
		if err != nil || !bytes.Equal(rec, r.Raw()) {
			t.Fatalf("record %d: %v\n got %x\nwant %x", k, err, rec, r.Raw())
		}
		if !b.AddRecord(tmpl, rec) {
			t.Fatal("record does not fit")
		}
		k++
	}
	if r.Err() != nil {
		t.Fatal(r.Err())
	}
	return k
}

// TestTemplateRoundTrip: a template set, compiled and appended, is the same.
func TestTemplateRoundTrip(t *testing.T) {
	for _, w := range workload.All(0) {
		var b ipfix.Builder
		b.Reset(nil, ipfix.MaxMessage)
		for s := range ipfix.Sets(w.Setup) {
			for rec, err := range ipfix.ParseTemplates(s.ID, s.Body) {
				if err != nil {
					t.Fatal(err)
				}
				tmpl, err := ipfix.NewTemplate(rec.ID, rec.Scope, rec.Fields, ie.IANA())
				if err != nil {
					t.Fatal(err)
				}
				if !tmpl.Matches(rec.Scope, rec.Fields) || tmpl.Check() != nil {
					t.Errorf("template %d: %v", tmpl.ID, tmpl.Check())
				}
				b.AddTemplate(tmpl)
			}
		}
		h, _ := ipfix.ParseHeader(w.Setup)
		if got := b.Finish(h); !bytes.Equal(got, w.Setup) {
			t.Errorf("%s:\n got %x\nwant %x", w.Name, got, w.Setup)
		}
	}
}
