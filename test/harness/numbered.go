package harness

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// RecordSize is what a numbered record takes on the wire at least.
const RecordSize = 8 + 8 + 4 + 4

// Numbered writes a file of JSON records that count from 1 in
// octetDeltaCount.
func Numbered(t testing.TB, n int) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "numbered.jsonl")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := bufio.NewWriter(f)
	var line []byte
	for i := 1; i <= n; i++ {
		line = AppendNumbered(line[:0], i)
		_, _ = w.Write(line) // Flush tells
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return name
}

// AppendNumbered appends the i-th line of Numbered.
func AppendNumbered(b []byte, i int) []byte {
	return fmt.Appendf(b, `{"octetDeltaCount":%d,"packetDeltaCount":1,"sourceIPv4Address":"192.0.2.1","destinationIPv4Address":"198.51.100.%d"}`+"\n", i, i%250)
}

// Tally is how often each number from 1 on is there; at 0 stands nothing.
type Tally []int

// Written counts the numbers up to n that stand in a JSON sink's folders.
func Written(t testing.TB, n int, dirs ...string) Tally {
	t.Helper()
	tally := make(Tally, n+1)
	for _, dir := range dirs {
		files, err := filepath.Glob(filepath.Join(dir, "*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			raw, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			tally.Lines(t, raw)
		}
	}
	return tally
}

// Lines counts the numbers of records as lines of JSON.
func (y Tally) Lines(t testing.TB, raw []byte) {
	t.Helper()
	for line := range bytes.Lines(raw) {
		_, after, ok := bytes.Cut(line, []byte(`"octetDeltaCount":`))
		if !ok {
			continue // an options record
		}
		end := bytes.IndexAny(after, ",}")
		if end < 0 {
			continue // cut off by a kill
		}
		y.count(t, string(after[:end]))
	}
}

func (y Tally) count(t testing.TB, number string) {
	t.Helper()
	i, err := strconv.Atoi(number)
	if err != nil || i < 1 || i >= len(y) {
		t.Fatalf("no number of ours: %q", number)
	}
	y[i]++
}

var dumped = regexp.MustCompile(`octetDeltaCount : (\d+)`)

// WrittenIPFIX counts the numbers up to n in IPFIX files that nobody writes, by
// a pattern of their names: with tshark, with libfixbuf's ipfixDump and with our own reader, which must
// agree.
func WrittenIPFIX(t testing.TB, n int, pattern string) Tally {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	wireshark, fixbuf, ours := make(Tally, n+1), make(Tally, n+1), make(Tally, n+1)
	for _, name := range files {
		out := Run(t, Tool(t, "tshark"), "-r", name, "-T", "fields", "-e", "cflow.octets")
		for _, number := range strings.FieldsFunc(string(out), func(r rune) bool { return r == ',' || r == '\n' }) {
			wireshark.count(t, number)
		}
		for _, m := range dumped.FindAllSubmatch(Run(t, Tool(t, "ipfixDump"), "--in", name), -1) {
			fixbuf.count(t, string(m[1]))
		}
		ours.Lines(t, Run(t, Binary(t, "collector"), "decode", name))
	}
	for i := range ours {
		if ours[i] != wireshark[i] || ours[i] != fixbuf[i] {
			t.Fatalf("%s: number %d stands there %d times, for tshark %d, for ipfixDump %d", pattern, i, ours[i], wireshark[i], fixbuf[i])
		}
	}
	return wireshark
}

// Present is how many different numbers are there.
func (y Tally) Present() int { return len(y) - 1 - y.Missing() }

// Missing is how many numbers are not there.
func (y Tally) Missing() (n int) {
	for _, k := range y[1:] {
		if k == 0 {
			n++
		}
	}
	return n
}

// Again is how many are there once more than needed.
func (y Tally) Again() (n int) {
	for _, k := range y[1:] {
		n += max(k-1, 0)
	}
	return n
}

// Without is how many of y are not in other.
func (y Tally) Without(other Tally) (n int) {
	for i, k := range y[1:] {
		if k > 0 && other[i+1] == 0 {
			n++
		}
	}
	return n
}
