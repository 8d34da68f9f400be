package interop

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"ipfixsuite/test/harness"
)

// holds waits until a file has the text in it.
func holds(t *testing.T, pattern, text string) {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if b, err := os.ReadFile(f); err == nil && strings.Contains(string(b), text) {
				return
			}
		}
	}
	t.Fatalf("%s never held %q", pattern, text)
}

// feed gives an exporter that reads standard input records from one number to
// another.
func feed(e *harness.Process, from, to int) {
	var b strings.Builder
	for i := from; i < to; i++ {
		fmt.Fprintf(&b, `{"octetDeltaCount":%d,"sourceIPv4Address":"192.0.2.1"}`+"\n", i)
	}
	e.Input(b.String())
}

// Plain UDP: the exporter does not notice that the collector was killed and
// started again; with --state the records that come next are decoded at once,
// without it they wait for templates, which come ten minutes later, or with the
// end of a session that is still young.
func TestCollectorRestart_PlainUDP(t *testing.T) {
	for _, row := range []struct {
		name  string
		state bool
	}{{"with state", true}, {"without", false}} {
		t.Run(row.name, func(t *testing.T) {
			state, flags := filepath.Join(t.TempDir(), "state"), []string{}
			if row.state {
				flags = []string{"--state", state}
			}
			first, second := t.TempDir(), t.TempDir()
			listen := fmt.Sprintf("udp://127.0.0.1:%d", harness.FreePort(t))
			c := harness.StartCollector(t, append([]string{"--listen", listen, "--sink", "json:" + first, "--flush", "50ms"}, flags...)...)
			e := harness.Start(t, harness.Binary(t, "exporter"), "run", "--source", "json:-", "--to", "udp://"+c.Addr, "--template-refresh", "10m")
			feed(e, 0, 50)
			holds(t, first+"/*", `"octetDeltaCount":49`)
			if row.state {
				holds(t, state+"/templates.json", `"options":true`)
				holds(t, state+"/templates.json", `","seen":`) // that of no options, which comes later
			}
			c.Kill()
			c = harness.StartCollector(t, append([]string{"--listen", listen, "--sink", "json:" + second, "--flush", "50ms", "--stats-every", "50ms"}, flags...)...)
			feed(e, 50, 100)
			want := 50.0
			if row.state {
				holds(t, second+"/*", `"octetDeltaCount":99`) // while the exporter runs
			} else {
				c.Wait(`"msg":"stats"`)
				want = 0
			}
			e.Stop()
			sum := c.Summary()
			early := sum["data_before_template"]
			if !row.state && sum["records_received"] > 0 {
				want = 50
			}
			// They wait; templates may have been repeated between the start and them.
			waited := early > 0 || !row.state && want > 0
			if sum["records_received"] != want || sum["records_lost"] != 0 || waited == row.state {
				t.Errorf("collector: %v", sum)
			}
			if got := len(harness.JSONLines(t, second)); got != int(want) {
				t.Errorf("%d records written", got)
			}
		})
	}
}

// DTLS: what the exporter still sends on the old session is dropped without a
// word and counted; its next handshake is taken at once, and resumes where the
// sessions were kept.
func TestCollectorRestart_DTLS(t *testing.T) {
	pki := harness.NewPKI(t, "collector.example", "exporter.example")
	for _, row := range []struct {
		name  string
		state bool
	}{{"with state", true}, {"without", false}} {
		t.Run(row.name, func(t *testing.T) {
			state, flags := filepath.Join(t.TempDir(), "state"), pki.Flags("collector.example")
			if row.state {
				flags = append(flags, "--state", state)
			}
			flows := t.TempDir()
			listen := fmt.Sprintf("dtls+udp://127.0.0.1:%d", harness.FreePort(t))
			c := harness.StartCollector(t, append([]string{"--listen", listen, "--sink", "json:" + flows, "--flush", "50ms"}, flags...)...)
			capture := filepath.Join(harness.Root(t), "testdata", "mixed.pcap")
			e := harness.Start(t, harness.Binary(t, "exporter"), append([]string{
				"run", "--source", "pcap:" + capture + "?loop=0&pace=2000", "--active-timeout", "1s", "--idle-timeout", "1s",
				"--heartbeat", "200ms", "--dead-after", "10s", "--to", "dtls+udp://" + c.Addr, "--log-format", "json",
			}, pki.Flags("exporter.example")...)...)
			holds(t, flows+"/*", "octetDeltaCount")
			if row.state {
				holds(t, state+"/sessions.json", `"id"`)
			}
			opened := logTime(t, e.Wait(`"msg":"session opened"`))
			c.Kill()
			again := t.TempDir()
			c = harness.StartCollector(t, append([]string{"--listen", listen, "--sink", "json:" + again, "--flush", "50ms"}, flags...)...)
			back := time.Now()
			var first struct{ Resumed bool }
			if err := json.Unmarshal([]byte(c.Wait(`"msg":"session opened"`)), &first); err != nil || first.Resumed != row.state {
				t.Errorf("resumed: %v, %v", first.Resumed, err)
			}
			took := time.Since(back)
			holds(t, again+"/*", "octetDeltaCount")
			t.Logf("killed %v after the session began; the next one %v, its data %v after the restart", back.Sub(opened).Round(time.Millisecond),
				took.Round(time.Millisecond), time.Since(back).Round(time.Millisecond))
			e.Stop()
			sum := c.Summary()
			if row.state && sum["sessions_resumed"] == 0 || sum["records_lost"] != 0 || sum["data_before_template"] != 0 {
				t.Errorf("collector: %v", sum)
			}
			var end struct {
				HandshakesFailed int `json:"handshakes_failed"`
				Dropped          string
			}
			if err := json.Unmarshal([]byte(c.Wait(`"msg":"closed"`)), &end); err != nil {
				t.Fatal(err)
			}
			stale := regexp.MustCompile(`stale:(\d+)`).FindStringSubmatch(end.Dropped)
			if end.HandshakesFailed != 0 || stale == nil {
				t.Errorf("%+v", end)
			}
			for _, l := range c.Lines() {
				if strings.Contains(l, `"level":"WARN"`) {
					t.Errorf("the log says: %s", l)
				}
			}
			t.Logf("dropped %s", end.Dropped)
		})
	}
}

func logTime(t *testing.T, line string) (at time.Time) {
	t.Helper()
	var l struct{ Time time.Time }
	if err := json.Unmarshal([]byte(line), &l); err != nil {
		t.Fatal(err)
	}
	return l.Time
}

// A collector under load that is told to end, again and again: all that was
// exported is written, by one or the other of them.
func TestCollectorRestart_OrderlyUnderLoad(t *testing.T) {
	pki := harness.NewPKI(t, "collector.example", "exporter.example")
	flows, summary := t.TempDir(), filepath.Join(t.TempDir(), "exporter.json")
	args := append([]string{"--listen", fmt.Sprintf("dtls+udp://127.0.0.1:%d", harness.FreePort(t)), "--sink", "json:" + flows, "--state", filepath.Join(t.TempDir(), "state")}, pki.Flags("collector.example")...)
	c := harness.StartCollector(t, args...)
	e := harness.Start(t, harness.Binary(t, "exporter"), append([]string{
		"run", "--source", "json:-", "--to", "dtls+udp://" + c.Addr, "--summary", summary,
	}, pki.Flags("exporter.example")...)...)
	const restarts, each = 3, 15000
	next := 0
	for range restarts {
		c.Wait(`"msg":"session opened"`)
		for range each / 500 {
			feed(e, next, next+500)
			next += 500
			time.Sleep(25 * time.Millisecond) // 20 000 records/s
		}
		sum := c.Summary()
		if sum["records_lost"] != 0 || sum["records_received"] != sum["records_written"] || sum["socket_drops"] != 0 {
			t.Errorf("collector: %v", sum)
		}
		c = harness.StartCollector(t, args...)
	}
	c.Wait(`"msg":"session opened"`)
	feed(e, next, next+500)
	next += 500
	holds(t, flows+"/*", fmt.Sprintf(`"octetDeltaCount":%d`, next-1))
	e.Stop()
	sum := c.Summary()
	times := make([]int, next)
	for _, r := range harness.JSONLines(t, flows) {
		if n, err := strconv.Atoi(fmt.Sprint(r["octetDeltaCount"])); err == nil && n < next {
			times[n]++
		}
	}
	lost, again := 0, 0
	for _, n := range times {
		if n == 0 {
			lost++
		} else {
			again += n - 1
		}
	}
	out := harness.ReadSummary(t, summary)
	t.Logf("%d records, %d lost, %d written more than once; exporter %v", next, lost, again, out)
	if lost != 0 || out["records_dropped"] != 0 || sum["records_lost"] != 0 || float64(again) > out["records_replayed"] {
		t.Errorf("collector: %v", sum)
	}
}

// What waits in the kernel when the collector is told to end is written before
// it does.
func TestCollectorEnd_TakesWhatTheKernelHas(t *testing.T) {
	pki := harness.NewPKI(t, "collector.example", "exporter.example")
	for _, scheme := range []string{"udp", "dtls+udp"} {
		t.Run(scheme, func(t *testing.T) {
			flows := t.TempDir()
			c := harness.StartCollector(t, append([]string{"--listen", scheme + "://127.0.0.1:0", "--sink", "json:" + flows, "--flush", "50ms"}, pki.Flags("collector.example")...)...)
			e := harness.Start(t, harness.Binary(t, "exporter"), append([]string{
				"run", "--source", "json:-", "--to", scheme + "://" + c.Addr, "--heartbeat", "0", "--mtu", "1280", "--log-format", "json", "--stats-every", "50ms",
			}, pki.Flags("exporter.example")...)...)
			feed(e, 0, 100)
			holds(t, flows+"/*", `"octetDeltaCount":99`)
			signal := func(s syscall.Signal) {
				if err := c.Cmd.Process.Signal(s); err != nil {
					t.Fatal(err)
				}
			}
			signal(syscall.SIGSTOP)
			const all = 10000
			feed(e, 100, all)
			harness.Until(t, "all has been sent", func() bool {
				sent := 0
				for _, l := range e.Lines() {
					var stats struct {
						Msg         string
						RecordsSent int `json:"records_sent"`
					}
					if json.Unmarshal([]byte(l), &stats) == nil && stats.Msg == "stats" {
						sent += stats.RecordsSent
					}
				}
				return sent >= all
			})
			signal(syscall.SIGTERM)
			signal(syscall.SIGCONT)
			c.End()
			sum := harness.ReadSummary(t, c.SummaryFile())
			if sum["records_received"] != all || sum["records_written"] != all || sum["records_lost"] != 0 || sum["socket_drops"] != 0 {
				t.Errorf("collector: %v", sum)
			}
		})
	}
}
