package link

import (
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"ipfixsuite/test/harness"
)

// The link loses the messages with which each new session begins: both copies
// of its Templates, and nothing else. What comes then waits at the collector
// for the repetition, and all of it is decoded (RFC 7011, Section 8.4; data
// that arrives before its Template may be kept: Section 9).
func TestRotation_FirstTemplatesLost(t *testing.T) {
	t.Parallel()
	const copies = 2
	pki := harness.NewPKI(t, "collector", "exporter")
	flows := filepath.Join(t.TempDir(), "flows")
	c := harness.StartCollector(t, append([]string{"--listen", "dtls+udp://127.0.0.1:0", "--sink", "json:" + flows}, pki.Flags("collector")...)...)
	var first netip.AddrPort
	begun := map[netip.AddrPort]int{} // messages of each session, as far as they matter
	r := between(t, c.Addr, Config{Delay: 2 * time.Millisecond, Drop: func(way Direction, client netip.AddrPort, data []byte) bool {
		const applicationData = 23 // of sessions that were resumed: they have no Connection ID
		if !first.IsValid() {
			first = client
		}
		if way != Up || len(data) == 0 || data[0] != applicationData || client == first || begun[client] == copies {
			return false
		}
		begun[client]++
		return true
	}})
	e := harness.StartExporter(t, append([]string{"--source", "json:-", "--to", "dtls+udp://" + r.Addr(), "--rotate", "2s", "--mtu", "1500"}, pki.Flags("exporter")...)...)
	feed := &harness.Feeder{Rate: 2000}
	feed.Begin(e)
	e.Wait(`"msg":"session opened"`)
	const rotations = 3
	for at, n := time.Now(), 0; n < rotations; n++ {
		at = e.LoggedAfter(at, time.Minute, `"msg":"session replaced"`)
	}
	last := feed.End()
	e.EndInput()
	sum := e.Summary(time.Minute)
	got := c.Summary()
	written := harness.Written(t, last, flows)
	lost := r.Counters(Up).Lost
	t.Logf("%d records over %v sessions: %d datagrams lost, %v data sets before their template", last, sum["sessions_opened"], lost, got["data_before_template"])
	if missing, again := written.Missing(), written.Again(); missing != 0 || again != 0 {
		t.Errorf("%d records missing, %d twice", missing, again)
	}
	// One that was still being made at the end may have begun, or not.
	if whole := copies * (sum["sessions_opened"] - 1); float64(lost) > whole || float64(lost) < whole-copies || lost < copies*rotations {
		t.Errorf("%d datagrams lost on %v sessions", lost, sum["sessions_opened"])
	}
	// Each session carries the exporter's own options records, and data for
	// half a second, without their Templates.
	if got["data_before_template"] < 2*rotations {
		t.Errorf("%v data sets came before their template", got["data_before_template"])
	}
	if got["records_lost"] != 0 || got["records_undecodable"] != 0 || got["messages_malformed"] != 0 || sum["collectors_lost"] != 0 || sum["records_replayed"] != 0 {
		t.Errorf("exporter %v\ncollector %v", sum, got)
	}
}
