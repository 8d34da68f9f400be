package collect

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"ipfixsuite/templates"
	"ipfixsuite/transport"
)

func TestCollector_LossTruth(t *testing.T) {
	var log strings.Builder
	c, _, r := offline(t, Config{Log: textLog(&log)}, udp)
	send(r, 0, message(1, 0, set(2, addresses), set(256, flow)))
	send(r, 1, message(1, 4, set(256, flow)))
	c.tend(start)
	if s := c.Stats(); s.Sequence.Lost != 3 {
		t.Errorf("%+v", s.Sequence)
	}
	if !strings.Contains(log.String(), "lost=3") {
		t.Errorf("log: %s", log.String())
	}
	send(r, 2, message(1, 1, set(256, flow+flow2)))
	st := c.Stats()
	if s := st.Summary(); s.RecordsLost != 1 || s.RecordsLate != 2 || s.RecordsReceived != 4 {
		t.Errorf("%+v", s)
	}
	ex := c.ExporterStats()
	if len(ex) != 1 || len(ex[0].Sessions) != 1 || len(ex[0].Sessions[0].Streams) != 1 || ex[0].Sessions[0].Streams[0].Lost != 1 {
		t.Errorf("%+v", ex)
	}
	r.Closed(errors.New("idle"))
	if s := c.Stats(); s.Sequence.Lost != 1 || s.SessionsOpen != 0 || s.Records != 4 {
		t.Errorf("after the session: %+v", s)
	}
}

func TestCollector_StreamsAreApart_RFC7011_3_1(t *testing.T) {
	c, _, r := offline(t, Config{}, tcp)
	one := func(stream uint16, b []byte) {
		r.Message(transport.Incoming{Data: b, Stream: stream, Received: start})
	}
	one(0, message(1, 0, set(2, addresses), set(256, flow)))
	one(1, message(1, 0, set(256, flow)))
	one(1, message(1, 1, set(256, flow)))
	one(0, message(1, 1, set(256, flow)))
	if s := c.Stats(); s.Sequence != (SequenceStats{}) || s.Records != 4 {
		t.Errorf("%+v", s)
	}
}

func TestCollector_ExportersAreBounded(t *testing.T) {
	c := New(Config{Offline: true, MaxExporters: 2})
	a := open(t, c, "a", 1, udp)
	send(a, 0, message(1, 0, set(2, addresses), set(256, flow)))
	open(t, c, "b", 2, udp)
	if _, err := c.Open(peer("c", 3), udp); err == nil {
		t.Error("a third exporter")
	}
	open(t, c, "b", 4, udp) // a further session of a known one
	a.Closed(nil)
	open(t, c, "c", 5, udp) // takes the place of a
	if s := c.Stats(); s.Records != 1 || s.SessionsRefused != 1 || s.Exporters != 3 || s.SessionsOpened != 4 {
		t.Errorf("%+v", s)
	}
}

// What one exporter throws at the collector leaves another's data alone.
func TestCollector_Flood(t *testing.T) {
	c, sink, r := offline(t, Config{
		SessionLimits: templates.Limits{Domains: 16, Templates: 200, Fields: 4000, HeldSets: 100, HeldBytes: 1 << 16},
		TotalLimits:   templates.Limits{Domains: 20, Templates: 300, Fields: 5000, HeldSets: 120, HeldBytes: 1 << 17},
	}, udp)
	for i := range 3000 {
		send(r, 0, message(uint32(i), 0, set(2, addresses)))                                                // domains
		send(r, 0, message(1, 0, set(2, fmt.Sprintf("%04x 0001 0008 0004", 256+i))))                        // templates
		send(r, 0, message(1, 0, set(uint16(10000+i), strings.Repeat("00", 1000))))                         // held data
		send(r, 0, message(2, 0, set(2, fmt.Sprintf("%04x 0100", 256+i)+strings.Repeat("0008 0004", 256)))) // fields
		send(r, 0, message(1, uint32(i)*0x01234567, set(256, flow)))                                        // numbers
	}
	st := c.Stats()
	if st.Templates.Templates > 200 || st.Templates.Fields > 4000 || st.Templates.HeldBytes > 1<<16 || st.Templates.Domains > 16 {
		t.Errorf("beyond the bounds: %+v", st.Templates)
	}
	if st.MessagesRefused == 0 || st.Templates.Evicted == 0 || st.UndecodableSets == 0 {
		t.Errorf("nothing counted: %+v", st)
	}
	before := sink.records
	calm := open(t, c, "calm", 2, udp)
	send(calm, 0, message(5, 0, set(257, "06 0161")))
	send(calm, 0, message(5, 1, set(2, addresses+strung), set(256, flow)))
	if sink.records != before+2 {
		t.Errorf("the other exporter got %d records through", sink.records-before)
	}
	r.Closed(nil)
	calm.Closed(nil)
	if got := c.budget.Used(); got != (templates.Limits{}) {
		t.Errorf("left over: %+v", got)
	}
}
