package rotation

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"ipfixsuite/test/harness"
)

// A session a second and a collector that is killed again and again: whatever
// a kill meets, a session that drains, one that is being made, no record is
// lost.
func TestKilledWhileRotating_TCP(t *testing.T) {
	t.Parallel()
	kills := 2
	if long(t, 0) > 0 {
		kills = 20
	}
	pki := harness.NewPKI(t, "collector", "exporter")
	for _, scheme := range []string{"tcp", "tls+tcp", "mta+tls+tcp"} {
		t.Run(scheme, func(t *testing.T) {
			t.Parallel()
			to := fmt.Sprintf("%s://127.0.0.1:%d", scheme, harness.FreePort(t))
			flows := filepath.Join(t.TempDir(), "flows")
			serve := func() *harness.Collector {
				return harness.StartCollector(t, append([]string{"--listen", to, "--sink", "json:" + flows}, pki.Flags("collector")...)...)
			}
			c := serve()
			e := harness.StartExporter(t, append([]string{"--source", "json:-", "--to", to, "--rotate", "1s"}, pki.Flags("exporter")...)...)
			feed := &harness.Feeder{Rate: 5000}
			feed.Begin(e)
			e.Wait("session opened")
			for i := range kills {
				// At another moment of a rotation each time.
				now := time.Now()
				swapped := e.LoggedAfter(now, time.Minute, `"msg":"session replaced"`)
				<-time.After(time.Until(swapped.Add(time.Duration(1+4*i) * 100 * time.Millisecond % time.Second)))
				c.Kill()
				c = serve()
				c.Wait("session opened")
			}
			n := feed.End()
			e.EndInput()
			sum := e.Summary(2 * time.Minute)
			got := c.Summary()
			written := harness.Written(t, n, flows)
			t.Logf("%d kills, %v rotations, %d records: %d missing, %d twice (%v replayed)",
				kills, sum["rotations"], n, written.Missing(), written.Again(), sum["records_replayed"])
			if written.Missing() != 0 || float64(written.Again()) > sum["records_replayed"] || sum["records_sent"] != float64(n) || sum["records_dropped"] != 0 {
				t.Errorf("%d of %d records are missing, %d twice: %v", written.Missing(), n, written.Again(), sum)
			}
			if got["data_before_template"] != 0 || got["records_undecodable"] != 0 {
				t.Errorf("collector %v", got)
			}
		})
	}
}
