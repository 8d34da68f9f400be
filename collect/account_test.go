package collect

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipfixsuite/transport"
)

// Two exporters, two sessions of one of them at a time, two domains, two
// streams: each loss stands where it happened, and the sums are right.
func TestAccounts(t *testing.T) {
	var log bytes.Buffer
	c := New(Config{Offline: true, Log: slog.New(slog.NewTextHandler(&log, nil))})
	now := start
	c.now = func() time.Time { return now }
	secure := transport.Properties{Secure: true, Streams: 2}
	first := openFrom(t, c, from("192.0.2.1:1", 1), secure)
	put := func(r transport.Receiver, stream uint16, b []byte) {
		r.Message(transport.Incoming{Data: b, Stream: stream, Received: now})
	}
	put(first, 0, message(7, 0, set(2, addresses), set(256, flow)))
	put(first, 0, message(7, 4, set(256, flow)))    // 3 lost
	put(first, 0, message(7, 4, set(256, flow)))    // twice
	put(first, 1, message(7, 2, set(256, flow)))    // 2 lost
	put(first, 0, message(9, 1, set(2, addresses))) // 1 lost
	put(first, 0, message(9, 0, set(256, flow)))    // not lost: late
	put(first, 0, message(9, 1, set(300, flow)))    // no template
	now = now.Add(time.Second)
	second := openFrom(t, c, from("192.0.2.1:2", 2), secure)
	put(second, 0, message(7, 1, set(2, addresses), set(256, flow+flow2))) // 1 lost
	now = now.Add(time.Second)
	first.Closed(nil)
	other, err := c.Open(peer("another", 3), udp)
	if err != nil {
		t.Fatal(err)
	}
	put(other, 0, message(1, 100, set(2, addresses), set(256, flow)))
	put(other, 0, message(1, 103, set(256, flow))) // 2 lost
	other.Closed(transport.ErrClosed)

	stream := func(domain uint32, stream uint16, received uint64, l Loss) StreamAccount {
		return StreamAccount{Domain: domain, Stream: stream, DataRecordsReceived: received, Loss: l}
	}
	want := []ExporterAccount{
		{Exporter: "192.0.2.1", RecordsReceived: 7, Loss: Loss{RecordsLost: 6, RecordsLate: 1, RecordsDuplicate: 1, RecordsUndecodable: 1}, SessionsOpened: 2, Sessions: []SessionAccount{
			{
				Session: 1, Remote: "192.0.2.1:1", Scheme: "udp", Opened: start, Closed: start.Add(2 * time.Second),
				RecordsReceived: 5, Loss: Loss{RecordsLost: 5, RecordsLate: 1, RecordsDuplicate: 1, RecordsUndecodable: 1},
				Streams: []StreamAccount{
					stream(7, 0, 3, Loss{RecordsLost: 3, RecordsDuplicate: 1}), stream(7, 1, 1, Loss{RecordsLost: 2}),
					stream(9, 0, 1, Loss{RecordsLate: 1, RecordsUndecodable: 1}),
				},
			},
			{
				Session: 2, Remote: "192.0.2.1:2", Scheme: "udp", Opened: start.Add(time.Second), RecordsReceived: 2,
				Loss: Loss{RecordsLost: 1}, Streams: []StreamAccount{stream(7, 0, 2, Loss{RecordsLost: 1})},
			},
		}},
		{Exporter: "another", RecordsReceived: 2, Loss: Loss{RecordsLost: 2}, SessionsOpened: 1, Sessions: []SessionAccount{{
			Session: 3, Remote: "192.0.2.1:4000", Scheme: "udp", Opened: start.Add(2 * time.Second), Closed: start.Add(2 * time.Second), Reason: "session closed",
			RecordsReceived: 2, Loss: Loss{RecordsLost: 2}, Streams: []StreamAccount{stream(1, 0, 2, Loss{RecordsLost: 2})},
		}}},
	}
	if diff := cmp.Diff(want, c.Accounts()); diff != "" {
		t.Error(diff)
	}
	// The sums are those of the Summary.
	st, sum := c.Stats(), Loss{}
	for _, a := range c.Accounts() {
		sum.RecordsLost += a.RecordsLost
		sum.RecordsLate += a.RecordsLate
		sum.RecordsDuplicate += a.RecordsDuplicate
		sum.RecordsUndecodable += a.RecordsUndecodable
	}
	if diff := cmp.Diff(lossOf(&st.Sequence), sum); diff != "" {
		t.Error(diff)
	}
	// What changed until the end is in the log, though nobody looked before.
	for _, line := range []string{
		`exporter=192.0.2.1 session=1 domain=7 stream=0 lost=3`, `exporter=192.0.2.1 session=1 domain=7 stream=1 lost=2`,
		`exporter=192.0.2.1 session=1 domain=9 stream=0 lost=0 undecodable=1 late=1`, `exporter=another session=3 domain=1 stream=0 lost=2`,
	} {
		if !strings.Contains(log.String(), `msg="loss account changed" `+line) {
			t.Errorf("not in the log: %s\n%s", line, log.String())
		}
	}
	if b, err := json.Marshal(c.Accounts()); err != nil || !strings.Contains(string(b), `"records_lost":6`) || strings.Contains(string(b), "Loss") {
		t.Errorf("%s, %v", b, err)
	}
}

// Of an exporter that comes and goes only the last sessions are told apart,
// whatever others do; the sums have all.
func TestAccounts_Bounded(t *testing.T) {
	c := New(Config{Offline: true})
	visit := func(name string, n int) {
		for i := range n {
			r, err := c.Open(peer(name, uint64(i)), udp)
			if err != nil {
				t.Fatal(err)
			}
			r.Message(transport.Incoming{Data: message(1, 0, set(2, addresses), set(256, flow))})
			r.Closed(nil)
		}
	}
	visit("calm", 3)
	for i := range keptEndedInAll {
		visit(fmt.Sprint("flood ", i), 1)
	}
	visit("late", 20)
	visit("calm", keptEnded)
	kept := 0
	for _, a := range c.Accounts() {
		kept += len(a.Sessions)
		if a.RecordsReceived != a.SessionsOpened {
			t.Errorf("%s: %d records of %d sessions", a.Exporter, a.RecordsReceived, a.SessionsOpened)
		}
		if want := map[string]int{"calm": 3, "late": 0}[a.Exporter]; !strings.HasPrefix(a.Exporter, "flood") && len(a.Sessions) != want {
			t.Errorf("%s: %d sessions kept, want %d", a.Exporter, len(a.Sessions), want)
		}
	}
	if kept != keptEndedInAll || c.kept != kept {
		t.Errorf("%d sessions kept, %d counted", kept, c.kept)
	}
}

// What an exporter reports of its own losses is in its account, and in the log
// once.
func TestAccounts_Reported_RFC7011_4_3(t *testing.T) {
	var log bytes.Buffer
	c := New(Config{Offline: true, Log: slog.New(slog.NewTextHandler(&log, nil))})
	r := openFrom(t, c, from("192.0.2.1:1", 1), udp)
	// exportingProcessId; notSentFlowTotalCount, notSentPacketTotalCount, notSentOctetTotalCount
	send(r, 0, message(1, 0, set(3, "0102 0004 0001  0090 0004  00a6 0008  00a7 0008  00a8 0008"),
		set(258, "00000007 0000000000000005 0000000000000009 0000000000000400")))
	for range 3 {
		c.tend(start)
	}
	a := c.Accounts()[0]
	if a.RecordsDroppedReported != 5 || a.PacketsDroppedReported != 9 || a.ControlRecordsReceived != 1 || a.RecordsReceived != 0 {
		t.Errorf("%+v", a)
	}
	if n := strings.Count(log.String(), `exporter reports that it dropped records" exporter=192.0.2.1 records=5 packets=9`); n != 1 {
		t.Errorf("told %d times:\n%s", n, log.String())
	}
}
