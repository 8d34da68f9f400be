package rotation

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"ipfixsuite/test/harness"
)

// One session a second, data all the while: nothing lost, nothing twice, no
// data before its template, and never more than 5 ms without a way for data.
func TestRotation_EverySecond(t *testing.T) {
	t.Parallel()
	pki := harness.NewPKI(t, "collector", "exporter")
	withoutGap(t, func(try int) time.Duration {
		if try > 0 {
			return eachSecond(t, pki, 20*time.Second)
		}
		return eachSecond(t, pki, long(t, time.Minute))
	})
}

// eachSecond returns the longest time without a way for data.
func eachSecond(t *testing.T, pki harness.PKI, d time.Duration) time.Duration {
	t.Helper()
	const rate = 20_000
	n := int(d.Seconds() * rate)
	flows := filepath.Join(t.TempDir(), "flows")
	c := harness.StartCollector(t, append([]string{"--listen", "dtls+udp://127.0.0.1:0", "--sink", "json:" + flows}, pki.Flags("collector")...)...)
	begin := time.Now()
	e := harness.StartExporter(t, append([]string{"--source", "json:" + harness.Numbered(t, n), "--to", "dtls+udp://" + c.Addr,
		"--rotate", "1s", "--full-handshake-every", "5", "--max-rate", fmt.Sprint(rate)}, pki.Flags("exporter")...)...)
	sum := e.Summary(d + time.Minute)
	took := time.Since(begin)
	got := c.Summary()
	written := harness.Written(t, n, flows)
	missing, again := written.Missing(), written.Again()
	t.Logf("%v: %v rotations, %v sessions (%v resumed), longest gap %v µs (%v without a processor), %v replayed, exporter %.2f s and collector %.2f s of CPU",
		took.Round(time.Millisecond), sum["rotations"], sum["sessions_opened"], sum["sessions_resumed"], sum["max_swap_gap_us"],
		e.Starved().Round(time.Millisecond), sum["records_replayed"], sum["cpu_seconds"], got["cpu_seconds"])
	if missing != 0 || again != int(sum["records_replayed"]) {
		t.Errorf("%d records missing, %d twice", missing, again)
	}
	// On a busy machine handshakes take time as well.
	if sum["rotations"] < d.Seconds()*0.6 || sum["sessions_resumed"] < sum["rotations"]/2 || sum["sessions_resumed"] == sum["rotations"] {
		t.Errorf("too few rotations, or too many or too few of them resumed: %v", sum)
	}
	if sum["records_exported"] != float64(n) || sum["records_sent"] != float64(n) || sum["records_dropped"] != 0 || sum["collectors_lost"] != 0 {
		t.Errorf("exporter %v", sum)
	}
	if got["records_lost"] != 0 || got["data_before_template"] != 0 || got["records_undecodable"] != 0 || got["socket_drops"] != 0 {
		t.Errorf("collector %v", got)
	}
	// One more may have been under way when the exporter ended.
	for _, name := range []string{"sessions_opened", "sessions_resumed"} {
		if more := got[name] - sum[name]; more != 0 && more != 1 {
			t.Errorf("%s: %v, at the collector %v", name, sum[name], got[name])
		}
	}
	return e.SwapGap(sum)
}
