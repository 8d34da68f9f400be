package spool

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"ipfixsuite/ie"
	"ipfixsuite/ipfix"
)

var epoch = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

// numbered is a Template of one counter and padding octets: records tell
// which they are.
func numbered(t testing.TB, id uint16, padding uint16) *ipfix.Template {
	t.Helper()
	specs := []ipfix.FieldSpec{{ID: ie.ID{Num: 1}, Length: 8}}
	if padding > 0 {
		specs = append(specs, ipfix.FieldSpec{ID: ie.ID{Num: 210}, Length: padding})
	}
	p, err := ipfix.NewTemplate(id, 0, specs, ie.IANA())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// message makes a message with n records of p, numbered from first.
func message(p *ipfix.Template, domain uint32, first uint64, n int) Message {
	var b ipfix.Builder
	b.Reset(nil, ipfix.MaxMessage)
	rec := make([]byte, p.RecordLen)
	for i := range n {
		binary.BigEndian.PutUint64(rec, first+uint64(i))
		if !b.AddRecord(p, rec) {
			panic(fmt.Sprintf("%d records are too many", n))
		}
	}
	return Message{
		Data:      b.Finish(ipfix.Header{ExportTime: uint32(1_700_000_000 + first), Sequence: 77, Domain: domain}),
		Templates: []*ipfix.Template{p},
	}
}

// numbers are those of the records of an entry.
func numbers(t testing.TB, e *Entry) []uint64 {
	t.Helper()
	var list []uint64
	for set, err := range ipfix.Sets(e.Data) {
		if err != nil {
			t.Fatal(err)
		}
		p := e.Template(set.ID)
		if p == nil {
			t.Fatalf("no template %d", set.ID)
		}
		var r ipfix.Records
		for r.Reset(p, set.Body); r.Next(); {
			list = append(list, r.Value(0).Num)
		}
	}
	if len(list) != e.Records {
		t.Fatalf("%d records, the entry says %d", len(list), e.Records)
	}
	return list
}

func open(t testing.TB, dir string, cfg Config) *Spool {
	t.Helper()
	if cfg.Now == nil {
		cfg.Now = func() time.Time { return epoch }
	}
	s, err := Open(dir, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// crash leaves everything as the death of the process would.
func (s *Spool) crash() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.w != nil {
		s.w.f.Close()
	}
	if s.rd != nil {
		s.rd.close()
	}
	s.cursor.f.Close()
	s.lockFile.Close()
	close(s.stop)
}

func appendAll(t testing.TB, s *Spool, list ...Message) {
	t.Helper()
	for _, m := range list {
		if err := s.Append(m); err != nil {
			t.Fatal(err)
		}
	}
}

// drain takes all that is there.
func drain(t testing.TB, s *Spool) (list []uint64, last Position) {
	t.Helper()
	var e Entry
	for s.Next(&e) {
		list = append(list, numbers(t, &e)...)
		last = e.Pos
	}
	return list, last
}

func upTo(from, to uint64) []uint64 {
	var list []uint64
	for i := from; i < to; i++ {
		list = append(list, i)
	}
	return list
}

// balanced checks the account that Stats promises.
func balanced(t testing.TB, s *Spool) {
	t.Helper()
	st := s.Stats()
	if st.RecordsRecovered+st.RecordsSpooled != st.RecordsPending+st.RecordsDelivered+st.RecordsDropped+st.RecordsCorrupt {
		t.Fatalf("the account does not balance: %+v", st)
	}
	var onDisk int64
	paths, err := filepath.Glob(filepath.Join(s.dir, prefix+"*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range paths {
		info, err := os.Stat(p)
		if err != nil {
			t.Fatal(err)
		}
		onDisk += info.Size()
	}
	if onDisk != st.BytesPending {
		t.Fatalf("%d octets on disk, %d counted", onDisk, st.BytesPending)
	}
}
