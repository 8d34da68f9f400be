//go:build linux

package dccp

import (
	"path/filepath"
	"testing"

	"ipfixsuite/test/harness"
)

// TestPathShrinks: RFC 4340, Section 14, and RFC 5238, Section 3.5: when the
// path takes less than what stands in the queue, or is under way, the session
// goes on with less, and each record comes all the same: what did not fit any more
// is known as lost and goes again, cut smaller.
func TestPathShrinks(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	pki := harness.NewPKI(t, "collector", "exporter")
	for _, to := range []struct{ scheme, url string }{
		{"dtls+dccp+udp", "dtls+dccp+udp://192.0.2.2"}, {"dccp+udp", "dccp+udp://[2001:db8::2]"}, {"dccp", "dccp://[2001:db8::2]"},
	} {
		t.Run(to.scheme, func(t *testing.T) {
			n.IP("-n " + n.A + " link set va mtu 1500")
			flows := filepath.Join(t.TempDir(), "flows")
			c := startCollector(t, n, pki, to.scheme, to.url, flows)
			e := startExporter(t, n, pki, to.scheme, to.url, "--source", "json:-", "--rotate", "0", "--dead-after", "1m")
			feed := &harness.Feeder{Rate: 5_000} // messages are full
			feed.Begin(e)
			harness.Until(t, "records on the large path", func() bool { return len(lines(t, flows)) > 1_000 })
			n.IP("-n " + n.A + " link set va mtu 1280")
			before := feed.Given()
			harness.Until(t, "more for the small one", func() bool { return feed.Given() > before+2_000 })
			records := feed.End()
			e.EndInput()
			sum := e.Summary(2 * patience)
			got := c.Summary()
			tally := harness.Written(t, records, flows)
			t.Logf("%d records, %v messages, %v records again, %d twice", records, sum["messages_sent"], sum["records_replayed"], tally.Again())
			if tally.Missing() > 0 || tally.Again() > int(sum["records_replayed"]) {
				t.Errorf("%d records missing, %d there again: exporter %v", tally.Missing(), tally.Again(), sum)
			}
			if sum["records_dropped"] != 0 || sum["records_unconfirmed"] != 0 || sum["collectors_lost"]+sum["collectors_closed"] != 0 || sum["records_replayed"] == 0 {
				t.Errorf("exporter %v", sum)
			}
			// A collector that does not answer heartbeats for a moment is suspected, and
			// has a second session opened beside.
			if sum["heartbeats_sent"] == 0 && sum["sessions_opened"] != 1 {
				t.Errorf("%v sessions", sum["sessions_opened"])
			}
			if got["records_undecodable"] != 0 {
				t.Errorf("collector %v", got)
			}
		})
	}
}
