package spool

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestMain runs this binary as an exporter in need of killing, if asked to.
func TestMain(m *testing.M) {
	if dir := os.Getenv("SPOOL_TEST_VICTIM"); dir != "" {
		if err := victim(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// victim appends numbered messages and delivers what is there, until it is
// killed. It says of each message, in one write, that it was taken ("a 5"),
// or delivered ("d 5"), then marked ("m 5").
func victim(dir string) error {
	var policy Sync
	if p, err := strconv.Atoi(os.Getenv("SPOOL_TEST_SYNC")); err == nil {
		policy = Sync(p)
	}
	first, err := strconv.ParseUint(os.Getenv("SPOOL_TEST_FIRST"), 10, 64)
	if err != nil {
		return err
	}
	s, err := Open(dir, Config{SegmentBytes: minSegmentBytes, Sync: policy, SyncEvery: 5 * time.Millisecond})
	if err != nil {
		return err
	}
	rnd := rand.New(rand.NewPCG(first, 2))
	t := new(testing.T) // for the helpers; nothing fails in them
	p := numbered(t, 256, 1100)
	q := numbered(t, 257, 3)
	var e Entry
	var handed []uint64
	for n := first; ; n++ {
		m := message(p, 1, n, 1)
		if rnd.IntN(3) == 0 {
			m = message(q, 2, n, 1)
		}
		if err := s.Append(m); err != nil {
			return err
		}
		fmt.Printf("a %d\n", n)
		if rnd.IntN(2) == 0 {
			continue
		}
		for range rnd.IntN(3) {
			if s.Next(&e) {
				var id uint64
				for set := range ipfixSets(e.Data) {
					id = binary.BigEndian.Uint64(set)
				}
				fmt.Printf("d %d\n", id)
				handed = append(handed, id)
			}
		}
		if len(handed) > 0 && rnd.IntN(4) == 0 {
			if err := s.Ack(e.Pos); err != nil {
				return err
			}
			fmt.Printf("m %d\n", handed[len(handed)-1])
			handed = handed[:0]
		}
		if rnd.IntN(50) == 0 {
			s.Rewind()
			handed = handed[:0]
		}
	}
}

func ipfixSets(msg []byte) func(func([]byte) bool) {
	return func(yield func([]byte) bool) { yield(msg[20:]) }
}

// TestKill: a process that spools and delivers is killed with SIGKILL at
// random moments, again and again in the same directory. Each message that
// was taken is delivered at least once; none is that was not taken whole; and
// what was marked does not come again.
func TestKill(t *testing.T) {
	rounds := 60
	if testing.Short() {
		rounds = 12
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	rnd := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 3))
	taken := make(map[uint64]bool)
	delivered := make(map[uint64]int)
	marked := int64(-1)
	next := uint64(0)
	again, unsaid := 0, 0
	for round := range rounds {
		cmd := exec.CommandContext(t.Context(), self)
		cmd.Env = append(os.Environ(), "SPOOL_TEST_VICTIM="+dir, fmt.Sprint("SPOOL_TEST_FIRST=", next), fmt.Sprint("SPOOL_TEST_SYNC=", round%3))
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		var complaints strings.Builder
		cmd.Stderr = &complaints
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		timer := time.AfterFunc(time.Duration(5+rnd.IntN(120))*time.Millisecond, func() { cmd.Process.Kill() })
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			var what string
			var n uint64
			if _, err := fmt.Sscanf(lines.Text(), "%s %d", &what, &n); err != nil {
				continue // cut off
			}
			switch what {
			case "a":
				taken[n] = true
				next = max(next, n+1)
			case "d":
				if int64(n) <= marked {
					t.Fatalf("round %d: %d was delivered again though %d was marked", round, n, marked)
				}
				if delivered[n]++; delivered[n] > 1 {
					again++
				}
			case "m":
				marked = int64(n)
			}
		}
		io.Copy(io.Discard, out)
		_ = cmd.Wait() // it was killed
		timer.Stop()
		if complaints.Len() > 0 {
			t.Fatalf("round %d: %s", round, complaints.String())
		}
		// One message may have been written and not said.
		next++
	}
	s := open(t, dir, Config{})
	st := s.Stats()
	got, last := drain(t, s)
	for i, n := range got {
		if i > 0 && got[i-1] >= n {
			t.Fatalf("%d after %d", n, got[i-1])
		}
		if int64(n) <= marked {
			t.Fatalf("%d comes again though %d was marked", n, marked)
		}
		if !taken[n] {
			unsaid++
		}
		delivered[n]++
	}
	for n := range taken {
		if delivered[n] == 0 {
			t.Errorf("%d was taken and is lost", n)
		}
	}
	if unsaid > rounds || st.RecordsCorrupt > 0 {
		t.Errorf("%d records from nowhere, %+v", unsaid, st)
	}
	if err := s.Ack(last); err != nil && len(got) > 0 {
		t.Fatal(err)
	}
	balanced(t, s)
	t.Logf("%d kills, %d messages taken, %d delivered more than once, %d left for the last, %d written unsaid",
		rounds, len(taken), again, len(got), unsaid)
}
