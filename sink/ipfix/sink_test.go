package ipfix

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipfixsuite/ipfix"
	"ipfixsuite/record"
)

func TestSink_TemplatesBeforeData_RFC5655_7_2(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Config{})
	proto, tos := template(t, 256, 0, 4, 1), template(t, 257, 0, 5, 1)
	option := template(t, 258, 1, 144, 1, 41, 1)
	write(t, s,
		batch("r1", 1, 7, 100, proto, 6, 17),
		batch("r1", 1, 7, 100, tos, 1),
		batch("r1", 1, 7, 100, proto, 1),
		batch("2001:db8::1", 2, 7, 100, proto, 2),
		batch("r1", 1, 7, 101, option, 9, 9), // another export time
		batch("r1", 1, 8, 101, proto, 58),    // another domain
		batch("r1", 1, 7, 101, proto, 6),
	)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	want := map[string][]string{
		"r1-20260701T120000Z-000000.ipfix": {
			"message 7@100", "template 256/0: [{4 1}]", "data 256: 0611", "template 257/0: [{5 1}]", "data 257: 01", "data 256: 01",
			"message 7@101", "template 258/1: [{144 1} {41 1}]", "data 258: 0909",
			"message 8@101", "template 256/0: [{4 1}]", "data 256: 3a",
			"message 7@101", "data 256: 06",
		},
		"2001_db8__1~3aefc9c7-20260701T120000Z-000000.ipfix": {"message 7@100", "template 256/0: [{4 1}]", "data 256: 02"},
	}
	if diff := cmp.Diff(want, dumpAll(t, dir)); diff != "" {
		t.Error(diff)
	}
	st := s.Stats()
	if st.Records != 8 || st.Files != 2 || st.Messages != 5 || st.Open != 0 {
		t.Errorf("%+v", st)
	}
}

func TestSink_EachFileStandsAlone_RFC5655_7_3(t *testing.T) {
	dir := t.TempDir()
	now := epoch
	s := open(t, dir, Config{MaxAge: time.Minute, Now: func() time.Time { return now }})
	proto := template(t, 256, 0, 4, 1)
	write(t, s, batch("r1", 1, 7, 100, proto, 6))
	now = now.Add(time.Minute)
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	write(t, s, batch("r1", 1, 7, 160, proto, 17))
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	want := map[string][]string{
		"r1-20260701T120000Z-000000.ipfix":      {"message 7@100", "template 256/0: [{4 1}]", "data 256: 06"},
		"r1-20260701T120100Z-000000.ipfix.part": {"message 7@160", "template 256/0: [{4 1}]", "data 256: 11"},
	}
	if diff := cmp.Diff(want, dumpAll(t, dir)); diff != "" {
		t.Error(diff)
	}

	// Killed here: the next process finishes the file.
	after := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(after, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if st := open(t, after, Config{}).Stats(); st.FilesRecovered != 1 {
		t.Errorf("%+v", st)
	}
	if got := files(t, after); len(got) != 2 || strings.HasSuffix(got[1], ".part") {
		t.Errorf("%v", got)
	}
	now = now.Add(time.Minute)
	if err := s.Flush(); err != nil || s.Stats().Open != 0 {
		t.Errorf("a quiet series stays open: %v, %+v", err, s.Stats())
	}
}

// Nobody writes and nobody flushes: the file ends all the same.
func TestSink_QuietExporter(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s, err := Open(dir, Config{MaxAge: 10 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		write(t, s, batch("r1", 1, 7, 100, template(t, 256, 0, 4, 1), 6))
		time.Sleep(12 * time.Second)
		synctest.Wait()
		if diff := cmp.Diff([]string{"r1-20000101T000000Z-000000.ipfix"}, files(t, dir)); diff != "" {
			t.Error(diff)
		}
		if st := s.Stats(); st.Open != 0 || st.Files != 1 {
			t.Errorf("%+v", st)
		}
		if err := errors.Join(s.Close(), s.Close()); err != nil {
			t.Error(err)
		}
	})
}

func TestSink_SessionsDisagree(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Config{})
	write(t, s,
		batch("r1", 1, 7, 100, template(t, 256, 0, 4, 1), 1),
		batch("r1", 2, 7, 100, template(t, 256, 0, 5, 1), 2), // the id is taken
		batch("r1", 3, 7, 100, template(t, 300, 0, 4, 1), 3), // the same under another id
		batch("r1", 4, 7, 100, template(t, 256, 0, 5, 1), 4), // as session 2
		batch("r1", 4, 7, 100, template(t, 65535, 0, 6, 1), 5),
		batch("r1", 5, 7, 100, template(t, 256, 1, 5, 1), 6), // an options template
	)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"message 7@100", "template 256/0: [{4 1}]", "data 256: 01", "template 65535/0: [{5 1}]", "data 65535: 02", "data 256: 03", "data 65535: 04",
		"template 65534/0: [{6 1}]", "data 65534: 05", "template 65533/1: [{5 1}]", "data 65533: 06",
	}
	if diff := cmp.Diff(want, dump(t, filepath.Join(dir, files(t, dir)[0]))); diff != "" {
		t.Error(diff)
	}
	if st := s.Stats(); st.TemplatesRenumbered != 3 {
		t.Errorf("%+v", st)
	}
}

// A list's template gets another id, and so do lists in lists, multi lists and
// options about templates.
func TestSink_TemplateIdsInRecordsFollow_RFC6313(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Config{})
	other := batch("r1", 1, 7, 100, template(t, 300, 0, 5, 1), 1)
	inner := template(t, 300, 0, 4, 1)
	middle := template(t, 301, 0, 6, 1, 292, ipfix.VariableLength)
	outer := template(t, 302, 0, 292, ipfix.VariableLength, 293, ipfix.VariableLength, 291, ipfix.VariableLength)
	lists := func(id uint16) *ipfix.Template {
		for _, tm := range []*ipfix.Template{inner, middle} {
			if tm.ID == id {
				return tm
			}
		}
		return nil
	}
	b := batch("r1", 2, 7, 100, outer,
		14, 3, 0x01, 0x2D, // subTemplateList of 301
		0xAA, 4, 3, 0x01, 0x2C, 6, // its record: a list of 300
		0xBB, 3, 3, 0x01, 0x2C, // and one with an empty list
		11, 4, 0x01, 0x2C, 0, 6, 6, 17, 0x03, 0xE7, 0, 0, // multi list: 300; 999, which nobody knows
		13, 4, 0x01, 0x24, 0xFF, 0xFF, 3, 3, 0x01, 0x2C, 3, 3, 0x01, 0x2C, // basicList of two subTemplateLists
	)
	b.Lists = lists
	keys := batch("r1", 2, 7, 100, template(t, 303, 1, 145, 2, 173, 1), 0x01, 0x2C, 0x1F)
	keys.Lists = lists
	write(t, s, other, b, keys)
	if b.Body[3] != 0x2D {
		t.Error("the receive buffer was changed")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"message 7@100", "template 300/0: [{5 1}]", "data 300: 01",
		"template 302/0: [{292 65535} {293 65535} {291 65535}]",
		"template 301/0: [{6 1} {292 65535}]",
		"template 65535/0: [{4 1}]",
		"data 302: " + "0e03012d" + "aa0403ffff06" + "bb0303ffff" + "0b04ffff0006061103e70000" + "0d040124ffff" + "0303ffff" + "0303ffff",
		"template 303/1: [{145 2} {173 1}]", "data 303: ffff1f",
	}
	if diff := cmp.Diff(want, dump(t, filepath.Join(dir, files(t, dir)[0]))); diff != "" {
		t.Error(diff)
	}
	if st := s.Stats(); st.TemplatesMissing != 1 || st.TemplatesRenumbered != 1 {
		t.Errorf("%+v", st)
	}
}

func TestSink_BoundsEndFiles(t *testing.T) {
	for _, cfg := range []Config{{MaxTemplates: 3}, {MaxBytes: 100}, {MaxBytes: 1, MaxTemplates: 1}} {
		t.Run(fmt.Sprint(cfg.MaxTemplates, cfg.MaxBytes), func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir, cfg)
			var want []string
			sub := template(t, 400, 0, 4, 1)
			list := template(t, 401, 0, 292, ipfix.VariableLength)
			for i := range byte(10) {
				write(t, s, batch("r1", 1, 7, 100+uint32(i), template(t, 256+uint16(i), 0, 4, 1, 5, uint16(i)+1), make([]byte, int(i)+2)...))
				want = append(want, fmt.Sprintf("%x", make([]byte, int(i)+2)))
				b := batch("r1", 1, 7, 100+uint32(i), list, 4, 3, 0x01, 0x90, i)
				b.Lists = func(uint16) *ipfix.Template { return sub }
				write(t, s, b)
				want = append(want, fmt.Sprintf("04030190%02x", i))
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, n := range files(t, dir) {
				for _, line := range dump(t, filepath.Join(dir, n)) {
					if data, ok := strings.CutPrefix(line, "data "); ok {
						_, hexed, _ := strings.Cut(data, ": ")
						got = append(got, hexed)
					} else if !strings.HasPrefix(line, "template") && !strings.HasPrefix(line, "message") {
						t.Error(line)
					}
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			if len(files(t, dir)) < 2 {
				t.Error("one file only")
			}
		})
	}
}

func TestSink_OpenFilesAreBounded(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Config{MaxOpen: 2})
	proto := template(t, 256, 0, 4, 1)
	for i := range 10 {
		write(t, s, batch(fmt.Sprint("r", i), 1, 7, 100, proto, 6), batch("busy", 1, 7, 100, proto, byte(i)))
	}
	if st := s.Stats(); st.Open != 2 || st.SeriesEvicted != 9 || st.Files != 9 {
		t.Errorf("%+v", st)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if got := files(t, dir); len(got) != 11 {
		t.Errorf("%v", got)
	}
	if err := s.Write(batch("r1", 1, 7, 100, proto, 6)); err == nil {
		t.Error("written after Close")
	}
}

// Messages fill up and data of any size goes through.
func TestSink_LargeSets(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Config{})
	proto := template(t, 256, 0, 4, 1)
	var records int
	for _, n := range []int{1, 65515, 65515, 65000, 500, 20, 1, 65514, 40_000, 30_000} {
		write(t, s, batch("r1", 1, 7, 100, proto, slices.Repeat([]byte{6}, n)...))
		records += n
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	got := 0
	for _, line := range dump(t, filepath.Join(dir, files(t, dir)[0])) {
		if data, ok := strings.CutPrefix(line, "data 256: "); ok {
			got += len(data) / 2
		}
		if strings.HasPrefix(line, "sequence") {
			t.Error(line)
		}
	}
	if got != records {
		t.Errorf("%d records of %d", got, records)
	}
}

func t20(t testing.TB) *record.Batch {
	tm := template(t, 256, 0, 8, 4, 12, 4, 7, 2, 11, 2, 4, 1, 1, 8, 2, 8, 152, 8, 153, 8, 6, 2, 10, 4, 14, 4, 5, 1, 136, 1, 58, 2, 61, 1, 16, 4, 17, 4, 34, 8, 96, ipfix.VariableLength)
	rec := binary.BigEndian.AppendUint64(make([]byte, tm.MinLen-1), 0)[:tm.MinLen-1]
	rec = append(append(rec, 14), "an application"...)
	return batch("192.0.2.1", 1, 7, 100, tm, slices.Repeat(rec, 15)...)
}

func TestSink_NoAllocations(t *testing.T) {
	s := open(t, t.TempDir(), Config{})
	b := t20(t)
	for range 1000 {
		write(t, s, b)
	}
	i := 0
	if n := testing.AllocsPerRun(1000, func() {
		i++
		b.ExportTime = uint32(i / 100)
		b.Domain = uint32(i / 300 % 2)
		write(t, s, b)
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
	s.Close()
}

func BenchmarkSink(b *testing.B) {
	dir := b.TempDir()
	s := open(b, dir, Config{MaxBytes: 64 << 20})
	batch := t20(b)
	b.SetBytes(int64(len(batch.Body)))
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		if n++; n%40_000 == 0 {
			b.StopTimer()
			for _, f := range files(b, dir) {
				if strings.HasSuffix(f, ".ipfix") {
					os.Remove(filepath.Join(dir, f))
				}
			}
			b.StartTimer()
		}
		if err := s.Write(batch); err != nil {
			b.Fatal(err)
		}
	}
	s.Close()
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(batch.Records), "ns/record")
}

// Rotate ends the files of all exporters; the next ones begin with templates
// again.
func TestSink_Rotate(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Config{})
	tm := template(t, 300, 0, 4, 1)
	for range 2 {
		write(t, s, batch("a", 1, 1, 7, tm, 6), batch("b", 2, 1, 7, tm, 17))
		if err := s.Rotate(); err != nil {
			t.Fatal(err)
		}
	}
	if got := files(t, dir); len(got) != 4 || s.Stats().Files != 4 || s.Stats().Open != 0 {
		t.Errorf("%v, %+v", got, s.Stats())
	}
	for name, lines := range dumpAll(t, dir) {
		if len(lines) != 3 || !strings.HasPrefix(lines[1], "template ") || !strings.HasPrefix(lines[2], "data ") {
			t.Errorf("%s: %q", name, lines)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Rotate(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}
