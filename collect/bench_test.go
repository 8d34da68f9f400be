package collect_test

import (
	"context"
	"encoding/binary"
	"testing"
	"time"

	"ipfixsuite/collect"
	"ipfixsuite/ie"
	"ipfixsuite/ipfix"
	"ipfixsuite/record"
	sinkipfix "ipfixsuite/sink/ipfix"
	"ipfixsuite/sink/jsonl"
	"ipfixsuite/transport"
)

// t20 are the fields of workload T20.
var t20 = []ipfix.FieldSpec{
	{ID: ie.ID{Num: 8}, Length: 4}, {ID: ie.ID{Num: 12}, Length: 4}, {ID: ie.ID{Num: 7}, Length: 2}, {ID: ie.ID{Num: 11}, Length: 2},
	{ID: ie.ID{Num: 4}, Length: 1}, {ID: ie.ID{Num: 1}, Length: 8}, {ID: ie.ID{Num: 2}, Length: 8}, {ID: ie.ID{Num: 152}, Length: 8},
	{ID: ie.ID{Num: 153}, Length: 8}, {ID: ie.ID{Num: 6}, Length: 2}, {ID: ie.ID{Num: 10}, Length: 4}, {ID: ie.ID{Num: 14}, Length: 4},
	{ID: ie.ID{Num: 5}, Length: 1}, {ID: ie.ID{Num: 136}, Length: 1}, {ID: ie.ID{Num: 58}, Length: 2},
	{ID: ie.ID{PEN: ie.ReversePEN, Num: 1}, Length: 8}, {ID: ie.ID{PEN: ie.ReversePEN, Num: 2}, Length: 8},
	{ID: ie.ID{PEN: 32473, Num: 100}, Length: 4}, {ID: ie.ID{Num: 61}, Length: 1}, {ID: ie.ID{Num: 96}, Length: ipfix.VariableLength},
}

const perMessage = 15

// workload is the message with the template and one with 15 records.
func workload(tb testing.TB) (templates, data []byte) {
	tb.Helper()
	t, err := ipfix.NewTemplate(256, 0, t20, ie.IANA())
	if err != nil {
		tb.Fatal(err)
	}
	vals := make([]ipfix.Value, len(t20))
	for i := range vals {
		vals[i].Num = uint64(i)
	}
	vals[7].Num, vals[8].Num = 1_700_000_000_000, 1_700_000_001_000
	vals[17].View = []byte{0, 0, 0, 17}
	vals[19].View = []byte("https/443")
	rec, err := t.AppendRecord(nil, vals)
	if err != nil {
		tb.Fatal(err)
	}
	var b ipfix.Builder
	b.Reset(nil, 1400)
	b.AddTemplate(t)
	templates = b.Finish(ipfix.Header{ExportTime: 1_700_000_000, Domain: 1})
	b.Reset(nil, 1400)
	for range perMessage {
		if !b.AddRecord(t, rec) {
			tb.Fatalf("no room for %d records of %d octets", perMessage, len(rec))
		}
	}
	return templates, b.Finish(ipfix.Header{ExportTime: 1_700_000_000, Domain: 1})
}

type discard struct{}

func (discard) Write(*record.Batch) error { return nil }
func (discard) Flush() error              { return nil }
func (discard) Close() error              { return nil }

// session opens one and tells it the templates.
func session(tb testing.TB, sinks ...collect.Sink) (r transport.Receiver, templates, data []byte) {
	tb.Helper()
	c := collect.New(collect.Config{Sinks: sinks})
	tb.Cleanup(func() {
		if err := c.Close(context.WithoutCancel(tb.Context())); err != nil {
			tb.Error(err)
		}
	})
	r, err := c.Open(transport.Peer{Identity: "exporter", Session: 1}, transport.Properties{})
	if err != nil {
		tb.Fatal(err)
	}
	templates, data = workload(tb)
	r.Message(transport.Incoming{Data: templates, Received: time.Now()})
	return r, templates, data
}

func TestMessage_NoAllocations(t *testing.T) {
	r, templates, data := session(t, discard{})
	var seq uint32
	received := time.Now()
	if got := testing.AllocsPerRun(1000, func() {
		binary.BigEndian.PutUint32(templates[8:], seq)
		r.Message(transport.Incoming{Data: templates, Received: received})
		for range 3 {
			binary.BigEndian.PutUint32(data[8:], seq)
			r.Message(transport.Incoming{Data: data, Received: received})
			seq += perMessage
		}
		seq += perMessage // lost
	}); got != 0 {
		t.Errorf("%v allocations in four messages", got)
	}
}

func BenchmarkMessage(b *testing.B) {
	run := func(b *testing.B, sinks ...collect.Sink) {
		r, _, data := session(b, sinks...)
		var seq uint32
		b.SetBytes(int64(len(data)))
		b.ReportAllocs()
		received := time.Now()
		for b.Loop() {
			binary.BigEndian.PutUint32(data[8:], seq)
			seq += perMessage
			r.Message(transport.Incoming{Data: data, Received: received})
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/perMessage, "ns/record")
	}
	b.Run("discard", func(b *testing.B) { run(b, discard{}) })
	b.Run("ipfix", func(b *testing.B) {
		s, err := sinkipfix.Open(b.TempDir(), sinkipfix.Config{})
		if err != nil {
			b.Fatal(err)
		}
		run(b, s)
	})
	b.Run("json", func(b *testing.B) {
		s, err := jsonl.Open(b.TempDir(), jsonl.Config{})
		if err != nil {
			b.Fatal(err)
		}
		run(b, s)
	})
}
