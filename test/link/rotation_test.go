package link

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"ipfixsuite/test/harness"
)

// room is how many numbered records a datagram of the exporter has room for:
// with record header, nonce, tag, message header and set header off its size,
// and a Connection ID with the real type. Only encrypted data holds any.
func room(data []byte) int {
	overhead := 13 + 8 + 16 + 16 + 4
	switch {
	case len(data) == 0:
		return 0
	case data[0] == 25:
		overhead += 8 + 1
	case data[0] != 23:
		return 0
	}
	return max(len(data)-overhead, 0) / harness.RecordSize
}

// lostRecords is how many numbered records the link lost on their way up at
// most, and how many of them were the last of their session: no message came
// after them that could tell of them. With a Connection ID a heartbeat looks
// like a short message, so only long ones count.
func lostRecords(all []Datagram) (lost, untold int) {
	last := map[netip.AddrPort]int{}
	for _, d := range all {
		switch n := room(d.Data); {
		case d.Way != Up:
		case d.Lost:
			lost += n
			last[d.Client] += n
		case n > 5 || len(d.Data) > 0 && d.Data[0] == 23:
			last[d.Client] = 0
		}
	}
	for _, n := range last {
		untold += n
	}
	return lost, untold
}

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
	r := between(t, c.Addr, Config{
		Delay: 20 * time.Millisecond, Jitter: 3 * time.Millisecond, Loss: 0.02, Duplicate: 0.01, Seed: 7011, Record: true,
	})
	begin := time.Now()
	e := harness.StartExporter(t, append([]string{"--source", "json:" + harness.Numbered(t, n), "--to", "dtls+udp://" + r.Addr(),
		"--rotate", "1s", "--full-handshake-every", "5", "--max-rate", fmt.Sprint(rate), "--mtu", "1500"}, pki.Flags("exporter")...)...)
	sum := e.Summary(d + time.Minute)
	took := time.Since(begin)
	got := c.Summary()
	written := harness.Written(t, n, flows)
	missing, again := written.Missing(), written.Again()
	lost, untold := lostRecords(r.Recorded())
	up, down := r.Counters(Up), r.Counters(Down)
	t.Logf("%v: %v rotations, %v sessions (%v resumed), longest gap %v µs (%v without a processor); %d of %d missing, the link lost room for %d, %d of them unseen; the collector knows of %v, %v before their template, %d twice (%v replayed)",
		took.Round(time.Millisecond), sum["rotations"], sum["sessions_opened"], sum["sessions_resumed"], sum["max_swap_gap_us"],
		e.Starved().Round(time.Millisecond), missing, n, lost, untold, got["records_lost"], got["data_before_template"], again, sum["records_replayed"])
	t.Logf("up %+v, down %+v", up, down)
	if missing > lost {
		t.Errorf("%d records missing: more than the %d of the link", missing, lost)
	}
	// The exporter's own records, its statistics, are lost like others.
	control := sum["control_records_sent"] - got["control_records_received"]
	if known := got["records_lost"]; again == 0 && (known > float64(missing)+control || known < float64(missing-untold)) {
		t.Errorf("%d records missing, %d of them where no message came after them; the collector knows of %v", missing, untold, known)
	}
	if gap := e.SwapGap(sum); gap > 5*time.Millisecond {
		t.Errorf("no data for %v while a session was replaced", gap)
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
