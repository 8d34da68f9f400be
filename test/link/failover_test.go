package link

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"ipfixsuite/test/harness"
)

// A collector that others wrote, GnuTLS, which answers heartbeats, stands
// still or is killed: it is known as dead, and the next collector gets all
// that the dead one did not confirm, and what comes then.
func TestGnuTLS_Dies(t *testing.T) {
	for _, row := range []struct {
		name   string
		signal syscall.Signal
	}{{"stopped", syscall.SIGSTOP}, {"killed", syscall.SIGKILL}} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			const rate = 1000
			pki := harness.NewPKI(t, "collector", "exporter")
			theirs, addr := harness.StartGnuTLS(t, pki, "collector")
			flows := filepath.Join(t.TempDir(), "flows")
			c := harness.StartCollector(t, append([]string{"--listen", "dtls+udp://127.0.0.1:0", "--sink", "json:" + flows}, pki.Flags("collector")...)...)
			e := harness.StartExporter(t, append([]string{"--source", "json:-", "--to", "dtls+udp://" + addr, "--to", "dtls+udp://" + c.Addr,
				"--mtu", "1500"}, pki.Flags("exporter")...)...)
			feed := &harness.Feeder{Rate: rate}
			feed.Begin(e)
			e.Wait(`"msg":"session opened"`)
			harness.Until(t, "it has carried data", func() bool { return feed.Given() > 2*rate })

			died := time.Now()
			if err := theirs.Cmd.Process.Signal(row.signal); err != nil {
				t.Fatal(err)
			}
			given := feed.Given() // it confirmed no more than these
			known := e.LoggedAfter(died, 30*time.Second, `"msg":"session lost"`).Sub(died)
			moved := e.LoggedAfter(died, 30*time.Second, `"msg":"session opened"`).Sub(died)
			now := feed.Given()
			harness.Until(t, "the other one carries data", func() bool { return feed.Given() > now+rate })
			last := feed.End()
			e.EndInput()
			sum := e.Summary(time.Minute)
			got := c.Summary()
			written := harness.Written(t, last, flows)
			first := slices.IndexFunc(written, func(k int) bool { return k > 0 })
			t.Logf("known after %v, a session with the next after %v; %d given by then, from %d to %d at the next collector (%v sent again)",
				known.Round(time.Millisecond), moved.Round(time.Millisecond), given, first, last, sum["records_replayed"])
			if first < 1 || first > given+1 {
				t.Errorf("the first record that came is number %d; %d were given when the other died", first, given)
			} else if missing := written[first-1:].Missing(); missing != 0 {
				t.Errorf("%d records after number %d are missing", missing, first)
			}
			if sum["collectors_lost"] != 1 || sum["records_replayed"] == 0 || sum["records_sent"] != float64(last) ||
				sum["records_dropped"] != 0 || sum["records_unconfirmed"] != 0 || sum["heartbeats_answered"] == 0 {
				t.Errorf("exporter %v", sum)
			}
			if got["records_lost"] != 0 || got["data_before_template"] != 0 {
				t.Errorf("collector %v", got)
			}
		})
	}
}

// The first collector of the list is returned to when it is well again, not
// before it has been for a while, and by a rotation: no record is lost on the
// way there or back.
func TestFailover_Returns(t *testing.T) {
	t.Parallel()
	const rate = 1000
	const after = 2 * time.Second
	pki := harness.NewPKI(t, "collector", "exporter")
	dirs := [...]string{filepath.Join(t.TempDir(), "first"), filepath.Join(t.TempDir(), "second"), filepath.Join(t.TempDir(), "again")}
	start := func(addr, dir string) *harness.Collector {
		return harness.StartCollector(t, append([]string{"--listen", "dtls+udp://" + addr, "--sink", "json:" + dir}, pki.Flags("collector")...)...)
	}
	first, second := start(fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t)), dirs[0]), start("127.0.0.1:0", dirs[1])
	e := harness.StartExporter(t, append([]string{"--source", "json:-", "--to", "dtls+udp://" + first.Addr, "--to", "dtls+udp://" + second.Addr,
		"--return-after", after.String()}, pki.Flags("exporter")...)...)
	feed := &harness.Feeder{Rate: rate}
	feed.Begin(e)
	e.Wait(`"msg":"session opened"`)
	harness.Until(t, "the first carries data", func() bool { return feed.Given() > rate })

	died := time.Now()
	first.Kill()
	lost := e.LoggedAfter(died, 30*time.Second, `"msg":"session lost"`)
	first = start(first.Addr, dirs[2])
	back := e.LoggedAfter(lost, time.Minute, `"cause":"path"}`)
	now := feed.Given()
	harness.Until(t, "the first carries data again", func() bool { return feed.Given() > now+rate })
	last := feed.End()
	e.EndInput()
	sum := e.Summary(time.Minute)
	first.Stop()
	second.Stop()
	all := harness.Written(t, last, dirs[:]...)
	again := harness.Written(t, last, dirs[2])
	t.Logf("known after %v, back after %v more; %d of %d records with the first when it was back", lost.Sub(died).Round(time.Millisecond),
		back.Sub(lost).Round(time.Millisecond), again.Present(), last)
	if back.Sub(lost) < after*9/10 {
		t.Errorf("back after %v", back.Sub(lost))
	}
	if missing := all.Missing(); missing != 0 || again[last] == 0 {
		t.Errorf("%d of %d records missing, the last %d times with the first", missing, last, again[last])
	}
	// One that stands still for a moment is doubted, and its session replaced.
	returns := 0
	for _, line := range e.Lines() {
		if strings.Contains(line, `"msg":"session replaced"`) && strings.Contains(line, `"cause":"path"`) {
			returns++
		}
	}
	if returns != 1 {
		t.Errorf("%d sessions replaced because of a better collector", returns)
	}
	if sum["collectors_lost"] != 1 || sum["records_dropped"] != 0 || sum["records_unconfirmed"] != 0 {
		t.Errorf("exporter %v", sum)
	}
}
