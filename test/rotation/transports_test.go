package rotation

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"ipfixsuite/test/harness"
)

// transport is what the two proofs ask of each scheme.
type transport struct {
	scheme  string
	resumes bool // its handshakes can be abbreviated
	// tells: a process that is killed cannot end the session in order, so
	// that its death is known as such.
	tells bool
	// hears: a process that stands still is noticed within seconds.
	hears bool
	raw   bool   // needs CAP_NET_RAW
	outer bool   // inside UDP, whose port is an option
	query string // then
}

var transports = []transport{
	{scheme: "tcp"},
	{scheme: "tls+tcp", resumes: true, tells: true},
	{scheme: "mta+tls+tcp", hears: true, resumes: true, tells: true},
	{scheme: "sctp+udp", outer: true, tells: true},
	{scheme: "dtls+sctp+udp", hears: true, outer: true, tells: true},
	{scheme: "dccp+udp", outer: true},
	{scheme: "dtls+dccp+udp", hears: true, resumes: true, tells: true, outer: true},
	{scheme: "dccp", raw: true},
	{scheme: "dtls+dccp", hears: true, raw: true, resumes: true, tells: true},
}

// What TestRotation_EverySecond and TestCollector_Killed prove of DTLS over
// UDP holds on every transport: a session a second, then a collector killed
// with SIGKILL while data flows, and no record is lost.
func TestTransports(t *testing.T) {
	pki := harness.NewPKI(t, "collector", "exporter")
	each := func(name string, parallel bool, does func(transport) bool, f func(transport, *testing.T, harness.PKI)) {
		t.Run(name, func(t *testing.T) {
			for _, tr := range transports {
				if !does(tr) {
					continue
				}
				t.Run(tr.scheme, func(t *testing.T) {
					if parallel {
						t.Parallel()
					}
					if tr.raw && os.Geteuid() != 0 {
						harness.Missing(t, "raw sockets need root")
					}
					if tr.outer {
						tr.query = fmt.Sprintf("?udp=%d", harness.FreePort(t))
					}
					f(tr, t, pki)
				})
			}
		})
	}
	all := func(transport) bool { return true }
	each("a session a second", false, all, transport.everySecond)
	each("killed", true, all, transport.killed)
	each("stopped", true, func(tr transport) bool { return tr.hears }, transport.stopped)
}

func (tr transport) everySecond(t *testing.T, pki harness.PKI) {
	withoutGap(t, func(int) time.Duration { return tr.rotating(t, pki) })
}

// rotating returns the longest time without a way for data.
func (tr transport) rotating(t *testing.T, pki harness.PKI) time.Duration {
	t.Helper()
	const rate = 20_000
	d := long(t, 4*time.Second)
	n := int(d.Seconds() * rate)
	addr := fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
	flows := filepath.Join(t.TempDir(), "flows")
	c := harness.StartCollector(t, append([]string{"--listen", tr.scheme + "://" + addr + tr.query, "--sink", "json:" + flows}, pki.Flags("collector")...)...)
	e := harness.StartExporter(t, append([]string{"--source", "json:" + harness.Numbered(t, n), "--to", tr.scheme + "://" + addr + tr.query,
		"--rotate", "1s", "--full-handshake-every", "5", "--max-rate", fmt.Sprint(rate)}, pki.Flags("exporter")...)...)
	sum := e.Summary(d + time.Minute)
	got := c.Summary()
	written := harness.Written(t, n, flows)
	t.Logf("%v rotations, %v sessions (%v resumed), longest gap %v µs (%v without a processor), %v replayed, exporter %.2f s and collector %.2f s of CPU",
		sum["rotations"], sum["sessions_opened"], sum["sessions_resumed"], sum["max_swap_gap_us"], e.Starved().Round(time.Millisecond),
		sum["records_replayed"], sum["cpu_seconds"], got["cpu_seconds"])
	if written.Missing() != 0 || written.Again() != int(sum["records_replayed"]) {
		t.Errorf("%d records missing, %d twice", written.Missing(), written.Again())
	}
	// A handshake that is not answered at once is tried again a second later.
	if sum["rotations"] < d.Seconds()*0.5 || (sum["sessions_resumed"] > 0) != tr.resumes {
		t.Errorf("too few rotations, or none resumed: %v", sum)
	}
	if sum["records_sent"] != float64(n) || sum["records_dropped"] != 0 || sum["collectors_lost"] != 0 ||
		got["records_lost"] != 0 || got["data_before_template"] != 0 || got["records_undecodable"] != 0 {
		t.Errorf("exporter %v, collector %v", sum, got)
	}
	return e.SwapGap(sum)
}

func (tr transport) killed(t *testing.T, pki harness.PKI) {
	kills := 1
	if long(t, 0) > 0 {
		kills = 20
	}
	addr := fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
	flows := filepath.Join(t.TempDir(), "flows")
	serve := func() *harness.Collector {
		return harness.StartCollector(t, append([]string{"--listen", tr.scheme + "://" + addr + tr.query, "--sink", "json:" + flows}, pki.Flags("collector")...)...)
	}
	c := serve()
	args := append([]string{"--source", "json:-", "--to", tr.scheme + "://" + addr + tr.query}, pki.Flags("exporter")...)
	if !tr.hears {
		// The death of some is noticed when there is another process: on a busy
		// machine later than --retain.
		args = append(args, "--retain", "20s")
	}
	e := harness.StartExporter(t, args...)
	feed := &harness.Feeder{Rate: 5000}
	feed.Begin(e)
	e.Wait("session opened")
	var killed []time.Time
	for i := range kills {
		time.Sleep(time.Second + time.Duration(i)*137*time.Millisecond)
		killed = append(killed, time.Now())
		c.Kill()
		time.Sleep(500 * time.Millisecond)
		back := time.Now()
		c = serve()
		carries(e, back)
	}
	n := feed.End()
	e.EndInput()
	sum := e.Summary(2 * time.Minute)
	got := c.Summary()
	written := harness.Written(t, n, flows)
	after := detected(e, killed)
	t.Logf("%d kills, %d records: %d missing, %d twice (%v replayed), %v collectors lost, known after p50 %v, max %v",
		kills, n, written.Missing(), written.Again(), sum["records_replayed"], sum["collectors_lost"], percentile(after, 50), percentile(after, 100))
	if written.Missing() != 0 || float64(written.Again()) > sum["records_replayed"] || sum["records_sent"] != float64(n) || sum["records_dropped"] != 0 {
		t.Errorf("%d of %d records are missing, %d twice: %v", written.Missing(), n, written.Again(), sum)
	}
	if tr.tells && int(sum["collectors_lost"]) < kills {
		t.Errorf("%v collectors lost in %d kills", sum["collectors_lost"], kills)
	}
	if got["data_before_template"] != 0 {
		t.Errorf("collector %v", got)
	}
}

// stopped: a collector that stands still (SIGSTOP) under load is known to be
// dead, and what it had not confirmed goes to the next one.
func (tr transport) stopped(t *testing.T, pki harness.PKI) {
	first, second := fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t)), fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
	other := tr.query
	if tr.outer {
		other = fmt.Sprintf("?udp=%d", harness.FreePort(t))
	}
	dirs := []string{filepath.Join(t.TempDir(), "a"), filepath.Join(t.TempDir(), "b")}
	a := harness.StartCollector(t, append([]string{"--listen", tr.scheme + "://" + first + tr.query, "--sink", "json:" + dirs[0]}, pki.Flags("collector")...)...)
	harness.StartCollector(t, append([]string{"--listen", tr.scheme + "://" + second + other, "--sink", "json:" + dirs[1]}, pki.Flags("collector")...)...)
	e := harness.StartExporter(t, append([]string{"--source", "json:-", "--to", tr.scheme + "://" + first + tr.query, "--to", tr.scheme + "://" + second + other},
		pki.Flags("exporter")...)...)
	feed := &harness.Feeder{Rate: 5000}
	feed.Begin(e)
	e.Wait("session opened")
	harness.Until(t, "data flows", func() bool { return feed.Given() > 5000 })
	stopped := time.Now()
	if err := a.Cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	lost := e.LoggedAfter(stopped, time.Minute, `"msg":"session lost"`).Sub(stopped)
	e.LoggedAfter(stopped, time.Minute, `"msg":"session opened"`)
	n := feed.End()
	e.EndInput()
	sum := e.Summary(2 * time.Minute)
	a.Kill()
	written := harness.Written(t, n, dirs...)
	t.Logf("known after %v; %d records: %d missing, %d twice (%v replayed)", lost.Round(time.Millisecond), n, written.Missing(), written.Again(), sum["records_replayed"])
	if written.Missing() != 0 || sum["records_dropped"] != 0 {
		t.Errorf("%d of %d records are missing: %v", written.Missing(), n, sum)
	}
	if lost-e.Starved() > 10*time.Second { // 3 s on a machine of its own
		t.Errorf("known only after %v", lost)
	}
}
