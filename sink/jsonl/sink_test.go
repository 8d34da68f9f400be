package jsonl

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipfixsuite/ie"
	"ipfixsuite/ipfix"
	"ipfixsuite/record"
)

// batch is n records of a protocolIdentifier and a sourceTransportPort, which
// counts from first.
func batch(tb testing.TB, first, n int) *record.Batch {
	tb.Helper()
	t, err := ipfix.NewTemplate(256, 0, []ipfix.FieldSpec{
		{ID: ie.ID{Num: 4}, Length: 1}, {ID: ie.ID{Num: 7}, Length: 2},
	}, ie.IANA())
	if err != nil {
		tb.Fatal(err)
	}
	b := &record.Batch{Meta: &record.Meta{Exporter: "r1", Session: 1, Domain: 2, ExportTime: 1790000000}, Template: t, Records: n}
	for i := first; i < first+n; i++ {
		b.Body = append(b.Body, 17, byte(i>>8), byte(i))
	}
	return b
}

func line(i int) string {
	return fmt.Sprintf(`{"@exporter":"r1","@session":1,"@domain":2,"@template":256,"@exportTime":"2026-09-21T14:13:20","protocolIdentifier":17,"sourceTransportPort":%d}`+"\n", i)
}

func lines(first, n int) string {
	var b strings.Builder
	for i := first; i < first+n; i++ {
		b.WriteString(line(i))
	}
	return b.String()
}

func open(tb testing.TB, spec string, cfg Config) *Sink {
	tb.Helper()
	s, err := Open(spec, cfg)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func do(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// files reads a directory: name to content.
func files(tb testing.TB, dir string) map[string]string {
	tb.Helper()
	all := map[string]string{}
	entries, err := os.ReadDir(dir)
	do(tb, err)
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		do(tb, err)
		all[e.Name()] = string(b)
	}
	return all
}

func TestSink_Stdout(t *testing.T) {
	var out bytes.Buffer
	s := open(t, "-", Config{Stdout: &out})
	do(t, s.Write(batch(t, 5, 2)))
	if out.Len() != 0 {
		t.Error("it writes line by line")
	}
	do(t, s.Flush())
	if d := cmp.Diff(lines(5, 2), out.String()); d != "" {
		t.Error(d)
	}
	do(t, s.Write(batch(t, 7, 1)))
	do(t, s.Close())
	do(t, s.Close())
	if d := cmp.Diff(lines(5, 3), out.String()); d != "" {
		t.Error(d)
	}
	if s.Write(batch(t, 1, 1)) == nil || s.Flush() == nil {
		t.Error("a closed sink takes records")
	}
	if d := cmp.Diff(Stats{Records: 3, Octets: uint64(out.Len()), Writes: 2}, s.Stats()); d != "" {
		t.Error(d)
	}
}

func TestSink_Directory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // begins at 2000-01-01T00:00:00Z
		dir := filepath.Join(t.TempDir(), "new", "flows")
		s := open(t, dir, Config{MaxBytes: 300, MaxAge: time.Minute, Sync: true})
		do(t, s.Flush())
		if len(files(t, dir)) != 0 {
			t.Error("an empty file")
		}
		do(t, s.Write(batch(t, 0, 1)))
		do(t, s.Flush())
		if d := cmp.Diff(map[string]string{"flows-20000101T000000Z-000000.jsonl.part": line(0)}, files(t, dir)); d != "" {
			t.Error(d)
		}
		do(t, s.Write(batch(t, 1, 2))) // 300 octets are passed
		do(t, s.Flush())
		do(t, s.Write(batch(t, 3, 1)))
		do(t, s.Flush())
		want := map[string]string{
			"flows-20000101T000000Z-000000.jsonl":      lines(0, 3),
			"flows-20000101T000000Z-000001.jsonl.part": line(3),
		}
		if d := cmp.Diff(want, files(t, dir)); d != "" {
			t.Error(d)
		}
		if st, err := os.Stat(filepath.Join(dir, "flows-20000101T000000Z-000000.jsonl")); err != nil || st.Mode() != 0o600 {
			t.Error(st.Mode(), err)
		}
		// Nobody writes any more: the file ends all the same.
		time.Sleep(time.Minute)
		synctest.Wait()
		want["flows-20000101T000000Z-000001.jsonl"] = line(3)
		delete(want, "flows-20000101T000000Z-000001.jsonl.part")
		if d := cmp.Diff(want, files(t, dir)); d != "" {
			t.Error(d)
		}
		do(t, s.Write(batch(t, 4, 1)))
		do(t, s.Close())
		want["flows-20000101T000100Z-000000.jsonl"] = line(4)
		if d := cmp.Diff(want, files(t, dir)); d != "" {
			t.Error(d)
		}
		if st := s.Stats(); st.Files != 3 || st.Records != 5 || st.Errors != 0 {
			t.Error(st)
		}
	})
}

func TestSink_RecoversFilesOfTheDead(t *testing.T) {
	dir := t.TempDir()
	put := func(name, s string) { do(t, os.WriteFile(filepath.Join(dir, name), []byte(s), 0o600)) }
	put("a.jsonl.part", "{}\n{\"cut")
	put("b.jsonl.part", "cut")
	put("c.jsonl.part", "{}\n")
	put("c.jsonl", "other\n")
	put("d.part", "not ours")
	big := strings.Repeat("{}\n", 1000) + strings.Repeat("x", 200<<10)
	put("e.jsonl.part", big)
	alive := open(t, dir+"/alive", Config{})
	do(t, alive.Write(batch(t, 0, 1)))
	do(t, alive.Flush())
	s := open(t, dir, Config{})
	want := map[string]string{"a.jsonl": "{}\n", "c.jsonl.part": "{}\n", "c.jsonl": "other\n", "d.part": "not ours", "e.jsonl": big[:3000]}
	do(t, os.Rename(dir+"/alive", t.TempDir()+"/away"))
	if d := cmp.Diff(want, files(t, dir)); d != "" {
		t.Error(d)
	}
	if n := s.Stats().FilesRecovered; n != 2 {
		t.Error(n)
	}
}

func TestSink_LeavesTheLivingAlone(t *testing.T) {
	dir := t.TempDir()
	a := open(t, dir, Config{})
	do(t, a.Write(batch(t, 0, 1)))
	do(t, a.Flush())
	b := open(t, dir, Config{})
	do(t, b.Write(batch(t, 1, 1)))
	do(t, b.Close())
	do(t, a.Write(batch(t, 2, 1)))
	do(t, a.Close())
	var all []string
	for name, s := range files(t, dir) {
		if strings.HasSuffix(name, ".part") {
			t.Error(name)
		}
		all = append(all, s)
	}
	if len(all) != 2 || len(all[0])+len(all[1]) != len(lines(0, 3)) {
		t.Errorf("%q", all)
	}
}

// narrow takes as much as there is room for, as a disk does.
type narrow struct {
	bytes.Buffer
	room int
}

func (w *narrow) Write(b []byte) (int, error) {
	n := min(len(b), w.room)
	w.room -= n
	w.Buffer.Write(b[:n])
	if n < len(b) {
		return n, syscall.ENOSPC
	}
	return n, nil
}

func TestSink_FullDiskLosesNothingTaken(t *testing.T) {
	w := &narrow{room: 1000}
	s := open(t, "-", Config{Stdout: w})
	taken := 0
	var refused error
	for i := 0; refused == nil && i < 10000; i++ {
		if refused = s.Write(batch(t, i, 1)); refused == nil {
			taken++
		}
	}
	if !errors.Is(refused, syscall.ENOSPC) || refused.Error() != "json sink: no space left on device" {
		t.Errorf("%v", refused)
	}
	if err := s.Flush(); !errors.Is(err, syscall.ENOSPC) {
		t.Error(err)
	}
	if st := s.Stats(); st.Pending > writeSize+1<<10 || st.RecordsRefused != 1 || st.Errors != 2 {
		t.Errorf("%+v", st)
	}
	w.room = 1 << 30
	do(t, s.Close())
	if d := cmp.Diff(lines(0, taken), w.String()); d != "" {
		t.Error(d)
	}
}

func TestSink_FullDiskToTheEnd(t *testing.T) {
	w := &narrow{room: 10}
	s := open(t, "-", Config{Stdout: w})
	do(t, s.Write(batch(t, 0, 3)))
	if err := s.Close(); !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "3 records lost") {
		t.Error(err)
	}
	if s.Stats().LinesLost != 3 {
		t.Error(s.Stats())
	}
}

func TestSink_FileFullToTheEnd(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("no /dev/full")
	}
	f, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	do(t, err)
	defer f.Close()
	s := open(t, "-", Config{Stdout: f})
	do(t, s.Write(batch(t, 0, 1)))
	if err := s.Flush(); !errors.Is(err, syscall.ENOSPC) || err.Error() != "json sink: write /dev/full: no space left on device" {
		t.Error(err)
	}
}

func TestSink_NoDirectory(t *testing.T) {
	name := filepath.Join(t.TempDir(), "file")
	do(t, os.WriteFile(name, nil, 0o600))
	if _, err := Open(name, Config{}); err == nil || !strings.HasPrefix(err.Error(), "json sink: mkdir ") {
		t.Error(err)
	}
	if _, err := Open("", Config{}); err == nil {
		t.Error("no directory at all")
	}
	dir := t.TempDir()
	s := open(t, dir, Config{})
	do(t, os.Remove(dir))
	do(t, s.Write(batch(t, 0, 1)))
	if s.Flush() == nil {
		t.Error("a directory that went away")
	}
	do(t, os.Mkdir(dir, 0o700))
	do(t, s.Close())
	if len(files(t, dir)) != 1 {
		t.Error("the record is lost")
	}
}

func TestSink_RecordCutShort(t *testing.T) {
	var out bytes.Buffer
	s := open(t, "-", Config{Stdout: &out})
	tm, err := ipfix.NewTemplate(256, 0, []ipfix.FieldSpec{{ID: ie.ID{Num: 82}, Length: ipfix.VariableLength}}, ie.IANA())
	do(t, err)
	do(t, s.Write(&record.Batch{Template: tm, Body: []byte{1, 'a', 9, 'b'}, Records: 1}))
	do(t, s.Close())
	if out.String() != `{"@template":256,"interfaceName":"a"}`+"\n" || s.Stats().RecordsCut != 1 {
		t.Error(out.String(), s.Stats())
	}
}

func TestSink_Concurrent(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Config{MaxBytes: 100 << 10})
	var wg sync.WaitGroup
	for range 4 {
		b := batch(t, 0, 20)
		wg.Go(func() {
			for i := range 200 {
				if err := s.Write(b); err != nil {
					t.Error(err)
				}
				if i%50 == 0 {
					if err := s.Flush(); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	do(t, s.Close())
	n := 0
	for name, content := range files(t, dir) {
		for l := range strings.Lines(content) {
			if !json.Valid([]byte(l)) {
				t.Fatalf("%s: %s", name, l)
			}
			n++
		}
	}
	if n != 16000 || s.Stats().Records != 16000 {
		t.Error(n, s.Stats())
	}
}

func TestSink_WriteAllocates0(t *testing.T) {
	s := open(t, t.TempDir(), Config{MaxBytes: -1, MaxAge: -1})
	b := batch(t, 0, 20)
	for range 200 {
		do(t, s.Write(b))
	}
	if n := testing.AllocsPerRun(1000, func() {
		if s.Write(b) != nil {
			panic("write")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	do(t, s.Close())
}

// Rotate ends the file now; what follows goes to another, and nothing is lost
// in between. With nothing written there is no file.
func TestSink_Rotate(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Config{})
	do(t, s.Rotate())
	do(t, s.Write(batch(t, 0, 2)))
	do(t, s.Rotate())
	if got := files(t, dir); len(got) != 1 || !strings.HasSuffix(firstKey(got), suffix) || got[firstKey(got)] != lines(0, 2) {
		t.Fatalf("%q", got)
	}
	do(t, s.Rotate())
	do(t, s.Write(batch(t, 2, 3)))
	do(t, s.Close())
	all := ""
	got := files(t, dir)
	for _, name := range slices.Sorted(maps.Keys(got)) {
		all += got[name]
	}
	if d := cmp.Diff(lines(0, 5), all); d != "" || len(got) != 2 {
		t.Errorf("%d files: %s", len(got), d)
	}
	if err := s.Rotate(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("closed: %v", err)
	}

	var out bytes.Buffer
	s = open(t, "-", Config{Stdout: &out})
	do(t, s.Write(batch(t, 0, 1)))
	do(t, s.Rotate())
	if out.String() != line(0) {
		t.Errorf("%q", out.String())
	}
}

func firstKey(m map[string]string) string {
	for k := range m {
		return k
	}
	return ""
}
