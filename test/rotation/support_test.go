package rotation

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"ipfixsuite/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// long is how long the tests of endurance take: seconds, unless a duration is
// asked for.
func long(t *testing.T, otherwise time.Duration) time.Duration {
	t.Helper()
	s := os.Getenv("IPFIXSUITE_ROTATION_TIME")
	if s == "" {
		return otherwise
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		t.Fatalf("IPFIXSUITE_ROTATION_TIME: %v", err)
	}
	return d
}

// numbered writes a file of JSON records that count from 1 in octetDeltaCount.
func numbered(t *testing.T, n int) string {
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

// written counts how often each number stands in a JSON sink's folders.
func written(t *testing.T, n int, dirs ...string) (missing, again int) {
	t.Helper()
	times := make([]int, n+1)
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
			for line := range bytes.Lines(raw) {
				_, after, ok := bytes.Cut(line, []byte(`"octetDeltaCount":`))
				if !ok {
					continue // an options record
				}
				end := bytes.IndexAny(after, ",}")
				if end < 0 {
					continue // cut off by a kill
				}
				i, err := strconv.Atoi(string(after[:end]))
				if err != nil || i < 1 || i > n {
					t.Fatalf("%s: %s", name, line)
				}
				times[i]++
			}
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
