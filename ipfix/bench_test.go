package ipfix_test

import (
	"testing"

	"ipfixsuite/ie"
	"ipfixsuite/ipfix"
	"ipfixsuite/test/workload"
)

// load compiles the templates of w.
func load(tb testing.TB, w *workload.Workload) map[uint16]*ipfix.Template {
	tb.Helper()
	ts := make(map[uint16]*ipfix.Template)
	for s, err := range ipfix.Sets(w.Setup) {
		if err != nil {
			tb.Fatal(err)
		}
		for rec, err := range ipfix.ParseTemplates(s.ID, s.Body) {
			if err != nil {
				tb.Fatal(err)
			}
			t, err := ipfix.NewTemplate(rec.ID, rec.Scope, rec.Fields, ie.IANA())
			if err != nil {
				tb.Fatal(err)
			}
			ts[t.ID] = t
		}
	}
	return ts
}

// A dispatch finds templates as a store does: without hashing.
type dispatch [512]*ipfix.Template

func (d *dispatch) fill(ts map[uint16]*ipfix.Template) *dispatch {
	for id, t := range ts {
		d[id] = t
	}
	return d
}

// eachSet runs f on the sets of w's messages; b.N counts records.
func eachSet(b *testing.B, f func(r *ipfix.Records)) {
	for _, w := range workload.All(256) {
		b.Run(w.Name, func(b *testing.B) {
			d := new(dispatch).fill(load(b, w))
			var sets ipfix.SetReader
			var r ipfix.Records
			b.ReportAllocs()
			b.SetBytes(int64(w.Octets / w.Records))
			i := 0
			for n := 0; n < b.N; {
				sets.Reset(w.Messages[i])
				for s, ok := sets.Next(); ok; s, ok = sets.Next() {
					r.Reset(d[s.ID&511], s.Body)
					f(&r)
				}
				n += w.Counts[i]
				if i++; i == len(w.Messages) {
					i = 0
				}
			}
		})
	}
}

func BenchmarkLocate(b *testing.B) {
	n := 0
	eachSet(b, func(r *ipfix.Records) {
		for r.Next() {
			n += len(r.Raw())
		}
	})
}

func BenchmarkViews(b *testing.B) {
	var v [][]byte
	eachSet(b, func(r *ipfix.Records) {
		for r.Next() {
			v = r.Views(v)
		}
	})
}

func BenchmarkValues(b *testing.B) {
	var v []ipfix.Value
	eachSet(b, func(r *ipfix.Records) {
		for r.Next() {
			v = r.Values(v)
		}
	})
}

func BenchmarkColumns(b *testing.B) {
	var c ipfix.Columns
	eachSet(b, func(r *ipfix.Records) { r.Columns(&c) })
}

func BenchmarkAppendRecord(b *testing.B) {
	type row struct {
		t    *ipfix.Template
		vals []ipfix.Value
	}
	for _, w := range workload.All(64) {
		b.Run(w.Name, func(b *testing.B) {
			ts := load(b, w)
			var rows []row
			for _, m := range w.Messages {
				for s := range ipfix.Sets(m) {
					var r ipfix.Records
					r.Reset(ts[s.ID], s.Body)
					for r.Next() {
						rows = append(rows, row{ts[s.ID], r.Values(nil)})
					}
				}
			}
			rows = rows[:500]
			buf := make([]byte, 0, 2048)
			b.ReportAllocs()
			b.SetBytes(int64(w.Octets / w.Records))
			k := 0
			for b.Loop() {
				if len(buf) > 1200 {
					buf = buf[:0]
				}
				var err error
				if buf, err = rows[k].t.AppendRecord(buf, rows[k].vals); err != nil {
					b.Fatal(err)
				}
				if k++; k == len(rows) {
					k = 0
				}
			}
		})
	}
}
