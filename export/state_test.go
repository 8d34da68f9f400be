package export

import (
	"encoding/binary"
	"testing"
	"time"

	"ipfixsuite/ipfix"
)

// The sequence number is modulo 2^32, and what was not sent does not count.
func TestSequence_Wraps_RFC7011_3_1(t *testing.T) {
	d := &domain{id: 1}
	s := &session{domains: []sessionDomain{{seqs: []uint32{0xfffffff0}}}}
	now := time.Unix(1<<32+5, 0) // and so does the Export Time (Section 5.2)
	m := &message{dom: d, lane: &d.main, data: make([]byte, ipfix.HeaderLen), records: 20, gap: 3}
	d.main.lost = 4
	for range 2 {
		s.stamp(m, 0, now)
		if seq := binary.BigEndian.Uint32(m.data[8:]); seq != 0xfffffff7 {
			t.Errorf("sequence number %#x, want the %d dropped ones skipped", seq, 7)
		}
		if at := binary.BigEndian.Uint32(m.data[4:]); at != 5 {
			t.Errorf("export time %d", at)
		}
		if s.domains[0].seqs[0] != 0xb {
			t.Errorf("next is %#x", s.domains[0].seqs[0])
		}
		s.unstamp(m, 0)
	}
	if s.domains[0].seqs[0] != 0xfffffff0 || d.main.lost != 0 {
		t.Errorf("after a message that was not taken: %#x", s.domains[0].seqs[0])
	}
}

func TestOptionsStore(t *testing.T) {
	e, err := New(Config{Dialer: &testDialer{}, StatsInterval: -1})
	if err != nil {
		t.Fatal(err)
	}
	tmpl, err := e.Define(1, flowSpecs)
	if err != nil {
		t.Fatal(err)
	}
	s := newOptionsStore()
	for i := range maxOptions + 10 {
		s.keep(optionsRecord{t: tmpl, data: flowRecord(i), after: uint64(i)})
	}
	if n := len(s.all(maxOptions)); n != maxOptions {
		t.Errorf("%d records kept, want %d", n, maxOptions)
	}
	if n := len(s.all(9)); n != 10 {
		t.Errorf("%d records have left the queue, want 10", n)
	}
	changed := flowRecord(5)
	changed[15]++
	s.keep(optionsRecord{t: tmpl, data: changed, own: true})
	if own := s.ownSince(0); len(own) != 1 || string(own[0].data) != string(changed) || len(s.all(maxOptions)) != maxOptions {
		t.Errorf("a record of a known scope must take the old one's place: %v", own)
	}
	if len(s.ownSince(1)) != 0 {
		t.Error("a record is new twice")
	}
	s.forget(tmpl)
	if len(s.all(maxOptions)) != 0 || len(s.index) != 0 {
		t.Error("records of a withdrawn template are kept")
	}
}
