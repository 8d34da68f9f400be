package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"ipfixsuite/test/harness"
)

// terminal is one with nobody at it: what is written to f can be read from
// what it returns.
func terminal(t *testing.T) (f, at *os.File) {
	t.Helper()
	at, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil { // a container may have that of its own /dev/pts alone
		at, err = os.OpenFile("/dev/pts/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		harness.Missing(t, "no pseudo terminals: "+err.Error())
	}
	t.Cleanup(func() { at.Close() })
	if err := unix.IoctlSetPointerInt(int(at.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(at.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if f, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	return f, at
}

// On a terminal a long work tells how far it has come, in a line that is gone
// when it is done.
func TestProgressOnTerminal(t *testing.T) {
	t.Setenv("TERM", "xterm")
	tty, at := terminal(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var seen []byte
	var wg sync.WaitGroup
	wg.Go(func() { // ends with the terminal
		b := make([]byte, 4096)
		for {
			n, err := at.Read(b)
			if seen = append(seen, b[:n]...); bytes.Contains(seen, []byte(" packets, ")) {
				cancel()
			}
			if err != nil {
				return
			}
		}
	})
	capture := filepath.Join("..", "..", "testdata", "mixed.pcap")
	code := run(ctx, []string{"exporter", "run", "--source", "pcap:" + capture + "?loop=0&pace=5000", "--to", "udp://127.0.0.1:9"}, nil, os.Stdout, tty)
	tty.Close()
	wg.Wait()
	text := string(seen)
	_, shown, ok := strings.Cut(text, " records read in ")
	if code != 0 || !ok || !strings.Contains(shown, "s from pcap:") {
		t.Errorf("exit code %d, no progress in %q", code, text)
	}
	if _, last, _ := strings.Cut(shown, "\r\x1b[K"); !strings.Contains(last, "msg=done") || strings.Contains(last, "records read in") {
		t.Errorf("it is still there at the end: %q", text)
	}
}
