//go:build linux

package sctp

import (
	"path/filepath"
	"testing"
	"time"

	"ipfixsuite/test/harness"
)

// lifetimes: what our exporter lets its transport give up (RFC 7011, Section
// 10.2.2: messages of Data Sets alone) is missing at the collector as gaps in
// the Sequence Numbers, record for record, and nowhere else: no Template is, no
// collector is taken for dead, nothing comes twice. The kernel's stack and the one in user
// space go through it side by side.
func lifetimes(t *testing.T, n *harness.Network) {
	type run struct {
		scheme, flows string
		c             *harness.Collector
		e             *harness.Exporter
		feed          *harness.Feeder
	}
	pki := harness.NewPKI(t, "collector", "exporter")
	var runs []*run
	for _, scheme := range []string{"dtls+sctp", "dtls+sctp+udp"} {
		r := &run{scheme: scheme, flows: filepath.Join(t.TempDir(), scheme), feed: &harness.Feeder{Rate: trialRate}}
		r.c = startCollector(t, n, append([]string{"--listen", scheme + "://192.0.2.2", "--sink", "json:" + r.flows}, pki.Flags("collector")...)...)
		n.Inside(n.A, func() {
			r.e = harness.StartExporter(t, append([]string{"--source", "json:-", "--to", scheme + "://192.0.2.2?lifetime=300ms", "--dead-after", "30s"}, pki.Flags("exporter")...)...)
		})
		r.feed.Begin(r.e)
		runs = append(runs, r)
	}
	written := func(r *run, i int) func() bool {
		files := &trial{flows: r.flows}
		return func() bool { return files.written(t, i) }
	}
	for _, r := range runs {
		harness.Until(t, r.scheme+" begins", written(r, 1))
	}
	n.Run(n.A, "tc qdisc add dev va root netem loss 100%")
	<-time.After(1500 * time.Millisecond)
	n.Run(n.A, "tc qdisc del dev va root")
	for _, r := range runs {
		harness.Until(t, r.scheme+" goes on", written(r, r.feed.Given()+1))
	}
	for _, r := range runs {
		given := r.feed.End()
		r.e.EndInput()
		sum := r.e.Summary(time.Minute)
		got := r.c.Summary()
		tally := harness.Written(t, given, r.flows)
		t.Logf("%s: %d records, %d missing; the collector counts %v lost, the exporter %v given up", r.scheme, given, tally.Missing(), got["records_lost"], sum["records_given_up"])
		if tally.Missing() == 0 || tally.Again() != 0 || got["records_lost"] != float64(tally.Missing()) {
			t.Errorf("%s: %d of %d records are missing, %d twice; gaps of %v", r.scheme, tally.Missing(), given, tally.Again(), got["records_lost"])
		}
		// A message is given up also if it arrived and its acknowledgement took
		// too long. Linux tells of those it sent how many they were; where others
		// of that age arrived, on a slow machine, it cannot be told which.
		if told := sum["records_given_up"]; r.scheme != "dtls+sctp" && told < float64(tally.Missing()) {
			t.Errorf("%s: %v records given up, %d are missing", r.scheme, told, tally.Missing())
		}
		if sum["collectors_lost"] != 0 || sum["records_replayed"] != 0 || got["data_before_template"] != 0 || got["records_undecodable"] != 0 {
			t.Errorf("%s: exporter %v, collector %v", r.scheme, sum, got)
		}
	}
}
