package collect

import (
	"encoding/binary"
	"testing"

	"ipfixsuite/ipfix"
	"ipfixsuite/record"
	"ipfixsuite/templates"
	"ipfixsuite/transport"
)

// A counting sink checks each batch against its own walk over the records.
type counting struct {
	t       *testing.T
	records uint64
}

func (s *counting) Write(b *record.Batch) error {
	var rs ipfix.Records
	rs.Reset(b.Template, b.Body)
	n := 0
	for rs.Next() {
		n++
	}
	if n != b.Records || rs.Err() != nil || n == 0 {
		s.t.Errorf("%d records announced, %d found, %v", b.Records, n, rs.Err())
	}
	s.records += uint64(n)
	return nil
}

func (*counting) Flush() error { return nil }
func (*counting) Close() error { return nil }

// FuzzReceiver feeds any sequence of messages. It never panics, stays within
// its bounds, and every message and every set is in exactly one counter.
func FuzzReceiver(f *testing.F) {
	seed := func(messages ...[]byte) {
		var b []byte
		for _, m := range messages {
			b = binary.BigEndian.AppendUint16(b, uint16(len(m)))
			b = append(append(b, 0), m...)
		}
		f.Add(b, false)
		f.Add(b, true)
	}
	seed(message(1, 0, set(2, addresses+strung), set(256, flow+flow2), set(257, "06 03616263")))
	seed(message(1, 0, set(256, flow)), message(1, 1, set(2, addresses), set(256, flow)))
	seed(message(1, 9, set(3, "0102 0003 0001  0090 0004  00a6 0008  00a7 0004"), set(258, "00000007 0000000000000005 00000009")))
	seed(message(1, 0, set(3, "0104 0005 0002  012f 0002  015a 0004  0153 0001  0158 0001  0155 ffff"), set(260, "0064 00007ed9 03 03 0b 776964676574436f756e74")))
	seed(message(1, 0, set(2, addresses), set(2, "0100 0000"), set(2, "0002 0000"), set(256, flow)))
	seed(message(1, 0, tellsOf, addrs, lossily), message(1, 1, addrsData), message(1, 9, addrsData), message(1, 10, addrsEnd, addrs, reliably, addrsData))
	seed(unhex("0009 0001 00000000 00000000 00000000 00000000"), message(1, 0, unhex("0101 0003")))
	f.Fuzz(func(t *testing.T, b []byte, reliable bool) {
		sink := &counting{t: t}
		limits := templates.Limits{Domains: 4, Templates: 80, Fields: 2200, HeldSets: 20, HeldBytes: 1 << 14}
		c := New(Config{Offline: true, Sinks: []Sink{sink}, SessionLimits: limits, TotalLimits: templates.Limits{Domains: 1, Templates: 10, Fields: 100, HeldSets: 4, HeldBytes: 1 << 10}})
		props := udp
		var r transport.Receiver
		if reliable {
			props = tcp
			if len(b)%2 == 0 { // the octets of seconds are streams there
				props = sctp
			}
		}
		give := func(second int, m []byte) {
			if props == sctp {
				r.Message(transport.Incoming{Data: m, Stream: uint16(second % 4), Unordered: second%64 == 63, Received: start})
			} else {
				send(r, second, m)
			}
		}
		r = open(t, c, "exporter", 1, props)
		var framed, octets, messages, fine uint64
		for second := 0; len(b) >= 3; {
			n := min(int(binary.BigEndian.Uint16(b)), len(b)-3)
			second += int(b[2])
			m := b[3 : 3+n]
			b = b[3+n:]
			messages++
			octets += uint64(n)
			if h, err := ipfix.ParseHeader(m); err == nil || h.Length >= ipfix.HeaderLen {
				before := c.Stats().MessagesRefused
				give(second, m)
				if c.Stats().MessagesRefused == before {
					fine++
					for _, err := range ipfix.Sets(m) {
						_ = err // counted as well, as one unframed
						framed++
					}
				}
			} else {
				give(second, m)
			}
			st := c.Stats()
			if tm := st.Templates; tm.Domains > 5 || tm.Templates > 80 || tm.Fields > 2200 || tm.HeldSets > 20 || tm.HeldBytes > 1<<14 {
				t.Fatalf("beyond the bounds: %+v", tm)
			}
		}
		st := c.Stats()
		if st.Messages != messages || st.Octets != octets {
			t.Errorf("%d messages of %d octets counted as %d of %d", messages, octets, st.Messages, st.Octets)
		}
		if sets := st.TemplateSets + st.DataSets + st.EarlySets + st.ReservedSets + st.UnframedSets; sets != framed {
			t.Errorf("%d sets, %d counted: %+v", framed, sets, st.Counters)
		}
		if waiting := uint64(st.Templates.HeldSets); st.EarlySets != st.ReleasedSets+st.UndecodableSets+waiting {
			t.Errorf("early sets do not add up: %+v, %d waiting", st.Counters, waiting)
		}
		if st.Records != sink.records {
			t.Errorf("%d records counted, the sink got %d", st.Records, sink.records)
		}
		if st.PerStreamBroken > st.PerStreamSessions || st.PerStreamSessions > 1 || st.PerStreamSessions > 0 && props != sctp {
			t.Errorf("%+v", st.Counters)
		}
		if st.Malformed > st.Messages || st.OtherVersions > st.Malformed {
			t.Errorf("%+v", st.Counters)
		}
		var received uint64
		for _, e := range c.ExporterStats() {
			for _, s := range e.Sessions {
				for _, q := range s.Streams {
					received += q.Received
				}
			}
		}
		if received > st.Records+st.ControlRecords {
			t.Errorf("streams received %d of %d", received, st.Records+st.ControlRecords)
		}
		r.Closed(nil)
		st = c.Stats()
		if st.Templates.Templates != 0 || st.Templates.HeldSets != 0 || c.budget.Used() != (templates.Limits{}) || st.Sequence.Waiting != 0 {
			t.Errorf("left over: %+v %+v", st.Templates, c.budget.Used())
		}
		if st.EarlySets != st.ReleasedSets+st.UndecodableSets {
			t.Errorf("at the end: %+v", st.Counters)
		}
	})
}
