package link

import (
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"ipfixsuite/test/harness"
)

// A valve is the pipe that a collector writes its records to, and its reader.
type valve struct {
	t     *testing.T
	out   *os.File
	lines []byte
}

// startValve starts a collector whose sink is its standard output.
func startValve(t *testing.T, pki harness.PKI) (v *valve, c *harness.Process, addr string) {
	t.Helper()
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := os.OpenFile(pipe, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	c = harness.StartTo(t, pipe, harness.Binary(t, "collector"), append([]string{"serve", "--log-format", "json",
		"--listen", "dtls+udp://127.0.0.1:0", "--sink", "json:-"}, pki.Flags("collector")...)...)
	return &valve{t: t, out: out}, c, harness.ListenAddr(t, c)
}

// read takes what comes, until it is enough.
func (v *valve) read(until func() bool) {
	v.t.Helper()
	buf := make([]byte, 64<<10)
	for end := time.Now().Add(4 * time.Minute); !until(); {
		if time.Now().After(end) {
			v.t.Error("it is never enough")
			return
		}
		if err := v.out.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
			v.t.Error(err)
			return
		}
		n, err := v.out.Read(buf)
		v.lines = append(v.lines, buf[:n]...)
		if err != nil && !os.IsTimeout(err) && err != io.EOF {
			v.t.Error(err)
			return
		}
	}
}

// readDuring reads while f runs, and then what is left. f may end the test:
// it is the reader that gets a goroutine.
func (v *valve) readDuring(f func()) {
	v.t.Helper()
	var ended atomic.Bool
	var reading sync.WaitGroup
	reading.Go(func() { v.read(ended.Load) })
	func() {
		defer reading.Wait()
		defer ended.Store(true)
		f()
	}()
	v.read(func() bool { n := len(v.lines); v.read(once()); return len(v.lines) == n })
}

// A collector whose sink takes nothing more says so and confirms nothing, and
// so does the exporter: the collector lives, but takes nothing to its end. The
// next collector gets what was not written, and in the end every record stands
// with one of them at least.
func TestSinkStalls(t *testing.T) {
	t.Parallel()
	const rate = 1000
	pki := harness.NewPKI(t, "collector", "exporter")
	v, stalling, addr := startValve(t, pki)
	flows := filepath.Join(t.TempDir(), "flows")
	c := harness.StartCollector(t, append([]string{"--listen", "dtls+udp://127.0.0.1:0", "--sink", "json:" + flows}, pki.Flags("collector")...)...)
	e := harness.StartExporter(t, append([]string{"--source", "json:-", "--to", "dtls+udp://" + addr, "--to", "dtls+udp://" + c.Addr},
		pki.Flags("exporter")...)...)
	feed := &harness.Feeder{Rate: rate}
	feed.Begin(e)
	e.Wait(`"msg":"session opened"`)
	v.read(func() bool { return feed.Given() > 2*rate })
	stopped, given := time.Now(), feed.Given() // nobody reads any more
	seen := e.LoggedAfter(stopped, time.Minute, `"msg":"collector stalls"`).Sub(stopped)
	lost := e.LoggedAfter(stopped, time.Minute, `"error":"the collector takes sessions, but does not confirm what it is sent","records_again"`).Sub(stopped)
	told := stalling.LoggedAfter(stopped, time.Minute, `"msg":"sink stalls"`).Sub(stopped)
	e.LoggedAfter(stopped.Add(lost), time.Minute, `"msg":"session opened"`)
	now := feed.Given()
	harness.Until(t, "the other one carries data", func() bool { return feed.Given() > now+rate })
	last := feed.End()
	e.EndInput()
	sum := e.Summary(time.Minute)
	got := c.Summary()

	// The first one goes on where it stopped.
	v.readDuring(stalling.Stop)
	first := make(harness.Tally, last+1)
	first.Lines(t, v.lines)
	second := harness.Written(t, last, flows)
	both := make(harness.Tally, last+1)
	for i := range both {
		both[i] = first[i] + second[i]
	}
	t.Logf("the collector said so after %v, the exporter after %v; it gave up after %v; %d given by then, %d in all: %d with the first, %d with the second, %d with both (%v sent again)",
		told.Round(time.Millisecond), seen.Round(time.Millisecond), lost.Round(time.Millisecond), given, last, first.Present(), second.Present(),
		first.Present()+second.Present()-both.Present(), sum["records_replayed"])
	if both.Missing() != 0 {
		t.Errorf("%d of %d records are missing", both.Missing(), last)
	}
	if first.Present() == 0 || second.Present() == 0 || sum["records_replayed"] == 0 || sum["records_dropped"] != 0 || sum["records_unconfirmed"] != 0 || sum["collectors_stalled"] == 0 {
		t.Errorf("exporter %v", sum)
	}
	if got["records_lost"] != 0 {
		t.Errorf("collector %v", got)
	}
}

// With no other collector to turn to the exporter waits, and goes on when the
// sink does, with whichever is confirmed first: the session, or the one made
// for a second opinion. Nothing is sent twice, nothing is missing.
func TestSinkStalls_GoesOn(t *testing.T) {
	t.Parallel()
	const rate = 200
	pki := harness.NewPKI(t, "collector", "exporter")
	v, stalling, addr := startValve(t, pki)
	e := harness.StartExporter(t, append([]string{"--source", "json:-", "--to", "dtls+udp://" + addr}, pki.Flags("exporter")...)...)
	feed := &harness.Feeder{Rate: rate}
	feed.Begin(e)
	e.Wait(`"msg":"session opened"`)
	v.read(func() bool { return feed.Given() > rate })
	stopped := time.Now()
	seen := e.LoggedAfter(stopped, time.Minute, `"msg":"collector stalls"`).Sub(stopped)
	told := stalling.LoggedAfter(stopped, time.Minute, `"msg":"sink stalls"`).Sub(stopped)
	again := time.Now()
	var over time.Duration
	var last int
	var sum map[string]float64
	v.readDuring(func() {
		over = e.LoggedAfter(again, time.Minute, `"msg":"collector goes on"`).Sub(again)
		last = feed.End()
		e.EndInput()
		sum = e.Summary(time.Minute)
		stalling.Stop()
	})
	got := make(harness.Tally, last+1)
	got.Lines(t, v.lines)
	t.Logf("the collector said so after %v, the exporter after %v; %v after the sink went on all was well; %d records",
		told.Round(time.Millisecond), seen.Round(time.Millisecond), over.Round(time.Millisecond), last)
	if got.Missing() != 0 || got.Again() != 0 {
		t.Errorf("%d of %d records are missing, %d are there twice", got.Missing(), last, got.Again())
	}
	if sum["collectors_lost"] != 0 || sum["collectors_stalled"] != 1 || sum["records_replayed"] != 0 || sum["records_dropped"] != 0 || sum["records_unconfirmed"] != 0 {
		t.Errorf("exporter %v", sum)
	}
}

// once is false, then true.
func once() func() bool {
	n := 0
	return func() bool { n++; return n > 1 }
}
