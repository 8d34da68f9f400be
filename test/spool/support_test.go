package spool

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ipfixsuite/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// long says whether the longer forms are wished for.
func long() bool { return os.Getenv("IPFIXSUITE_LONG") == "1" }

// octets is how much the segments of a spool hold.
func octets(t *testing.T, dir string) (sum int64) {
	t.Helper()
	for _, name := range segments(t, dir) {
		st, err := os.Stat(name)
		if errors.Is(err, os.ErrNotExist) {
			continue // it has got its name, or was delivered
		}
		if err != nil {
			t.Fatal(err)
		}
		sum += st.Size()
	}
	return sum
}

func segments(t *testing.T, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "spool-*"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

var dumped = regexp.MustCompile(`octetDeltaCount : (\d+)`)

// spooled reads the numbers up to n in a spool that nobody writes: with
// tshark, with libfixbuf's ipfixDump and with our own reader, which must
// agree.
func spooled(t *testing.T, dir string, n int) harness.Tally {
	t.Helper()
	by := func() harness.Tally { return make(harness.Tally, n+1) }
	wireshark, fixbuf, ours := by(), by(), by()
	count := func(y harness.Tally, number string) {
		i, err := strconv.Atoi(number)
		if err != nil || i < 1 || i > n {
			t.Fatalf("no number of ours: %q", number)
		}
		y[i]++
	}
	for _, name := range segments(t, dir) {
		out := harness.Run(t, harness.Tool(t, "tshark"), "-r", name, "-T", "fields", "-e", "cflow.octets")
		for _, number := range strings.FieldsFunc(string(out), func(r rune) bool { return r == ',' || r == '\n' }) {
			count(wireshark, number)
		}
		for _, m := range dumped.FindAllSubmatch(harness.Run(t, harness.Tool(t, "ipfixDump"), "--in", name), -1) {
			count(fixbuf, string(m[1]))
		}
		ours.Lines(t, harness.Run(t, harness.Binary(t, "collector"), "decode", name))
	}
	if a, b := differ(ours, wireshark), differ(ours, fixbuf); a != 0 || b != 0 {
		t.Errorf("%s: tshark counts %d numbers differently, ipfixDump %d", dir, a, b)
	}
	return wireshark
}

func differ(a, b harness.Tally) (n int) {
	for i := range a {
		if a[i] != b[i] {
			n++
		}
	}
	return n
}

// present is how many different numbers there are.
func present(y harness.Tally) int { return len(y) - 1 - y.Missing() }

// feeder gives one exporter after the other numbered records, evenly.
type feeder struct {
	rate int // records a second
	last int // given so far
	stop chan struct{}
	wg   sync.WaitGroup
	now  atomic.Int64 // last, for those who watch
}

// begin feeds e from the next number on, until end, or until it is gone.
func (f *feeder) begin(e *harness.Exporter) {
	f.stop = make(chan struct{})
	f.wg.Go(func() { // end stops it
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		began, first := time.Now(), f.last
		for {
			select {
			case <-f.stop:
				return
			case <-tick.C:
			}
			var lines []byte
			for due := first + int(time.Since(began).Seconds()*float64(f.rate)); f.last < due; {
				f.last++
				lines = harness.AppendNumbered(lines, f.last)
			}
			if _, err := e.Write(lines); err != nil {
				return
			}
			f.now.Store(int64(f.last))
		}
	})
}

// end ends the feeding and returns the last number.
func (f *feeder) end() int {
	close(f.stop)
	f.wg.Wait()
	return f.last
}

// until waits for something to become true.
func until(t *testing.T, what string, true func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(time.Minute); !true(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("a minute, and still not: %s", what)
		}
	}
}
