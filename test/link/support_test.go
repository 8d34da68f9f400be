package link

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"ipfixsuite/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// recordSize is what a numbered record takes on the wire at least.
const recordSize = 8 + 8 + 4 + 4

// long says whether the longer forms are wished for.
func long() bool { return os.Getenv("IPFIXSUITE_LONG") == "1" }

// between starts a Relay that ends with the test.
func between(t testing.TB, to string, cfg Config) *Relay {
	t.Helper()
	r, err := New(to, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

// numbered writes a file of JSON records that count from 1 in octetDeltaCount.
func numbered(t testing.TB, n int) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "numbered.jsonl")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := bufio.NewWriter(f)
	for i := 1; i <= n; i++ {
		fmt.Fprintf(w, `{"octetDeltaCount":%d,"packetDeltaCount":1,"sourceIPv4Address":"192.0.2.1","destinationIPv4Address":"198.51.100.%d"}`+"\n", i, i%250)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return name
}

// written counts how often each number stands in a JSON sink's folder.
func written(t testing.TB, n int, dir string) (missing, again int) {
	t.Helper()
	times := make([]int, n+1)
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(raw) {
			_, after, ok := bytes.Cut(line, []byte(`"octetDeltaCount":`))
			if !ok {
				continue // an options record
			}
			i, err := strconv.Atoi(string(after[:max(bytes.IndexAny(after, ",}"), 0)]))
			if err != nil || i < 1 || i > n {
				t.Fatalf("%s: %s", name, line)
			}
			times[i]++
		}
	}
	for _, k := range times[1:] {
		if k == 0 {
			missing++
		} else {
			again += k - 1
		}
	}
	return missing, again
}
