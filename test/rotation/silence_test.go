package rotation

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"ipfixsuite/test/harness"
)

// A network that takes everything and says nothing, with a collector behind it
// that lives: over TCP the kernel gives the connection up (TCP_USER_TIMEOUT, and
// keepalives when nothing is sent), and no record is lost, those included that
// stood in its send queue.
func TestSilentNetwork_TCP(t *testing.T) {
	t.Parallel()
	pki := harness.NewPKI(t, "collector", "exporter")
	for _, scheme := range []string{"tcp", "tls+tcp", "mta+tls+tcp"} {
		t.Run(scheme, func(t *testing.T) {
			t.Parallel()
			n := harness.NewNetwork(t)
			n.IP("-n " + n.A + " link set va up")
			n.IP("-n " + n.B + " link set vb up")
			flows, to := filepath.Join(t.TempDir(), "flows"), scheme+"://192.0.2.2:4740"
			var c *harness.Collector
			var e *harness.Exporter
			n.Inside(n.B, func() {
				c = harness.StartCollector(t, append([]string{"--listen", to, "--sink", "json:" + flows, "--insecure"}, pki.Flags("collector")...)...)
			})
			flags := pki.Flags("exporter")
			if scheme != "tcp" { // no name leads to the namespace's address
				flags = append(flags, "--server-name", "collector")
			}
			n.Inside(n.A, func() {
				e = harness.StartExporter(t, append([]string{"--source", "json:-", "--to", to, "--insecure"}, flags...)...)
			})
			feed := &harness.Feeder{Rate: 5000}
			feed.Begin(e)
			e.Wait("session opened")
			harness.Until(t, "data flows", func() bool { return feed.Given() > 5000 })
			given := 0
			cuts := []bool{true}
			if scheme == "tcp" { // TLS changes nothing when nothing is sent, MTA-TLS has probes
				cuts = append(cuts, false)
			}
			for i, busy := range cuts {
				if i > 0 {
					given = feed.End()
					harness.Until(t, "all is there", func() bool { return harness.Written(t, given, flows).Missing() == 0 })
				}
				cut := time.Now()
				n.IP("-n " + n.B + " link set vb down")
				lost := e.LoggedAfter(cut, time.Minute, `"msg":"session lost"`).Sub(cut)
				t.Logf("busy %v: known after %v", busy, lost.Round(time.Millisecond))
				if lost-e.Starved() > 10*time.Second { // 3 s on a machine of its own
					t.Errorf("busy %v: known only after %v", busy, lost)
				}
				back := time.Now()
				n.IP("-n " + n.B + " link set vb up")
				e.LoggedAfter(back, time.Minute, `"msg":"session opened"`)
			}
			if len(cuts) == 1 {
				given = feed.End()
			}
			e.EndInput()
			sum := e.Summary(time.Minute)
			c.Summary()
			written := harness.Written(t, given, flows)
			t.Logf("%d records: %d missing, %d twice (%v replayed)", given, written.Missing(), written.Again(), sum["records_replayed"])
			if written.Missing() != 0 || float64(written.Again()) > sum["records_replayed"] || sum["records_dropped"] != 0 || sum["collectors_lost"] != float64(len(cuts)) {
				t.Errorf("%d of %d records are missing, %d twice: %v", written.Missing(), given, written.Again(), fmt.Sprint(sum))
			}
		})
	}
}
