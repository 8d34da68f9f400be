package rotation

import (
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"ipfixsuite/test/harness"
)

// A collector that is killed with SIGKILL at random moments and started again
// after a while costs no record: each is in its files at least once.
func TestCollector_Killed(t *testing.T) {
	t.Parallel()
	const rate, kills, pause = 5000, 20, 10 * time.Second
	often := 5.0 // most pauses are short
	if long(t, 0) > 0 {
		often = 1
	}
	rng := rand.New(rand.NewPCG(7011, 1))

	pki := harness.NewPKI(t, "collector", "exporter")
	addr := fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
	flows, archive := filepath.Join(t.TempDir(), "flows"), filepath.Join(t.TempDir(), "archive")
	serve := func() *harness.Collector {
		return harness.StartCollector(t, append([]string{"--listen", "dtls+udp://" + addr, "--sink", "json:" + flows, "--sink", "ipfix:" + archive}, pki.Flags("collector")...)...)
	}
	c := serve()
	e := harness.StartExporter(t, append([]string{"--source", "json:-", "--to", "dtls+udp://" + addr}, pki.Flags("exporter")...)...)
	feed := &harness.Feeder{Rate: rate}
	feed.Begin(e)
	e.Wait("session opened")
	var killed []time.Time
	for range kills {
		time.Sleep(300*time.Millisecond + time.Duration(rng.Int64N(int64(1500*time.Millisecond))))
		killed = append(killed, time.Now())
		c.Kill()
		time.Sleep(time.Duration(math.Pow(rng.Float64(), often) * float64(pause)))
		back := time.Now()
		c = serve()
		carries(e, back) // a kill that nobody sees proves nothing
	}
	n := feed.End()
	e.EndInput()
	sum := e.Summary(2 * time.Minute)
	got := c.Summary()
	written := harness.Written(t, n, flows)
	missing, again := written.Missing(), written.Again()
	archived := harness.WrittenIPFIX(t, n, filepath.Join(archive, "*"))
	after := detected(e, killed)
	t.Logf("%d kills, %d records: %d missing, %d twice (%v replayed), %v collectors lost, known after p50 %v, p95 %v, max %v",
		kills, n, missing, again, sum["records_replayed"], sum["collectors_lost"], percentile(after, 50), percentile(after, 95), percentile(after, 100))
	if missing != 0 || archived.Missing() != 0 {
		t.Errorf("of %d records %d are missing in JSON files, %d in IPFIX files", n, missing, archived.Missing())
	}
	if float64(again) > sum["records_replayed"] || float64(archived.Again()) > sum["records_replayed"] || sum["records_sent"] != float64(n) || sum["records_dropped"] != 0 || sum["records_unconfirmed"] != 0 {
		t.Errorf("%d twice, %d in IPFIX files: %v", again, archived.Again(), sum)
	}
	if int(sum["collectors_lost"]) < kills {
		t.Errorf("%v collectors lost in %d kills", sum["collectors_lost"], kills)
	}
	if late := percentile(after, 100) - e.Starved(); late > 10*time.Second { // 3 s on a machine of its own
		t.Errorf("one death was known only after %v", percentile(after, 100))
	}
	if got["records_lost"] != 0 || got["data_before_template"] != 0 || got["socket_drops"] != 0 {
		t.Errorf("collector %v", got)
	}
}

// carries waits for a session that carries data since a time.
func carries(e *harness.Exporter, since time.Time) {
	e.LoggedAfter(since, time.Minute, `"msg":"session carries data"`, `"msg":"session replaced"`)
}

// detected finds out how long after each kill the exporter's log tells of the
// loss.
func detected(e *harness.Exporter, killed []time.Time) []time.Duration {
	lost := e.Logged(`"msg":"session lost"`)
	var after []time.Duration
	for _, k := range killed {
		if i := slices.IndexFunc(lost, k.Before); i >= 0 {
			after = append(after, lost[i].Sub(k).Round(time.Millisecond))
		}
	}
	slices.Sort(after)
	return after
}

func percentile(sorted []time.Duration, p int) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[(len(sorted)-1)*p/100]
}
