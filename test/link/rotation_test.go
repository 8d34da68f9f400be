package link

import (
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"ipfixsuite/test/harness"
)

// One session a second over a link that delays, reorders, doubles and loses:
// what is missing at the end is what the link lost, and no more.
func TestRotation_LossyLink(t *testing.T) {
	t.Parallel()
	const rate = 20_000
	d := 8 * time.Second
	if long() {
		d = time.Minute
	}
	n := int(d.Seconds() * rate)
	pki := harness.NewPKI(t, "collector", "exporter")
	flows := filepath.Join(t.TempDir(), "flows")
	c := harness.StartCollector(t, append([]string{"--listen", "dtls+udp://127.0.0.1:0", "--sink", "json:" + flows}, pki.Flags("collector")...)...)
	var lost atomic.Int64 // records that the lost datagrams had room for
	r := between(t, c.Addr, Config{
		Delay: 20 * time.Millisecond, Jitter: 3 * time.Millisecond, Loss: 0.02, Duplicate: 0.01, Seed: 7011,
		Lost: func(way Direction, data []byte) {
			// Of the datagrams only those hold data that are encrypted
			// application data: record header, nonce and tag, message header
			// and set header go off their size.
			if overhead := 13 + 8 + 8 + 16 + 4; way == Up && len(data) > overhead && data[0] != 22 {
				lost.Add(int64((len(data) - overhead) / harness.RecordSize))
			}
		},
	})
	begin := time.Now()
	e := harness.StartExporter(t, append([]string{"--source", "json:" + harness.Numbered(t, n), "--to", "dtls+udp://" + r.Addr(),
		"--rotate", "1s", "--full-handshake-every", "5", "--max-rate", fmt.Sprint(rate), "--mtu", "1500"}, pki.Flags("exporter")...)...)
	sum := e.Summary(d + time.Minute)
	took := time.Since(begin)
	got := c.Summary()
	written := harness.Written(t, n, flows)
	missing, again := written.Missing(), written.Again()
	up, down := r.Counters(Up), r.Counters(Down)
	t.Logf("%v: %v rotations, %v sessions (%v resumed), longest gap %v µs; %d of %d missing, the link lost room for %d; %v lost, %v before their template, %d twice (%v replayed)",
		took.Round(time.Millisecond), sum["rotations"], sum["sessions_opened"], sum["sessions_resumed"], sum["max_swap_gap_us"],
		missing, n, lost.Load(), got["records_lost"], got["data_before_template"], again, sum["records_replayed"])
	t.Logf("up %+v, down %+v", up, down)
	if int64(missing) > lost.Load() || got["records_lost"] > float64(lost.Load()) {
		t.Errorf("%d records missing, %v lost: more than the %d of the link", missing, got["records_lost"], lost.Load())
	}
	if again == 0 && got["records_lost"] < float64(missing)*0.95 {
		t.Errorf("%d records missing, the collector knows of %v", missing, got["records_lost"])
	}
	if sum["max_swap_gap_us"] > 5000 {
		t.Errorf("no data for %v µs while a session was replaced", sum["max_swap_gap_us"])
	}
	if up.Lost == 0 || down.Lost == 0 || up.Refused+up.Paused+down.Paused != 0 {
		t.Errorf("the link is not as it should be: up %+v, down %+v", up, down)
	}
	if float64(again) > sum["records_replayed"] {
		t.Errorf("%d records twice, %v replayed", again, sum["records_replayed"])
	}
	// A handshake that loses a flight takes more than a second.
	if sum["rotations"] < d.Seconds()*0.5 || sum["sessions_resumed"] < sum["rotations"]/2 {
		t.Errorf("%v rotations in %v, %v resumed", sum["rotations"], took, sum["sessions_resumed"])
	}
	if sum["records_exported"] != float64(n) || sum["records_sent"] != float64(n) || sum["records_dropped"] != 0 || sum["collectors_lost"] != 0 {
		t.Errorf("exporter %v", sum)
	}
	if got["records_undecodable"] != 0 || got["socket_drops"] != 0 {
		t.Errorf("collector %v", got)
	}
}
