package source

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"ipfixsuite/export"
)

// A named pipe brings what its writer writes, from the first octet on: it is
// not opened to be looked at first.
func TestNamedPipe(t *testing.T) {
	for _, row := range []struct {
		kind    string
		data    []byte
		records int
	}{
		{"pcap", udpCapture(5), 5},
		{"json", []byte(`{"octetDeltaCount":1}` + "\n" + `{"octetDeltaCount":2}` + "\n"), 2},
		{"ipfix", message(t, `0002 000c 0384 0001 0001 0004   0384 0010 00000001 00000002 00000003`), 3},
	} {
		t.Run(row.kind, func(t *testing.T) {
			name := filepath.Join(t.TempDir(), "pipe")
			if err := syscall.Mkfifo(name, 0o600); err != nil {
				t.Fatal(err)
			}
			src := parse(t, row.kind+":"+name, Config{})
			if err := src.Check(); err != nil { // would wait for the writer
				t.Fatal(err)
			}
			written := make(chan error, 1)
			go func() { written <- os.WriteFile(name, row.data, 0) }() // ends when all of it is read
			s, err := runs(t, src, -1)
			if err != nil {
				t.Fatal(err)
			}
			if err := <-written; err != nil {
				t.Error(err)
			}
			if n := len(s.got()); n != row.records {
				t.Errorf("%d records, want %d", n, row.records)
			}
		})
	}
}

// Nobody writes to the pipe, or nobody does any more: the end of the context
// is that of the source, at once.
func TestNamedPipe_silent(t *testing.T) {
	for _, kind := range []string{"pcap", "json", "ipfix"} {
		for _, writer := range []bool{false, true} {
			t.Run(fmt.Sprint(kind, " writer ", writer), func(t *testing.T) {
				name := filepath.Join(t.TempDir(), "pipe")
				if err := syscall.Mkfifo(name, 0o600); err != nil {
					t.Fatal(err)
				}
				if writer {
					w, err := os.OpenFile(name, os.O_RDWR, 0) // does not wait for the reader
					if err != nil {
						t.Fatal(err)
					}
					defer w.Close()
				}
				ctx, cancel := context.WithCancel(t.Context())
				ended := make(chan error, 1)
				out, err := export.New(export.Config{Dialer: newCapturing()})
				if err != nil {
					t.Fatal(err)
				}
				src := parse(t, kind+":"+name, Config{})
				go func() { ended <- src.Run(ctx, out) }()
				cancel()
				select {
				case err := <-ended:
					if err != nil {
						t.Error(err)
					}
				case <-time.After(20 * time.Second):
					t.Fatal("it waits on")
				}
			})
		}
	}
}
