package spool

import (
	"os"
	"slices"
	"testing"

	"ipfixsuite/ipfix"
)

// FuzzSegment opens and replays whatever may stand in a segment, under way
// or finished: nothing panics, the account balances, and each message handed
// out can be decoded.
func FuzzSegment(f *testing.F) {
	data := fewMessages(f)
	f.Add(data, true)
	f.Add(data, false)
	f.Add(data[:200], true)
	f.Add(append([]byte("\x00\x0a\x00\x25"), data...), true)
	f.Add(slices.Concat(data, data), false)
	f.Add([]byte{}, true)
	f.Fuzz(func(t *testing.T, in []byte, part bool) {
		dir := t.TempDir()
		name := finishedName(dir, 4, 30)
		if part {
			name = partName(dir, 4)
		}
		if err := os.WriteFile(name, in, 0o600); err != nil {
			t.Fatal(err)
		}
		s := open(t, dir, Config{Sync: SyncNever})
		appendAll(t, s, message(numbered(t, 256, 0), 1, 99, 1))
		var e Entry
		for s.Next(&e) {
			count := 0
			for set, err := range ipfix.Sets(e.Data) {
				if err != nil {
					t.Fatal(err)
				}
				var r ipfix.Records
				for r.Reset(e.Template(set.ID), set.Body); r.Next(); count++ {
				}
			}
			if count != e.Records {
				t.Fatalf("%d records of %d", count, e.Records)
			}
		}
		balancedStats(t, s)
		s.Rewind()
		balancedStats(t, s)
		for s.Next(&e) {
			if err := s.Ack(e.Pos); err != nil {
				t.Fatal(err)
			}
		}
		balancedStats(t, s)
		if n := s.Stats().RecordsPending; n != 0 {
			t.Fatalf("%d records pending after all", n)
		}
	})
}

func balancedStats(t *testing.T, s *Spool) {
	t.Helper()
	st := s.Stats()
	if st.RecordsRecovered+st.RecordsSpooled != st.RecordsPending+st.RecordsDelivered+st.RecordsDropped+st.RecordsCorrupt {
		t.Fatalf("the account does not balance: %+v", st)
	}
}

// FuzzMessage appends whatever a source may hand over, with Templates that
// fit or do not.
func FuzzMessage(f *testing.F) {
	p := numbered(f, 256, 0)
	f.Add(message(p, 1, 5, 3).Data)
	f.Add(message(p, 1, 5, 8189).Data)
	v, err := ipfix.NewTemplate(257, 0, []ipfix.FieldSpec{{Length: ipfix.VariableLength}}, nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte("\x00\x0a\x00\x17\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x01\x01\x00\x07\x02ab"))
	f.Add([]byte("\x00\x0a\x00\x14\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x02\x00\x04"))
	f.Fuzz(func(t *testing.T, msg []byte) {
		s := open(t, t.TempDir(), Config{Sync: SyncNever})
		m := Message{Data: msg, Templates: []*ipfix.Template{p, v}}
		err := s.Append(m)
		st := s.Stats()
		if err != nil && st.RecordsSpooled > 0 {
			t.Fatalf("%v, yet %+v", err, st)
		}
		var e Entry
		var n uint64
		for s.Next(&e) {
			n += uint64(e.Records)
		}
		if n != st.RecordsSpooled {
			t.Fatalf("%d records come back of %d", n, st.RecordsSpooled)
		}
		balancedStats(t, s)
	})
}

func TestAppend_NoAllocations(t *testing.T) {
	s := open(t, t.TempDir(), Config{Sync: SyncNever})
	m := message(numbered(t, 256, 40), 1, 0, 25)
	appendAll(t, s, m)
	if n := testing.AllocsPerRun(200, func() {
		if err := s.Append(m); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("Append: %v allocations", n)
	}
	var e Entry
	s.Next(&e)
	if n := testing.AllocsPerRun(100, func() {
		if !s.Next(&e) {
			t.Fatal("nothing to hand out")
		}
		if err := s.Ack(e.Pos); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("Next and Ack: %v allocations", n)
	}
}

func BenchmarkAppend(b *testing.B) {
	s, err := Open(b.TempDir(), Config{Sync: SyncNever, MaxBytes: 64 << 20})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	m := message(numbered(b, 256, 40), 1, 0, 25)
	b.SetBytes(int64(len(m.Data)))
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Append(m); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkNext(b *testing.B) {
	s, err := Open(b.TempDir(), Config{Sync: SyncNever, MaxBytes: 64 << 20})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	m := message(numbered(b, 256, 40), 1, 0, 25)
	for range 30_000 {
		if err := s.Append(m); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(int64(len(m.Data)))
	b.ReportAllocs()
	var e Entry
	for b.Loop() {
		if !s.Next(&e) {
			s.Rewind()
		}
	}
}
