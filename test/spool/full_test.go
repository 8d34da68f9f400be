package spool

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ipfixsuite/test/harness"
)

// disk mounts a small tmpfs that is gone after the test.
func disk(t *testing.T, octets int) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "disk")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", octets)); err != nil {
		harness.Missing(t, fmt.Sprintf("a file system of its own cannot be mounted: %v", err))
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return dir
}

const refused = `"msg":"spool cannot be written; records stay in memory or are lost"`

// The disk of the spool is full while no collector is there: the log says so
// once, the exporter goes on and keeps in memory what it can. It is even
// killed and started again on the full disk. When there is room it spools
// again, and when there is a collector all of it arrives.
func TestSpool_DiskFull(t *testing.T) {
	t.Parallel()
	const small, roomy = 512 << 10, 64 << 20
	dir := disk(t, small)
	spool := filepath.Join(dir, "spool")
	pki := harness.NewPKI(t, "collector", "exporter")
	addr := fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
	export := func() *harness.Exporter {
		return harness.StartExporter(t, append([]string{"--source", "json:-", "--to", "dtls+udp://" + addr, "--give-up", "0",
			"--spool", spool, "--spool-rate", "0"}, pki.Flags("exporter")...)...)
	}
	const rate = 20_000
	feed := &harness.Feeder{Rate: rate}
	n := 3 * 60 * rate

	e := export()
	feed.Begin(e)
	e.Wait(refused)
	e.Kill()
	live := feed.End() + 1
	first := harness.WrittenIPFIX(t, n, filepath.Join(spool, segments))

	begin := time.Now()
	e = export()
	feed.Begin(e)
	e.LoggedAfter(begin, time.Minute, refused)
	full := feed.Given()
	harness.Until(t, "it takes records on a full disk", func() bool { return feed.Given() > full+rate/2 })
	if said := len(e.Logged(refused)); said != 1 {
		t.Errorf("%d warnings of one full disk", said)
	}
	before := octets(t, spool)
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT, fmt.Sprintf("size=%d", roomy)); err != nil {
		t.Fatal(err)
	}
	e.Wait(`"msg":"spool can be written again"`)
	harness.Until(t, "the spool grows", func() bool { return octets(t, spool) > 2*before })

	flows := filepath.Join(t.TempDir(), "flows")
	c := harness.StartCollector(t, append([]string{"--listen", "dtls+udp://" + addr, "--sink", "json:" + flows}, pki.Flags("collector")...)...)
	e.Wait(`"msg":"session opened"`)
	upTo := feed.End()
	e.EndInput()
	sum := e.Summary(2 * time.Minute)
	took := time.Since(begin)
	got := c.Summary()
	written := harness.Written(t, n, flows)
	t.Logf("%d records in %d KiB when the disk was full, %d taken after it; %v spooled when there was room; %d of all %d never came out of the first exporter; %v",
		first.Present(), small>>10, upTo-full, sum["records_spooled"], upTo-written.Present(), upTo, sum)
	if missing := first.Without(written); missing != 0 || first.Present() == 0 {
		t.Errorf("%d of %d records of the full disk are missing", missing, first.Present())
	}
	for i := live; i <= upTo; i++ {
		if written[i] == 0 {
			t.Errorf("%d is missing, which an exporter took that was not killed", i)
			break
		}
	}
	if sum["records_dropped"] != 0 || sum["records_sent"] != sum["records_exported"] || sum["records_spooled"] == 0 {
		t.Errorf("exporter %v", sum)
	}
	if sum["cpu_seconds"] > took.Seconds()/3 {
		t.Errorf("%v s of processor time in %v: a full disk is tried again all the time", sum["cpu_seconds"], took)
	}
	if got["records_lost"] != 0 || got["data_before_template"] != 0 {
		t.Errorf("collector %v", got)
	}
}

// An exporter that has to end while the disk of its spool is full says how
// many records that costs; those that the disk has are there for the next.
func TestSpool_DiskFull_GivenUp(t *testing.T) {
	t.Parallel()
	dir := disk(t, 512<<10)
	spool := filepath.Join(dir, "spool")
	const n = 60_000
	pki := harness.NewPKI(t, "collector", "exporter")
	addr := fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
	to := append([]string{"--to", "dtls+udp://" + addr, "--spool", spool}, pki.Flags("exporter")...)
	e := harness.StartExporter(t, append(to, "--source", "json:"+harness.Numbered(t, n), "--give-up", "10s")...)
	if code := e.Exit(time.Minute); code != 1 {
		t.Errorf("exit code %d", code)
	}
	sum := harness.ReadSummary(t, e.SummaryFile())
	e.Wait(refused)
	last := e.Lines()[len(e.Lines())-2:]
	for _, l := range last {
		t.Log(l)
	}
	if told := strings.Join(last, "\n"); !strings.Contains(told, fmt.Sprintf("%.0f records were not sent", sum["records_dropped"])) {
		t.Errorf("it does not say how many records it cost")
	}
	at := harness.WrittenIPFIX(t, n, filepath.Join(spool, segments))
	t.Logf("%d records on the disk; %v", at.Present(), sum)
	if sum["records_exported"] != n || sum["records_sent"] != 0 || sum["records_dropped"] == 0 ||
		sum["records_spooled"]+sum["records_dropped"] != n || sum["records_spooled"] != float64(at.Present()) {
		t.Errorf("%d records on the disk, exporter %v", at.Present(), sum)
	}
	flows := filepath.Join(t.TempDir(), "flows")
	c := harness.StartCollector(t, append([]string{"--listen", "dtls+udp://" + addr, "--sink", "json:" + flows}, pki.Flags("collector")...)...)
	next := harness.StartExporter(t, append(to, "--source", "json:-")...)
	next.EndInput()
	sum = next.Summary(time.Minute)
	c.Summary()
	written := harness.Written(t, n, flows)
	if at.Without(written) != 0 || written.Without(at) != 0 || written.Again() != 0 || sum["records_dropped"] != 0 {
		t.Errorf("%d of %d records came; %v", written.Present(), at.Present(), sum)
	}
}
