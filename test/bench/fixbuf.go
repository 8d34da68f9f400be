package main

import (
	"bufio"
	"bytes"
	_ "embed"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"ipfixsuite/test/workload"
)

//go:embed libfixbuf/bench.c
var fixbufSource []byte

// A fixbuf is the compiled C program that times libfixbuf.
type fixbuf struct{ dir, program string }

// newFixbuf compiles it in a folder of its own, if libfixbuf is installed.
func newFixbuf() (*fixbuf, error) {
	flags, err := exec.Command("pkg-config", "--cflags", "--libs", "libfixbuf").Output()
	if err != nil {
		return nil, fmt.Errorf("libfixbuf-dev is not installed: %w", err)
	}
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return nil, err
	}
	b := &fixbuf{dir: dir, program: filepath.Join(dir, "bench")}
	args := append([]string{"-O2", "-x", "c", "-", "-o", b.program}, strings.Fields(string(flags))...)
	cc := exec.Command("cc", args...)
	cc.Stdin = bytes.NewReader(fixbufSource)
	if out, err := cc.CombinedOutput(); err != nil {
		b.close()
		return nil, fmt.Errorf("cc: %w: %s", err, out)
	}
	return b, nil
}

func (b *fixbuf) close() { os.RemoveAll(b.dir) }

// times runs the program on w: the best round of each kind, ns a record.
func (b *fixbuf) times(w *workload.Workload, rounds int) (map[string]result, error) {
	var data []byte
	for _, m := range append([][]byte{w.Setup}, w.Messages...) {
		data = binary.LittleEndian.AppendUint32(data, uint32(len(m)))
		data = append(data, m...)
	}
	file := filepath.Join(b.dir, w.Name)
	if err := os.WriteFile(file, data, 0o600); err != nil {
		return nil, err
	}
	args := []string{file, strconv.Itoa(rounds)}
	if w.Name == "T20" {
		args = append(args, "encode")
	}
	out, err := exec.Command(b.program, args...).Output()
	if err != nil {
		return nil, fmt.Errorf("libfixbuf on %s: %w", w.Name, err)
	}
	results := make(map[string]result)
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		var kind string
		var ns float64
		if _, err := fmt.Sscan(lines.Text(), &kind, &ns); err != nil {
			return nil, fmt.Errorf("libfixbuf said %q", lines.Text())
		}
		results["libfixbuf "+kind] = result{ns: ns}
	}
	return results, nil
}
