package link

import (
	"fmt"
	"net"
	"path/filepath"
	"testing"
	"time"

	"ipfixsuite/test/harness"
)

// On a path that loses, SCTP may give up what is older than a lifetime, where
// that is asked for: the collector sees a gap in the Sequence Numbers of the
// stream for each record that is missing, and nothing else (RFC 7011, Sections
// 10.2.2 and 10.2.6; RFC 6526, Section 4.5.4). The exporter does not send it
// again, and Templates, options records and withdrawals are never given up.
func TestPartialReliability_OverSCTP(t *testing.T) {
	for _, tc := range []struct{ scheme, policy string }{
		{"sctp+udp", "single"}, {"sctp+udp", "per-template"}, {"dtls+sctp+udp", "per-template"},
	} {
		t.Run(tc.scheme+"/"+tc.policy, func(t *testing.T) {
			t.Parallel()
			const rate = 4000
			n := 3 * rate
			pki := harness.NewPKI(t, "collector", "exporter")
			inner, outer := harness.FreePort(t), harness.FreePort(t)
			flows := filepath.Join(t.TempDir(), "flows")
			c := harness.StartCollector(t, append([]string{
				"--listen", fmt.Sprintf("%s://127.0.0.1:%d?udp=%d", tc.scheme, inner, outer), "--sink", "json:" + flows,
			}, pki.Flags("collector")...)...)
			r := between(t, fmt.Sprintf("127.0.0.1:%d", outer), Config{Delay: 20 * time.Millisecond, Loss: 0.02, Seed: 1})
			_, port, err := net.SplitHostPort(r.Addr())
			if err != nil {
				t.Fatal(err)
			}
			e := harness.StartExporter(t, append([]string{
				"--source", "json:" + harness.Numbered(t, n), "--max-rate", fmt.Sprint(rate), "--sctp-streams", tc.policy, "--rotate", "1s",
				"--to", fmt.Sprintf("%s://127.0.0.1:%d?udp=%s&lifetime=20ms", tc.scheme, inner, port),
			}, pki.Flags("exporter")...)...)
			sum := e.Summary(time.Minute)
			got := c.Summary()
			written := harness.Written(t, n, flows)
			missing := written.Missing()
			t.Logf("%d of %d records missing, %v given up, %v lost by the Sequence Numbers, %v rotations", missing, n, sum["records_given_up"], got["records_lost"], sum["rotations"])
			if missing == 0 || got["records_lost"] != float64(missing) || written.Again() != 0 {
				t.Errorf("%d missing, %d twice, the collector says %v", missing, written.Again(), got["records_lost"])
			}
			for _, name := range []string{"records_undecodable", "data_before_template", "records_late", "records_duplicate", "records_dropped_reported", "records_unwritten"} {
				if got[name] != 0 {
					t.Errorf("collector: %s %v", name, got[name])
				}
			}
			if sum["records_sent"] != float64(n) || sum["records_given_up"] == 0 ||
				sum["records_replayed"] != 0 || sum["records_dropped"] != 0 || sum["collectors_lost"] != 0 {
				t.Errorf("exporter %v", sum)
			}
			for _, a := range c.Accounts() {
				for _, s := range a.Sessions {
					if s.RecordsReceived > 0 && s.PerStream != (tc.policy == "per-template") {
						t.Errorf("session %d keeps RFC 6526: %v", s.Session, s.PerStream)
					}
					for _, stream := range s.Streams {
						if stream.RecordsLost > 0 && s.PerStream && len(stream.LossyTemplates) != 1 {
							t.Errorf("%d lost on stream %d, whose templates are %v", stream.RecordsLost, stream.Stream, stream.LossyTemplates)
						}
					}
				}
			}
		})
	}
}
