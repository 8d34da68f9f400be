package ipfixfile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// message makes a message with one data set of n octets.
func message(seq uint32, n int) []byte {
	b := make([]byte, headerLen+setHdrLen+n)
	binary.BigEndian.PutUint16(b, version)
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	binary.BigEndian.PutUint32(b[8:], seq)
	binary.BigEndian.PutUint16(b[16:], 256)
	binary.BigEndian.PutUint16(b[18:], uint16(setHdrLen+n))
	for i := range b[20:] {
		b[20+i] = byte(seq) | 0x80
	}
	return b
}

func seqOf(msg []byte) uint32 { return binary.BigEndian.Uint32(msg[8:]) }

type result struct {
	Seqs   []uint32
	Faults []string
}

func readAll(t *testing.T, src io.Reader) result {
	t.Helper()
	r := NewReader(src)
	var got result
	for {
		msg, err := r.Next()
		var bad *FormatError
		switch {
		case err == nil:
			got.Seqs = append(got.Seqs, seqOf(msg))
		case errors.As(err, &bad):
			got.Faults = append(got.Faults, bad.Error())
		case errors.Is(err, io.EOF):
			return got
		default:
			t.Fatal(err)
		}
	}
}

func TestReader_Faults_RFC5655_10_3(t *testing.T) {
	m1, m2, m3 := message(1, 40), message(2, 60), message(3, 80)
	long := bytes.Clone(m2)
	binary.BigEndian.PutUint16(long[2:], 150) // reaches into m3
	fooling := message(2, 60)
	copy(fooling[30:], "\x00\x0a\x00\x20") // looks like a header, leads nowhere
	tests := []struct {
		name string
		in   [][]byte
		want result
	}{
		{"empty", nil, result{}},
		{"whole", [][]byte{m1, m2, m3}, result{Seqs: []uint32{1, 2, 3}}},
		{"truncated in the header", [][]byte{m1, m2[:7]}, result{[]uint32{1},
			[]string{"offset 60: message of 80 octets is truncated after 7 (7 octets skipped)"}}},
		{"truncated in the data", [][]byte{m1, m2, m3[:90]}, result{[]uint32{1, 2},
			[]string{"offset 140: message of 100 octets is truncated after 90 (90 octets skipped)"}}},
		{"one octet behind", [][]byte{m1, {0}}, result{[]uint32{1},
			[]string{"offset 60: no IPFIX message header (1 octets skipped)"}}},
		{"garbage first", [][]byte{[]byte("garbage"), m1, m2}, result{[]uint32{1, 2},
			[]string{"offset 0: no IPFIX message header (7 octets skipped)"}}},
		{"garbage between", [][]byte{m1, []byte("\x00\x0a\x00\x01junk\x00\x0a"), m2, m3}, result{[]uint32{1, 2, 3},
			[]string{"offset 60: no IPFIX message header (10 octets skipped)"}}},
		{"garbage only", [][]byte{bytes.Repeat([]byte{0xAB}, 300)}, result{nil,
			[]string{"offset 0: no IPFIX message header (300 octets skipped)"}}},
		{"length too great", [][]byte{m1, long, m3, m1, m2}, result{[]uint32{1, 3, 1, 2},
			[]string{"offset 60: message of 150 octets is garbled (80 octets skipped)"}}},
		{"middle cut out", [][]byte{m1, m2[:50], m3, m1}, result{[]uint32{1, 3, 1},
			[]string{"offset 60: message of 80 octets is garbled (50 octets skipped)"}}},
		{"header inside the data of a cut message", [][]byte{m1, fooling[:50], m3, m1}, result{[]uint32{1, 3, 1},
			[]string{"offset 60: message of 80 octets is garbled (50 octets skipped)"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := bytes.Join(tt.in, nil)
			if diff := cmp.Diff(tt.want, readAll(t, bytes.NewReader(in))); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(tt.want, readAll(t, &dribble{in: in})); diff != "" {
				t.Errorf("in small pieces: %s", diff)
			}
		})
	}
}

// dribble gives at most 3 octets at a time.
type dribble struct{ in []byte }

func (d *dribble) Read(p []byte) (int, error) {
	if len(d.in) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(3, len(p))], d.in)
	d.in = d.in[n:]
	return n, nil
}

func TestReader_LargestMessagesAndGarbageBeyondTheBuffer(t *testing.T) {
	var in []byte
	var want result
	for i := range uint32(20) {
		in = append(in, message(i, maxMessage-headerLen-setHdrLen)...)
		want.Seqs = append(want.Seqs, i)
	}
	at := len(in)
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 400_000 { // full of versions, but of nothing behind them
		in = append(in, 0xFF, byte(rnd.Uint32()), 0, 10)
	}
	in = append(in, message(20, 10)...)
	want.Seqs = append(want.Seqs, 20)
	want.Faults = []string{fmt.Sprintf("offset %d: no IPFIX message header (1600000 octets skipped)", at)}
	if diff := cmp.Diff(want, readAll(t, bytes.NewReader(in))); diff != "" {
		t.Error(diff)
	}
}

func TestReader_SourceFails(t *testing.T) {
	broken := errors.New("broken disk")
	r := NewReader(io.MultiReader(bytes.NewReader(message(1, 8)), bytes.NewReader(message(2, 8)[:20]), failing{broken}))
	if _, err := r.Next(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := r.Next(); !errors.Is(err, broken) {
			t.Errorf("got %v", err)
		}
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func FuzzReader(f *testing.F) {
	f.Add(bytes.Join([][]byte{message(1, 4), message(2, 9)}, nil))
	f.Add(append([]byte("\x00\x0a\x00\x10"), message(1, 4)...))
	f.Add(message(1, 300)[:100])
	f.Fuzz(func(t *testing.T, in []byte) {
		r := NewReader(bytes.NewReader(in))
		var octets int64
		for {
			msg, err := r.Next()
			var bad *FormatError
			switch {
			case err == nil:
				if !bytes.Equal(msg, in[r.Offset():r.Offset()+int64(len(msg))]) {
					t.Fatal("message is not what stands at its offset")
				}
				octets += int64(len(msg))
			case errors.As(err, &bad):
				if bad.Length <= 0 || bad.Offset != octets {
					t.Fatalf("fault %v after %d octets", bad, octets)
				}
				octets += bad.Length
			default:
				if octets != int64(len(in)) {
					t.Fatalf("%d of %d octets accounted for", octets, len(in))
				}
				return
			}
		}
	})
}

func TestOpen_Compressed_RFC5655_10_2(t *testing.T) {
	// Made with gzip -9n and bzip2 -9 of 00 0a 00 10 and twelve zero octets.
	for name, hexed := range map[string]string{
		"gzip":  "1f8b080000000000020363e06210604002009990b33f10000000",
		"bzip2": "425a6839314159265359503e841c000002600040504000200030cd3418c8ea25e2ee48a70a120a07d08380",
		"plain": "000a0010000000000000000000000000",
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "f")
			raw := make([]byte, len(hexed)/2)
			fmt.Sscanf(hexed, "%x", &raw)
			if err := os.WriteFile(path, raw, 0o600); err != nil {
				t.Fatal(err)
			}
			r, err := Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			if msg, err := r.Next(); err != nil || len(msg) != 16 {
				t.Errorf("got %x, %v", msg, err)
			}
			if _, err := r.Next(); !errors.Is(err, io.EOF) {
				t.Errorf("got %v", err)
			}
		})
	}
}

var epoch = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

func readFile(t *testing.T, dir, name string) result {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return readAll(t, bytes.NewReader(b))
}

func TestWriter_RotatesBySizeAndAge(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "series")
	now := epoch
	w, err := NewWriter(Config{Dir: dir, Prefix: "r1", MaxBytes: 250, MaxAge: time.Minute, Sync: true,
		Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	if len(names(t, dir)) != 0 {
		t.Error("a file without a message")
	}
	for i := range uint32(5) {
		if err := w.Write(message(i, 80)); err != nil { // two go into one file
			t.Fatal(err)
		}
	}
	want := []string{"r1-20260701T120000Z-000000.ipfix", "r1-20260701T120000Z-000001.ipfix", "r1-20260701T120000Z-000002.ipfix.part"}
	if diff := cmp.Diff(want, names(t, dir)); diff != "" {
		t.Error(diff)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(result{Seqs: []uint32{4}}, readFile(t, dir, want[2])); diff != "" {
		t.Errorf("after Flush: %s", diff)
	}
	now = now.Add(time.Minute)
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := w.Write(message(5, 80)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	want[2] = "r1-20260701T120000Z-000002.ipfix"
	want = append(want, "r1-20260701T120100Z-000000.ipfix")
	if diff := cmp.Diff(want, names(t, dir)); diff != "" {
		t.Error(diff)
	}
	listed, err := List(dir, "r1")
	if err != nil || len(listed) != 4 || filepath.Base(listed[3]) != want[3] {
		t.Errorf("List: %v, %v", listed, err)
	}
	var seqs []uint32
	for _, n := range want {
		got := readFile(t, dir, n)
		seqs = append(seqs, got.Seqs...)
	}
	if diff := cmp.Diff([]uint32{0, 1, 2, 3, 4, 5}, seqs); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(Stats{Messages: 6, Octets: 600, Files: 4}, w.Stats()); diff != "" {
		t.Error(diff)
	}
	if err := w.Write(message(6, 80)); !errors.Is(err, os.ErrClosed) {
		t.Errorf("write after close: %v", err)
	}
}

func TestWriter_RefusesWhatIsNoMessage(t *testing.T) {
	w, err := NewWriter(Config{Dir: t.TempDir(), Prefix: "x"})
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range [][]byte{nil, []byte("x"), message(1, 10)[:20], append(message(1, 10), 0)} {
		if err := w.Write(bad); err == nil {
			t.Errorf("%x taken", bad)
		}
	}
	for _, bad := range []string{"", "../x", ".x", "a/b", "a b", strings.Repeat("x", 300)} {
		if _, err := NewWriter(Config{Dir: t.TempDir(), Prefix: bad}); err == nil {
			t.Errorf("prefix %q taken", bad)
		}
	}
}

func TestWriter_NamesAreNeverOverwritten(t *testing.T) {
	dir := t.TempDir()
	cfg := Config{Dir: dir, Prefix: "r1", Now: func() time.Time { return epoch }}
	for i := range uint32(3) { // as after restarts within a second
		w, err := NewWriter(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Write(message(i, 10)); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for i, n := range names(t, dir) {
		if diff := cmp.Diff(result{Seqs: []uint32{uint32(i)}}, readFile(t, dir, n)); diff != "" {
			t.Errorf("%s: %s", n, diff)
		}
	}
}

func TestWriter_BuildsInPlace(t *testing.T) {
	dir := t.TempDir()
	w, err := NewWriter(Config{Dir: dir, Prefix: "r1", Now: func() time.Time { return epoch }})
	if err != nil {
		t.Fatal(err)
	}
	for i := range uint32(50) {
		if _, err := w.Begin(0); err != nil {
			t.Fatal(err)
		}
		b, err := w.Available()
		if err != nil {
			t.Fatal(err)
		}
		if cap(b) < maxMessage {
			t.Fatalf("room for %d octets only", cap(b))
		}
		if err := w.Append(append(b, message(i, 30_000)...)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if got := readFile(t, dir, names(t, dir)[0]); len(got.Seqs) != 50 || len(got.Faults) > 0 {
		t.Errorf("got %v", got)
	}
}

func TestRecover_KilledWriter(t *testing.T) {
	dir := t.TempDir()
	whole := bytes.Join([][]byte{message(1, 40), message(2, 60)}, nil)
	for name, content := range map[string][]byte{
		"torn.ipfix.part":    append(bytes.Clone(whole), message(3, 80)[:50]...),
		"whole.ipfix.part":   whole,
		"nothing.ipfix.part": message(3, 80)[:50],
		"empty.ipfix.part":   nil,
		"other.part":         []byte("not ours"),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// One is still being written.
	w, err := NewWriter(Config{Dir: dir, Prefix: "alive", Now: func() time.Time { return epoch }})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Write(message(9, 10)); err != nil {
		t.Fatal(err)
	}
	got, err := Recover(dir)
	if err != nil {
		t.Fatal(err)
	}
	p := func(s string) string { return filepath.Join(dir, s) }
	want := []Recovered{
		{Part: p("empty.ipfix.part")},
		{Part: p("nothing.ipfix.part"), Torn: 50},
		{Part: p("torn.ipfix.part"), Name: p("torn.ipfix"), Size: 140, Torn: 50},
		{Part: p("whole.ipfix.part"), Name: p("whole.ipfix"), Size: 140},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(result{Seqs: []uint32{1, 2}}, readFile(t, dir, "torn.ipfix")); diff != "" {
		t.Error(diff)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"alive-20260701T120000Z-000000.ipfix", "other.part", "torn.ipfix", "whole.ipfix"}, names(t, dir)); diff != "" {
		t.Error(diff)
	}
	if got, err := Recover(filepath.Join(dir, "missing")); got != nil || err != nil {
		t.Errorf("missing directory: %v, %v", got, err)
	}
}

func TestSafeName(t *testing.T) {
	seen := map[string]string{}
	for _, id := range []string{"router1.example.net", "2001:db8::1", "2001_db8__1", "", ".", "..", "../../etc/passwd",
		"a/b", "a\x00b", strings.Repeat("x", 500), strings.Repeat("x", 501), "spåce here", "x~00000000"} {
		got := SafeName(id)
		if !validPrefix(got) {
			t.Errorf("SafeName(%q) = %q", id, got)
		}
		if other, ok := seen[got]; ok {
			t.Errorf("%q and %q are both %q", id, other, got)
		}
		seen[got] = id
	}
	if got := SafeName("192.0.2.1"); got != "192.0.2.1" {
		t.Errorf("got %q", got)
	}
}

func TestWriter_NoAllocations(t *testing.T) {
	w, err := NewWriter(Config{Dir: t.TempDir(), Prefix: "x"})
	if err != nil {
		t.Fatal(err)
	}
	msg := message(1, 1380)
	for range 1000 {
		w.Write(msg)
	}
	if n := testing.AllocsPerRun(1000, func() { w.Write(msg) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	w.Close()
}

func BenchmarkWriter(b *testing.B) {
	w, err := NewWriter(Config{Dir: b.TempDir(), Prefix: "x", MaxBytes: 64 << 20})
	if err != nil {
		b.Fatal(err)
	}
	msg := message(1, 1380)
	b.SetBytes(int64(len(msg)))
	b.ReportAllocs()
	for b.Loop() {
		w.Write(msg)
	}
	w.Close()
}

func BenchmarkReader(b *testing.B) {
	in := bytes.Repeat(message(1, 1380), 4096)
	b.SetBytes(int64(len(in)))
	for b.Loop() {
		r := NewReader(bytes.NewReader(in))
		for {
			if _, err := r.Next(); err != nil {
				break
			}
		}
	}
}
