package link

import (
	"io"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"ipfixsuite/test/harness"
)

// A collector whose sink takes nothing more says so and answers no heartbeats:
// the next collector gets what was not written, and in the end every record
// stands with one of them at least.
func TestSinkStalls(t *testing.T) {
	t.Parallel()
	const rate = 1000
	pki := harness.NewPKI(t, "collector", "exporter")
	// The first one's sink is its standard output, a pipe that is read for a
	// while.
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := os.OpenFile(pipe, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	stalling := harness.StartTo(t, pipe, harness.Binary(t, "collector"), append([]string{"serve", "--log-format", "json",
		"--listen", "dtls+udp://127.0.0.1:0", "--sink", "json:-"}, pki.Flags("collector")...)...)
	addr := harness.ListenAddr(t, stalling)
	flows := filepath.Join(t.TempDir(), "flows")
	c := harness.StartCollector(t, append([]string{"--listen", "dtls+udp://127.0.0.1:0", "--sink", "json:" + flows}, pki.Flags("collector")...)...)
	e := harness.StartExporter(t, append([]string{"--source", "json:-", "--to", "dtls+udp://" + addr, "--to", "dtls+udp://" + c.Addr},
		pki.Flags("exporter")...)...)
	feed := &harness.Feeder{Rate: rate}
	feed.Begin(e)
	var lines []byte
	read := func(until func() bool) {
		buf := make([]byte, 64<<10)
		for !until() {
			if err := out.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
				t.Fatal(err)
			}
			n, err := out.Read(buf)
			lines = append(lines, buf[:n]...)
			if err != nil && !os.IsTimeout(err) && err != io.EOF {
				t.Fatal(err)
			}
		}
	}
	e.Wait(`"msg":"session opened"`)
	read(func() bool { return feed.Given() > 2*rate })
	stopped, given := time.Now(), feed.Given() // nobody reads any more
	lost := e.LoggedAfter(stopped, time.Minute, `"msg":"session lost"`).Sub(stopped)
	told := stalling.LoggedAfter(stopped, time.Minute, `"msg":"sink stalls"`).Sub(stopped)
	moved := e.LoggedAfter(stopped, time.Minute, `"msg":"session opened"`).Sub(stopped)
	now := feed.Given()
	harness.Until(t, "the other one carries data", func() bool { return feed.Given() > now+rate })
	last := feed.End()
	e.EndInput()
	sum := e.Summary(time.Minute)
	got := c.Summary()

	// The first one goes on where it stopped.
	var wg sync.WaitGroup
	wg.Go(stalling.Stop)
	ended := make(chan struct{})
	go func() { wg.Wait(); close(ended) }()
	read(func() bool {
		select {
		case <-ended:
			return true
		default:
			return false
		}
	})
	read(func() bool { n := len(lines); read(once()); return len(lines) == n })
	first := make(harness.Tally, last+1)
	first.Lines(t, lines)
	second := harness.Written(t, last, flows)
	both := make(harness.Tally, last+1)
	for i := range both {
		both[i] = first[i] + second[i]
	}
	t.Logf("the collector said so after %v, the exporter after %v, with a session with the next after %v; %d given by then, %d in all: %d with the first, %d with the second, %d with both (%v sent again)",
		told.Round(time.Millisecond), lost.Round(time.Millisecond), moved.Round(time.Millisecond), given, last, first.Present(), second.Present(),
		first.Present()+second.Present()-both.Present(), sum["records_replayed"])
	if both.Missing() != 0 {
		t.Errorf("%d of %d records are missing", both.Missing(), last)
	}
	if first.Present() == 0 || second.Present() == 0 || sum["records_replayed"] == 0 || sum["records_dropped"] != 0 || sum["records_unconfirmed"] != 0 {
		t.Errorf("exporter %v", sum)
	}
	if got["records_lost"] != 0 {
		t.Errorf("collector %v", got)
	}
}

// once is false, then true.
func once() func() bool {
	n := 0
	return func() bool { n++; return n > 1 }
}
