package collect

import (
	"testing"
	"testing/synctest"

	"ipfixsuite/record"
)

type lookSink struct {
	valve
	lengths []uint16 // of the first field of template 257, for each batch that may refer to it
}

func (s *lookSink) Write(b *record.Batch) error {
	if err := s.valve.Write(b); err != nil || b.Lists == nil {
		return err
	}
	n := uint16(0)
	if t := b.Lists(257); t != nil {
		n = t.Fields[0].Length
	}
	s.lengths = append(s.lengths, n)
	return nil
}

// A list is read with the templates that held when it came (RFC 6313, Section
// 4.5.2), however late the sink looks.
func TestLists_TemplatesOfTheirTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &lookSink{valve: valve{shut: make(chan struct{})}}
		c := New(Config{Sinks: []Sink{s}})
		r := open(t, c, "exporter", 1, udp)
		list := set(256, "04 ff 0101 07") // all of template 257: one octet
		for i, octets := range []string{"0001", "0002", "0004"} {
			// 256: subTemplateList; 257: octetDeltaCount, reduced.
			now(r, message(1, uint32(2*i), set(2, "0100 0001 0124 ffff  0101 0001 0001 "+octets), list))
			now(r, message(1, uint32(2*i+1), list))
		}
		// What holds no list is not told.
		now(r, message(1, 6, set(257, "00000001")))
		close(s.shut)
		if err := c.Close(t.Context()); err != nil {
			t.Error(err)
		}
		want := []uint16{1, 1, 2, 2, 4, 4}
		if len(s.lengths) != len(want) {
			t.Fatalf("%d batches with lists: %v", len(s.lengths), s.lengths)
		}
		for i := range want {
			if s.lengths[i] != want[i] {
				t.Errorf("batch %d: %d octets, want %d", i, s.lengths[i], want[i])
			}
		}
	})
}
