package ipfix_test

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ipfixsuite/decode"
	"ipfixsuite/record"
	"ipfixsuite/sink/ipfix"
)

// archive decodes files into a sink and returns what the sink wrote.
func archive(t *testing.T, inputs ...string) []string {
	t.Helper()
	dir := t.TempDir()
	s, err := ipfix.Open(dir, ipfix.Config{})
	if err != nil {
		t.Fatal(err)
	}
	d := decode.New(decode.Config{Emit: s.Write, Report: func(p decode.Problem) { t.Error(p) }})
	for _, in := range inputs {
		if err := d.File(in); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.ipfix"))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// jsonLines decodes files to JSON, without what says how they came here.
func jsonLines(t *testing.T, files ...string) []string {
	t.Helper()
	var enc record.Encoder
	var out []byte
	d := decode.New(decode.Config{
		Emit: func(b *record.Batch) error {
			b.Meta = &record.Meta{Domain: b.Domain, ExportTime: b.ExportTime}
			var err error
			out, _, err = enc.AppendBatch(out, b)
			return err
		},
		Report: func(p decode.Problem) { t.Error(p) },
	})
	for _, f := range files {
		if err := d.File(f); err != nil {
			t.Fatal(err)
		}
	}
	return strings.Split(string(out), "\n")
}

const captures = "../../decode/testdata/softflowd-v"

func TestSink_WhatIsReadIsWhatWasWritten(t *testing.T) {
	for _, v := range []string{"5", "9", "10"} {
		in := captures + v + ".pcap"
		if diff := cmp.Diff(jsonLines(t, in), jsonLines(t, archive(t, in)...)); diff != "" {
			t.Errorf("version %s: %s", v, diff)
		}
	}
}

var (
	dumpedRecords = regexp.MustCompile(`(?m)^ *--- (?:data |options )?record`)
	dumpedCounter = regexp.MustCompile(`(?m)^\s*\([12]\)\s+\w+ : (\d+)`)
)

// libfixbuf reads what we write: the same records, the same counters. All three
// exports of the same traffic come from one exporter and domain, so that ids
// meet; softflowd's own statistics are the truth (decode/testdata).
func TestSink_ReadByLibfixbuf(t *testing.T) {
	dump, err := exec.LookPath("ipfixDump")
	if err != nil {
		t.Skip("ipfixDump (libfixbuf-tools) is not installed")
	}
	files := archive(t, captures+"9.pcap", captures+"10.pcap")
	if len(files) != 1 {
		t.Fatalf("%v", files)
	}
	out, err := exec.CommandContext(t.Context(), dump, "--in", files[0], "--data").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	sum := 0
	for _, m := range dumpedCounter.FindAllSubmatch(out, -1) {
		var n int
		fmt.Sscan(string(m[1]), &n)
		sum += n
	}
	if got := len(dumpedRecords.FindAll(out, -1)); got != 44 {
		t.Errorf("%d records of 44:\n%.3000s", got, out)
	}
	if want := 2 * (141 + 15062); sum != want {
		t.Errorf("packets and octets are %d, want %d", sum, want)
	}
}
