package collect

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipfixsuite/record"
	"ipfixsuite/transport"
)

func TestReceiver_DecodesWhatCanBe_RFC7011_9_1(t *testing.T) {
	tmpl := set(2, addresses+strung)
	tests := []struct {
		name    string
		message []byte
		batches []string
		want    Counters // Messages and Octets aside
		lost    SequenceStats
	}{
		{
			"one record of each", message(1, 0, tmpl, set(256, flow), set(257, "06 03616263")),
			[]string{"1/256: c0000201c0000202", "1/257: 0603616263"},
			Counters{TemplateSets: 1, TemplateRecords: 2, DataSets: 2, Records: 2}, SequenceStats{},
		},
		{
			"padding", message(1, 0, tmpl, set(256, flow+flow2+"000000"), set(257, "06 00 00")),
			[]string{"1/256: c0000201c0000202 c0000203c0000204", "1/257: 0600"},
			Counters{TemplateSets: 1, TemplateRecords: 2, DataSets: 2, Records: 3}, SequenceStats{},
		},
		{
			"record longer than its set", message(1, 0, tmpl, set(257, "06 03616263 11 05 6162"), set(256, flow)),
			[]string{"1/257: 0603616263", "1/256: c0000201c0000202"},
			Counters{TemplateSets: 1, TemplateRecords: 2, DataSets: 2, Records: 2, Malformed: 1, FaultySets: 1}, SequenceStats{},
		},
		{
			"set longer than its message", message(1, 0, tmpl, set(256, flow), unhex("0101 0040 06")),
			[]string{"1/256: c0000201c0000202"},
			Counters{TemplateSets: 1, TemplateRecords: 2, DataSets: 1, Records: 1, Malformed: 1, UnframedSets: 1}, SequenceStats{},
		},
		{
			"set shorter than its header", message(1, 0, tmpl, set(256, flow), unhex("0101 0003"), set(256, flow)),
			[]string{"1/256: c0000201c0000202"},
			Counters{TemplateSets: 1, TemplateRecords: 2, DataSets: 1, Records: 1, Malformed: 1, UnframedSets: 1}, SequenceStats{},
		},
		{
			"datagram cut short", message(1, 0, tmpl, set(256, flow), set(256, flow2))[:16+4+24+12+10],
			[]string{"1/256: c0000201c0000202"},
			Counters{TemplateSets: 1, TemplateRecords: 2, DataSets: 1, Records: 1, Malformed: 1, UnframedSets: 1}, SequenceStats{},
		},
		{
			"octets behind the message", append(message(1, 0, tmpl, set(256, flow)), 1, 2, 3),
			[]string{"1/256: c0000201c0000202"},
			Counters{TemplateSets: 1, TemplateRecords: 2, DataSets: 1, Records: 1, TrailingOctets: 3}, SequenceStats{},
		},
		{
			"reserved set ids", message(1, 0, set(0, "00"), set(1, "00"), set(4, "00"), tmpl, set(255, "00"), set(256, flow)),
			[]string{"1/256: c0000201c0000202"},
			Counters{TemplateSets: 1, TemplateRecords: 2, DataSets: 1, Records: 1, ReservedSets: 4}, SequenceStats{},
		},
		{
			"bad template between good ones", message(1, 0, set(2, "00ff 0001 0008 0004"+addresses), set(2, "0102 0005 0008"), set(256, flow)),
			[]string{"1/256: c0000201c0000202"},
			Counters{TemplateSets: 2, TemplateRecords: 3, DataSets: 1, Records: 1, Malformed: 1}, SequenceStats{},
		},
		{
			"empty data set", message(1, 0, tmpl, set(256, ""), set(256, "0000"), set(256, flow)),
			[]string{"1/256: c0000201c0000202"},
			Counters{TemplateSets: 1, TemplateRecords: 2, DataSets: 3, EmptySets: 2, Records: 1}, SequenceStats{},
		},
		{
			"template behind its data", message(1, 0, set(256, flow), tmpl, set(256, flow2)),
			[]string{"1/256: c0000201c0000202", "1/256: c0000203c0000204"},
			Counters{TemplateSets: 1, TemplateRecords: 2, DataSets: 1, EarlySets: 1, ReleasedSets: 1, Records: 2}, SequenceStats{},
		},
		{"no header", unhex("000a 0010 00"), nil, Counters{Malformed: 1}, SequenceStats{}},
		{"nothing", nil, nil, Counters{Malformed: 1}, SequenceStats{}},
		{"length below the header's", resize(message(1, 0, tmpl), 15), nil, Counters{Malformed: 1}, SequenceStats{}},
		{"NetFlow v9", unhex("0009 0001 00000000 00000000 00000000 00000000"), nil, Counters{Malformed: 1, OtherVersions: 1}, SequenceStats{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, sink, r := offline(t, Config{}, udp)
			send(r, 0, tt.message)
			if diff := cmp.Diff(tt.batches, sink.batches); diff != "" {
				t.Error(diff)
			}
			st := c.Stats()
			tt.want.Messages, tt.want.Octets = 1, uint64(len(tt.message))
			if diff := cmp.Diff(tt.want, st.Counters); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(tt.lost, st.Sequence); diff != "" {
				t.Error(diff)
			}
			// The next message is none the worse.
			n := sink.records
			send(r, 1, message(9, 0, tmpl, set(256, flow)))
			if sink.records != n+1 {
				t.Error("the next message was not decoded")
			}
		})
	}
}

func TestReceiver_FaultsHaveAPlace(t *testing.T) {
	var log strings.Builder
	c, _, r := offline(t, Config{Log: textLog(&log)}, udp)
	send(r, 0, message(7, 42, set(2, strung), set(257, "06 03616263 11 05 6162")))
	// 16 header, 16 template set, 4 set header, 5 first record, 2 in.
	if !strings.Contains(log.String(), "octet 4") || !strings.Contains(log.String(), "domain=7") || !strings.Contains(log.String(), "seq=42") {
		t.Errorf("log: %s", log.String())
	}
	if n := c.Stats().Faults["record"]; n != 1 {
		t.Errorf("faults: %v", c.Stats().Faults)
	}
}

func TestReceiver_Hints_RFC7011_9_1(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"0009 0001 00000000 00000000", "NetFlow v9"},
		{"0005 0001 00000000 00000000", "NetFlow v5"},
		{"00000005 00000001 c0000201", "sFlow"},
		{"16feff 0000", "DTLS"},
	} {
		var log strings.Builder
		_, _, r := offline(t, Config{Log: textLog(&log)}, udp)
		send(r, 0, append(unhex(tt.in), make([]byte, 40)...))
		if !strings.Contains(log.String(), tt.want) {
			t.Errorf("%s: no %q in %q", tt.in, tt.want, log.String())
		}
	}
}

func TestReceiver_DataBeforeTemplate_RFC7011_9_3(t *testing.T) {
	c, sink, r := offline(t, Config{HeldAge: 30 * time.Second}, udp)
	send(r, 0, message(1, 0, set(256, flow)))
	send(r, 1, message(1, 1, set(257, "06 0161"), set(256, flow2)))
	if st := c.Stats(); st.EarlySets != 3 || st.Records != 0 || st.Sequence.Lost != 0 {
		t.Fatalf("%+v", st)
	}
	send(r, 2, message(1, 3, set(2, addresses), set(256, flow)))
	if diff := cmp.Diff([]string{"1/256: c0000201c0000202", "1/256: c0000203c0000204", "1/256: c0000201c0000202"}, sink.batches); diff != "" {
		t.Error(diff)
	}
	send(r, 60, message(1, 4, set(256, flow)))
	st := c.Stats()
	if st.ReleasedSets != 2 || st.UndecodableSets != 1 || st.Sequence.Lost != 0 || st.Sequence.Unreadable != 1 || st.Sequence.Waiting != 0 || st.Records != 4 {
		t.Errorf("%+v", st)
	}
	// What waits at the end is never decoded.
	send(r, 61, message(1, 5, set(999, flow), set(999, flow)))
	r.Closed(nil)
	if st := c.Stats(); st.Sequence.Unreadable != 3 || st.UndecodableSets != 3 || st.Templates.HeldSets != 0 {
		t.Errorf("after the end: %+v", st)
	}
}

// A record keeps the Export Time of the message it was in.
func TestReceiver_HeldKeepsExportTime(t *testing.T) {
	c, _, r := offline(t, Config{}, udp)
	var got []uint32
	c.outputs[0].sink = sinkFunc(func(b *record.Batch) { got = append(got, b.ExportTime-uint32(start.Unix())) })
	send(r, 0, exported(1, message(1, 0, set(256, flow))))
	send(r, 0, exported(2, message(1, 1, set(2, addresses), set(256, flow))))
	if diff := cmp.Diff([]uint32{1, 2}, got); diff != "" {
		t.Error(diff)
	}
}

func TestReceiver_Redefinition_RFC7011_8_1_8_4(t *testing.T) {
	for _, tt := range []struct {
		name  string
		props transport.Properties
		log   string
	}{{"UDP replaces", udp, ""}, {"TCP replaces and tells", tcp, "redefined without"}} {
		t.Run(tt.name, func(t *testing.T) {
			var log strings.Builder
			_, sink, r := offline(t, Config{Log: textLog(&log)}, tt.props)
			send(r, 0, message(1, 0, set(2, addresses), set(256, flow)))
			send(r, 1, message(1, 1, set(2, "0100 0001 0008 0004"), set(256, flow)))
			if diff := cmp.Diff([]string{"1/256: c0000201c0000202", "1/256: c0000201 c0000202"}, sink.batches); diff != "" {
				t.Error(diff)
			}
			if got := strings.Contains(log.String(), "redefined without"); got != (tt.log != "") {
				t.Errorf("log: %s", log.String())
			}
		})
	}
}

func TestReceiver_Withdrawal_RFC7011_8_1(t *testing.T) {
	c, sink, r := offline(t, Config{}, tcp)
	send(r, 0, message(1, 0, set(2, addresses), set(256, flow), set(2, "0100 0000"), set(256, flow2)))
	if len(sink.batches) != 1 {
		t.Errorf("decoded with a withdrawn template: %v", sink.batches)
	}
	send(r, 1, message(1, 2, set(2, "0100 0000")))
	if st := c.Stats(); st.Templates.Withdrawn != 1 || st.Templates.WithdrawalsUnknown != 1 {
		t.Errorf("%+v", st.Templates)
	}
}

func TestReceiver_SessionsAndDomainsAreApart_RFC7011_8(t *testing.T) {
	c, sink, r := offline(t, Config{}, udp)
	other := open(t, c, "exporter", 2, udp)
	send(r, 0, message(1, 0, set(2, addresses)))
	send(other, 0, message(1, 0, set(2, "0100 0001 0008 0004")))
	send(r, 0, message(2, 0, set(2, "0100 0001 0004 0001")))
	send(r, 1, message(1, 0, set(256, flow)))
	send(other, 1, message(1, 0, set(256, flow)))
	send(r, 1, message(2, 0, set(256, "0611")))
	want := []string{"1/256: c0000201c0000202", "1/256: c0000201 c0000202", "2/256: 06 11"}
	if diff := cmp.Diff(want, sink.batches); diff != "" {
		t.Error(diff)
	}
}

// The exporting process reports on each session of its exporter.
func TestReceiver_ReportedDrops_RFC7011_4_3(t *testing.T) {
	sink := new(archive)
	plain := new(memory)
	c := New(Config{Offline: true, Sinks: []Sink{sink, plain}})
	a, b := open(t, c, "exporter", 1, udp), open(t, c, "exporter", 2, udp)
	// 258: exportingProcessId; flows, packets not sent, observationTimeSeconds twice.
	option := set(3, "0102 0005 0001  0090 0004  00a6 0008  00a7 0004  0142 0004  0142 0004")
	stats := func(flows int) []byte {
		return set(258, fmt.Sprintf("00000007 %016x 00000009 00000000 00000000", flows))
	}
	send(a, 0, exported(0, message(1, 0, option, stats(5))))
	send(b, 1, exported(20, message(1, 0, option, stats(8))))
	send(a, 2, exported(10, message(1, 1, stats(5)))) // overtaken
	got := c.Stats()
	if got.Reported.DroppedRecords != 8 || got.Reported.DroppedPackets != 9 {
		t.Errorf("%+v", got.Reported)
	}
	if got.ControlRecords != 3 || got.Records != 0 || sink.control != 3 || plain.records != 0 {
		t.Errorf("%d control records, %d of them archived; %d others", got.ControlRecords, sink.control, plain.records)
	}
	// The exporter began anew: its counts go on from there.
	send(b, 3, exported(30, message(1, 1, stats(2))))
	if n := c.Stats().Reported.DroppedRecords; n != 10 {
		t.Errorf("%d dropped after a restart of the exporter", n)
	}
	if s := got.Summary(); s.RecordsDroppedReported != 8 || s.RecordsReceived != 0 || s.RecordsLost != 0 {
		t.Errorf("%+v", s)
	}
}

func TestReceiver_OtherOptionsAreRecords(t *testing.T) {
	c, sink, r := offline(t, Config{}, udp)
	// 259: ingressInterface; interfaceName.
	send(r, 0, message(1, 0, set(3, "0103 0002 0001  000a 0004  0052 ffff"), set(259, "00000001 0465746830")))
	if len(sink.batches) != 1 || c.Stats().Records != 1 {
		t.Errorf("%v", sink.batches)
	}
}

func TestReceiver_ElementTypes_RFC5610_3_9(t *testing.T) {
	c, _, r := offline(t, Config{}, udp)
	var last string
	c.outputs[0].sink = sinkFunc(func(b *record.Batch) {
		f := b.Template.Fields[0]
		last = "unknown"
		if f.Element != nil {
			last = f.Element.Name + " " + f.Type.String()
		}
	})
	enterprise := set(2, "0100 0001  8064 0004 00007ed9") // 32473/100
	send(r, 0, message(1, 0, enterprise, set(256, "00000001")))
	if last != "unknown" {
		t.Error(last)
	}
	// 260: informationElementId, privateEnterpriseNumber; data type, semantics, name.
	types := set(3, "0104 0005 0002  012f 0002  015a 0004  0153 0001  0158 0001  0155 ffff")
	send(r, 1, message(1, 1, types, set(260, "0064 00007ed9 03 03 0b 776964676574436f756e74"), set(256, "00000001")))
	if last != "widgetCount unsigned32" {
		t.Error(last)
	}
	if st := c.Stats(); st.Templates.Learnt != 1 || st.ControlRecords != 1 || st.ControlIgnored != 0 {
		t.Errorf("%+v", st)
	}
	// It must not redefine what is known.
	send(r, 2, message(1, 3, set(260, "0008 00000000 0d 00 02 6d65")))
	if st := c.Stats(); st.ControlIgnored != 1 {
		t.Errorf("%+v", st)
	}
}
