package record

import (
	"testing"

	"ipfixsuite/ie"
	"ipfixsuite/ipfix"
	"ipfixsuite/test/workload"
)

// batches cuts a workload into the batches that a collector would make of it.
func batches(tb testing.TB, w *workload.Workload) []*Batch {
	tb.Helper()
	reg := ie.NewRegistry(nil)
	if err := reg.Learn(ie.Element{ID: ie.ID{PEN: workload.Enterprise, Num: 100}, Name: "vendorScore", Type: ie.Unsigned32}); err != nil {
		tb.Fatal(err)
	}
	templates := make(map[uint16]*ipfix.Template)
	for set, err := range ipfix.Sets(w.Setup) {
		if err != nil {
			tb.Fatal(err)
		}
		for r, err := range ipfix.ParseTemplates(set.ID, set.Body) {
			if err != nil {
				tb.Fatal(err)
			}
			t, err := ipfix.NewTemplate(r.ID, r.Scope, r.Fields, reg)
			if err != nil {
				tb.Fatal(err)
			}
			templates[r.ID] = t
		}
	}
	meta := &Meta{Exporter: "exporter-1.example.net", Session: 7, Domain: 1, ExportTime: 1790000000}
	var bs []*Batch
	for _, m := range w.Messages {
		for set, err := range ipfix.Sets(m) {
			if err != nil {
				tb.Fatal(err)
			}
			t := templates[set.ID]
			n, err := ipfix.CountRecords(t, set.Body)
			if err != nil {
				tb.Fatal(err)
			}
			bs = append(bs, &Batch{Meta: meta, Template: t, Body: set.Body, Records: n, Registry: reg})
		}
	}
	return bs
}

func BenchmarkJSON(b *testing.B) {
	for _, w := range workload.All(256) {
		b.Run(w.Name, func(b *testing.B) {
			bs := batches(b, w)
			var e Encoder
			buf := make([]byte, 0, 1<<18)
			b.ReportAllocs()
			records, octets := 0, 0
			for b.Loop() {
				for _, x := range bs {
					var n int
					buf, n, _ = e.AppendBatch(buf, x)
					records += n
					if len(buf) > 1<<17 {
						octets += len(buf)
						buf = buf[:0]
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(records), "ns/record")
			b.ReportMetric(float64(octets)/float64(records), "B/record")
		})
	}
}
