package link

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ipfixsuite/test/harness"
)

// DCCP repeats nothing, but its Ack Vectors tell what was lost: over a path that
// loses one datagram in twenty, both ways, each record is at the collector when
// the exporter has ended; without DTLS, whose heartbeats may replace a session,
// one session does.
func TestDCCP_LossyPath(t *testing.T) {
	const n = 20_000
	for _, scheme := range []string{"dccp+udp", "dtls+dccp+udp"} {
		t.Run(scheme, func(t *testing.T) {
			t.Parallel()
			pki := harness.NewPKI(t, "collector", "exporter")
			flows, summary := filepath.Join(t.TempDir(), "flows"), filepath.Join(t.TempDir(), "exporter.json")
			port, outer := harness.FreePort(t), harness.FreePort(t)
			c := harness.StartCollector(t, append([]string{"--listen", fmt.Sprintf("%s://127.0.0.1:%d?udp=%d", scheme, port, outer), "--sink", "json:" + flows},
				pki.Flags("collector")...)...)
			relay := between(t, fmt.Sprintf("127.0.0.1:%d", outer), Config{Delay: 10 * time.Millisecond, Loss: 0.05, Seed: 1})
			_, front, _ := strings.Cut(relay.Addr(), ":")
			e := harness.Start(t, harness.Binary(t, "exporter"), append([]string{"run", "--summary", summary, "--log-format", "json", "--rotate", "0", "--mtu", "1500",
				"--source", "json:" + harness.Numbered(t, n), "--to", fmt.Sprintf("%s://127.0.0.1:%d?udp=%s", scheme, port, front)}, pki.Flags("exporter")...)...)
			e.End()
			sum, got := harness.ReadSummary(t, summary), c.Summary()
			written := harness.Written(t, n, flows)
			t.Logf("%v messages, %v records again; %d twice; up %+v, down %+v", sum["messages_sent"], sum["records_replayed"], written.Again(),
				relay.Counters(Up), relay.Counters(Down))
			if written.Missing() != 0 || float64(written.Again()) > sum["records_replayed"] {
				t.Errorf("%d records missing, %d twice", written.Missing(), written.Again())
			}
			if sum["records_sent"] != n || sum["records_dropped"] != 0 || sum["records_replayed"] == 0 || sum["records_unconfirmed"] != 0 ||
				scheme == "dccp+udp" && sum["sessions_opened"] != 1 {
				t.Errorf("exporter %v", sum)
			}
			if got["records_undecodable"] != 0 || got["socket_drops"] != 0 {
				t.Errorf("collector %v", got)
			}
		})
	}
}
