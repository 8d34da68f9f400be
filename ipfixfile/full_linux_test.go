package ipfixfile

import (
	"errors"
	"os"
	"syscall"
	"testing"
	"time"
)

// limitFiles lets no file of this process grow beyond n octets: the system
// then writes a part, or nothing, and refuses the rest, as a full disk does.
func limitFiles(t *testing.T, n uint64) {
	t.Helper()
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Setrlimit(syscall.RLIMIT_FSIZE, &old) })
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: n, Max: old.Max}); err != nil {
		t.Fatal(err)
	}
}

func TestWriter_DiskFull(t *testing.T) {
	dir := t.TempDir()
	w, err := NewWriter(Config{Dir: dir, Prefix: "r", Buffer: smallBuffer, Now: func() time.Time { return epoch }})
	if err != nil {
		t.Fatal(err)
	}
	limitFiles(t, 250)
	for i := range uint32(5) {
		if err := w.Write(message(i, 80)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); !errors.Is(err, syscall.EFBIG) {
		t.Errorf("Flush: %v", err)
	}
	if err := w.Rotate(); !errors.Is(err, syscall.EFBIG) {
		t.Errorf("Rotate: %v", err)
	}
	// Some file systems take nothing of what they cannot take in whole.
	if w.Pending() != 300 && w.Pending() != 500 {
		t.Errorf("%d octets wait, want the three messages that did not fit", w.Pending())
	}
	// A full buffer refuses, and keeps what it took.
	var refused error
	for i := 5; refused == nil && i < 10_000; i++ {
		refused = w.Write(message(uint32(i), 80))
	}
	if !errors.Is(refused, syscall.EFBIG) {
		t.Errorf("Write: %v", refused)
	}
	accepted := w.Stats().Messages

	// The room is back: nothing accepted is missing.
	limitFiles(t, 1<<30)
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if got := readFile(t, dir, names(t, dir)[0]); uint64(len(got.Seqs)) != accepted || len(got.Faults) > 0 {
		t.Errorf("%d messages of %d, faults %v", len(got.Seqs), accepted, got.Faults)
	}

	// Full until the end: the finished file ends with a whole message.
	info, err := os.Stat(w.file.Name())
	if err != nil {
		t.Fatal(err)
	}
	limitFiles(t, uint64(info.Size())+150)
	for i := range uint32(3) {
		if err := w.Write(message(i, 80)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); !errors.Is(err, syscall.EFBIG) {
		t.Errorf("Close: %v", err)
	}
	lost := w.Stats().MessagesLost
	if lost != 2 && lost != 3 {
		t.Errorf("%d messages lost", lost)
	}
	got := readFile(t, dir, "r-20260701T120000Z-000000.ipfix")
	if uint64(len(got.Seqs)) != accepted+3-lost || len(got.Faults) > 0 {
		t.Errorf("%d messages of %d, %d lost, faults %v", len(got.Seqs), accepted+3, lost, got.Faults)
	}
}
