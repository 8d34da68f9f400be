package spool

import (
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ipfixsuite/ie"
	"ipfixsuite/ipfix"
	"ipfixsuite/ipfixfile"
	"ipfixsuite/test/harness"
)

// TestSegment_Octets_RFC5655_8_1_1: the whole file by hand; the checksums are
// those of Python's hashlib.
func TestSegment_Octets_RFC5655_8_1_1(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Config{})
	p := numbered(t, 256, 0)
	appendAll(t, s, message(p, 9, 1, 1))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	want := strings.Join([]string{
		"000a0043", "6553f101", "00000000", "00000009", // header: sequence 0
		"00030012", "ffff00020001", "01070001", "01060010", // options template: scope 263, then 262
		"0002000c", "01000001", "00010008", // template 256: octetDeltaCount
		"ffff0015", "00", sum1,
		"000a0031", "6553f101", "00000001", "00000009", // one record, the checksum, stands before
		"0100000c", "0000000000000001",
		"ffff0015", "00", sum2,
	}, "")
	b, err := os.ReadFile(filepath.Join(dir, "spool-000000000001-1.ipfix"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, hex.EncodeToString(b)); diff != "" {
		t.Error(diff)
	}
}

const (
	sum1 = "22876b8b253da256f982f7af9fcb5bff"
	sum2 = "5fce964fc882ba310e43f912ae92cc07"
)

// judge reads a segment as any reader of IPFIX Files would and returns its
// record numbers.
func judge(t *testing.T, path string) []uint64 {
	t.Helper()
	r, err := ipfixfile.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	type key struct {
		domain uint32
		id     uint16
	}
	known := make(map[key]*ipfix.Template)
	seq := make(map[uint32]uint32)
	var list []uint64
	for {
		msg, err := r.Next()
		if err != nil {
			if r.Stats().Faults > 0 {
				t.Errorf("%s: %v", path, err)
			}
			return list
		}
		h, err := ipfix.ParseHeader(msg)
		if err != nil {
			t.Fatal(err)
		}
		if h.Sequence != seq[h.Domain] {
			t.Errorf("sequence %d, want %d", h.Sequence, seq[h.Domain])
		}
		sums := 0
		for set, err := range ipfix.Sets(msg) {
			if err != nil {
				t.Fatal(err)
			}
			if set.ID < 256 {
				for rec, err := range ipfix.ParseTemplates(set.ID, set.Body) {
					if err != nil {
						t.Fatal(err)
					}
					k := key{h.Domain, rec.ID}
					if old := known[k]; old != nil {
						t.Errorf("template %d defined twice in a segment", rec.ID)
					}
					if known[k], err = ipfix.NewTemplate(rec.ID, rec.Scope, rec.Fields, ie.IANA()); err != nil {
						t.Fatal(err)
					}
				}
				continue
			}
			p := known[key{h.Domain, set.ID}]
			if p == nil {
				t.Fatalf("%s: data %d before its template", path, set.ID)
			}
			var rec ipfix.Records
			for rec.Reset(p, set.Body); rec.Next(); seq[h.Domain]++ {
				if p.Scope == 0 {
					list = append(list, rec.Value(0).Num)
					continue
				}
				sums++
				zeroed := bytes.Clone(msg)
				clear(zeroed[len(zeroed)-16:])
				if want := md5.Sum(zeroed); !bytes.Equal(rec.View(1), want[:]) {
					t.Errorf("checksum %x, want %x", rec.View(1), want)
				}
			}
		}
		if sums != 1 {
			t.Errorf("%d checksums in a message, want 1", sums)
		}
	}
}

func TestSegments_StandAlone_RFC5655_7_2(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Config{SegmentBytes: minSegmentBytes})
	a, b := numbered(t, 256, 1000), numbered(t, 257, 1400)
	for i := range uint64(600) {
		appendAll(t, s, message(a, 1, 2*i, 1), message(b, uint32(i%3), 2*i+1, 1))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	paths, _ := filepath.Glob(filepath.Join(dir, "spool-*.ipfix"))
	if len(paths) < 5 {
		t.Errorf("only %d segments", len(paths))
	}
	var list []uint64
	for _, p := range paths {
		if info, _ := os.Stat(p); info.Size() > minSegmentBytes {
			t.Errorf("%s has %d octets", p, info.Size())
		}
		list = append(list, judge(t, p)...)
	}
	if diff := cmp.Diff(upTo(0, 1200), list); diff != "" {
		t.Error(diff)
	}
	s = open(t, dir, Config{SegmentBytes: minSegmentBytes})
	if got, _ := drain(t, s); len(got) != 1200 {
		t.Errorf("%d records replayed", len(got))
	}
}

func TestSegment_IpfixDump(t *testing.T) {
	tool := harness.Tool(t, "ipfixDump")
	dir := t.TempDir()
	s := open(t, dir, Config{})
	p := numbered(t, 300, 3)
	appendAll(t, s, message(p, 5, 100, 4), message(p, 5, 104, 2))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), tool, "--in", filepath.Join(dir, "spool-000000000001-6.ipfix")).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{"messageMD5Checksum", "octetDeltaCount", ": 105", "Data Records"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if strings.Contains(strings.ToLower(string(out)), "error") {
		t.Errorf("ipfixDump complains:\n%s", out)
	}
}

func TestSpool_IDsAreOneTemplateInASegment(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Config{})
	appendAll(t, s,
		message(numbered(t, 256, 0), 1, 0, 1),
		message(numbered(t, 256, 0), 1, 1, 1),   // the same shape
		message(numbered(t, 256, 8), 1, 2, 1),   // another: next segment
		message(numbered(t, 65535, 8), 1, 3, 1), // where the checksum's was
		message(numbered(t, 65534, 8), 1, 4, 1),
	)
	if got, _ := drain(t, s); !cmp.Equal(got, upTo(0, 5)) {
		t.Errorf("got %v", got)
	}
	s.Close()
	paths, _ := filepath.Glob(filepath.Join(dir, "*.ipfix"))
	if len(paths) != 4 {
		t.Errorf("segments %v", paths)
	}
	for _, p := range paths {
		judge(t, p)
	}
}

func TestSpool_LongMessagesAreSplit_RFC5655_7_3_1(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Config{})
	p := numbered(t, 256, 0)
	long := message(p, 1, 0, (65535-20)/8)
	exact := message(p, 1, 10_000, (65535-20-21)/8)
	appendAll(t, s, long, exact)
	got, _ := drain(t, s)
	if len(got) != long.records(t)+exact.records(t) {
		t.Errorf("%d records", len(got))
	}
	s.Close()
	paths, _ := filepath.Glob(filepath.Join(dir, "*.ipfix"))
	if diff := cmp.Diff(got, judge(t, paths[0])); diff != "" {
		t.Error(diff)
	}
}

func (m Message) records(t *testing.T) int {
	n, err := count(m)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
