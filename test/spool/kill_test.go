package spool

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"ipfixsuite/test/harness"
)

// The collector is away and comes back; meanwhile, and while it is given what
// it missed, the exporter is killed with SIGKILL and started again. Whatever
// stood in the spool at any of these moments is in the collector's files in
// the end; what an exporter that is not killed takes, too.
func TestSpool_ExporterKilled(t *testing.T) {
	t.Parallel()
	rate, absence, kills := 1000, time.Minute, 3
	if long() {
		rate, kills = 2000, 8
	}
	rng := rand.New(rand.NewPCG(5655, 1))
	n := rate * int((absence*3 + time.Minute).Seconds()) // more than there will be
	pki := harness.NewPKI(t, "collector", "exporter")
	addr := fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
	flows, dir := filepath.Join(t.TempDir(), "flows"), filepath.Join(t.TempDir(), "spool")
	serve := func() *harness.Collector {
		return harness.StartCollector(t, append([]string{"--listen", "dtls+udp://" + addr, "--sink", "json:" + flows}, pki.Flags("collector")...)...)
	}
	// What is spooled comes back slowly, so that it can be interrupted.
	export := func() *harness.Exporter {
		return harness.StartExporter(t, append([]string{"--source", "json:-", "--to", "dtls+udp://" + addr, "--give-up", "0",
			"--spool", dir, "--spool-rate", fmt.Sprint(2 * rate)}, pki.Flags("exporter")...)...)
	}
	feed := &harness.Feeder{Rate: rate}
	due := make(harness.Tally, n+1) // all that was seen in the spool
	kill := func(e *harness.Exporter) (upTo int) {
		e.Kill()
		upTo = feed.End()
		at := harness.WrittenIPFIX(t, n, filepath.Join(dir, segments))
		fresh, undelivered := at.Without(due), at.Without(harness.Written(t, n, flows))
		for i, k := range at {
			due[i] += k
		}
		t.Logf("killed after number %d: %d numbers in the spool, %d of them new, %d not delivered yet", upTo, at.Present(), fresh, undelivered)
		if undelivered == 0 {
			t.Error("a kill that proves nothing")
		}
		return upTo
	}

	c := serve()
	e := export()
	feed.Begin(e)
	e.Wait(`"msg":"session opened"`)
	here := func() int { return harness.Written(t, n, flows).Present() }
	harness.Until(t, "something is written", func() bool { return here() > 0 })
	c.Kill()
	back := time.After(absence)
	share := absence / time.Duration(kills+1)
	for range kills {
		// Somewhere in its share of the absence, but not before it spools.
		before := octets(t, dir)
		after := time.After(share/2 + time.Duration(rng.Int64N(int64(share/2))))
		harness.Until(t, "the spool grows", func() bool { return octets(t, dir) > before })
		<-after
		kill(e)
		e = export()
		feed.Begin(e)
	}
	<-back
	again := time.Now()
	c = serve()
	e.LoggedAfter(again, time.Minute, `"msg":"session opened"`)
	had := here()
	harness.Until(t, "what was spooled comes", func() bool { return here() > had+rate })
	live := kill(e) + 1
	e = export()
	feed.Begin(e)
	e.Wait(`"msg":"session opened"`)
	harness.Until(t, "it is given some", func() bool { return feed.Given() > live+rate/2 })
	upTo := feed.End()
	e.EndInput()
	sum := e.Summary(2 * time.Minute)
	got := c.Summary()
	written := harness.Written(t, n, flows)
	missing := due.Without(written)
	t.Logf("%d kills in %v and one while it comes back: %d numbers were in the spool, %d of them missing; %d given in all, %d never reached the spool or the collector, %d twice; last exporter %v, collector %v",
		kills, absence, due.Present(), missing, upTo, upTo-written.Present(), written.Again(), sum, got)
	if missing != 0 {
		t.Errorf("%d of %d spooled records are missing", missing, due.Present())
	}
	for i := live; i <= upTo; i++ {
		if written[i] == 0 {
			t.Errorf("%d is missing, which an exporter took that was not killed", i)
			break
		}
	}
	if sum["records_dropped"] != 0 || sum["records_unconfirmed"] != 0 || sum["records_sent"] != sum["records_exported"] {
		t.Errorf("exporter %v", sum)
	}
	if got["records_lost"] != 0 || got["data_before_template"] != 0 || got["records_undecodable"] != 0 {
		t.Errorf("collector %v", got)
	}
	if left := octets(t, dir); left != 0 {
		t.Errorf("still in the spool: %d octets", left)
	}
}
