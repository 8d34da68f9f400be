package spool

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// fewMessages leaves a segment under way with ten messages of three records,
// as a dead process would, and returns its octets.
func fewMessages(t testing.TB) []byte {
	t.Helper()
	dir := t.TempDir()
	s := open(t, dir, Config{})
	a, b := numbered(t, 256, 2), numbered(t, 257, 0)
	for i := range uint64(5) {
		appendAll(t, s, message(a, 1, 6*i, 3), message(b, 2, 6*i+3, 3))
	}
	s.crash()
	data, err := os.ReadFile(partName(dir, 1))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestRecover_CutAtEachOctet(t *testing.T) {
	data := fewMessages(t)
	dir := t.TempDir()
	last := 0
	for n := range len(data) + 1 {
		if err := os.WriteFile(partName(dir, uint64(n+1)), data[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		s := open(t, dir, Config{Sync: SyncNever})
		got, pos := drain(t, s)
		if !cmp.Equal(got, upTo(0, uint64(len(got)))) || len(got)%3 != 0 || len(got) < last {
			t.Fatalf("cut at %d: %v", n, got)
		}
		last = len(got)
		if len(got) > 0 {
			if err := s.Ack(pos); err != nil {
				t.Fatal(err)
			}
		}
		st := s.Stats()
		if st.RecordsRecovered != uint64(len(got)) || st.RecordsCorrupt != 0 || st.BytesPending != 0 {
			t.Fatalf("cut at %d: %+v", n, st)
		}
		s.Close()
	}
	if last != 30 {
		t.Errorf("%d records of the whole file", last)
	}
}

// TestReplay_GarbledAtEachOctet: a garbled octet costs its message, and those
// that need its Templates; nothing wrong is ever delivered.
func TestReplay_GarbledAtEachOctet(t *testing.T) {
	data := fewMessages(t)
	least := 30
	for i := range data {
		dir := t.TempDir()
		bad := slices.Clone(data)
		bad[i] ^= 0x41
		if err := os.WriteFile(finishedName(dir, 7, 30), bad, 0o600); err != nil {
			t.Fatal(err)
		}
		s := open(t, dir, Config{Sync: SyncNever})
		got, _ := drain(t, s)
		for j, n := range got {
			if n >= 30 || j > 0 && n <= got[j-1] {
				t.Fatalf("octet %d: %v", i, got)
			}
		}
		least = min(least, len(got))
		st := s.Stats()
		if st.RecordsCorrupt != uint64(30-len(got)) || len(got) == 30 || st.BytesCorrupt == 0 {
			t.Fatalf("octet %d: %d of 30 records, %+v", i, len(got), st)
		}
		balanced(t, s)
		s.Close()
	}
	if least < 15 {
		t.Errorf("one octet cost %d of 30 records", 30-least)
	}
}

func TestReplay_HoleAndGarbage(t *testing.T) {
	data := fewMessages(t)
	hole := slices.Clone(data)
	clear(hole[400:600])
	dir := t.TempDir()
	if err := os.WriteFile(partName(dir, 3), append(hole, "garbage\x00\x0a\x00\x30 and more"...), 0o600); err != nil {
		t.Fatal(err)
	}
	s := open(t, dir, Config{})
	st := s.Stats()
	got, last := drain(t, s)
	if len(got) == 0 || len(got) == 30 || st.RecordsRecovered != uint64(len(got)) || st.BytesTorn != 20 {
		t.Errorf("%v, %+v", got, st)
	}
	if got[len(got)-1] != 29 {
		t.Errorf("what stands behind the hole is lost: %v", got)
	}
	if err := s.Ack(last); err != nil {
		t.Fatal(err)
	}
	balanced(t, s)
}

func TestReplay_SegmentVanishes(t *testing.T) {
	dir := t.TempDir()
	p := numbered(t, 256, 1200)
	s := open(t, dir, Config{SegmentBytes: minSegmentBytes})
	for i := range uint64(500) {
		appendAll(t, s, message(p, 1, i, 1))
	}
	paths, _ := filepath.Glob(filepath.Join(dir, "*.ipfix"))
	os.Remove(paths[0])
	got, last := drain(t, s)
	if st := s.Stats(); len(got) >= 500 || st.RecordsCorrupt != uint64(500-len(got)) || got[len(got)-1] != 499 {
		t.Errorf("%d records, %+v", len(got), st)
	}
	if err := s.Ack(last); err != nil {
		t.Fatal(err)
	}
	if st := s.Stats(); st.RecordsPending != 0 {
		t.Errorf("%+v", st)
	}
}

func TestCursor_SlotsInTurn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cursor")
	c, err := openCursor(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range uint64(5) {
		if err := c.store(Position{serial: i + 1, offset: int64(i * 10), records: i}); err != nil {
			t.Fatal(err)
		}
	}
	c.f.Close()
	whole, _ := os.ReadFile(path)
	for i := range whole {
		bad := slices.Clone(whole)
		bad[i] ^= 0xff
		os.WriteFile(path, bad, 0o600)
		c, err := openCursor(path)
		if err != nil {
			t.Fatal(err)
		}
		c.f.Close()
		if c.pos.serial != 5 && c.pos.serial != 4 {
			t.Errorf("octet %d garbled: %+v", i, c.pos)
		}
	}
	os.WriteFile(path, whole[:20], 0o600)
	if c, err := openCursor(path); err != nil || c.pos != (Position{}) {
		t.Errorf("cut: %+v %v", c.pos, err)
	}
}

// TestAppend_DiskFull: a real file system without room, where one may be
// mounted.
func TestAppend_DiskFull(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("spool-test", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("no file system of 1 MiB: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	s := open(t, filepath.Join(dir, "spool"), Config{MaxBytes: 64 << 20, SegmentBytes: minSegmentBytes})
	p := numbered(t, 256, 1200)
	var taken []uint64
	fill := func(from, n uint64) (refused uint64) {
		for i := from; i < from+n; i++ {
			switch err := s.Append(message(p, 1, i, 1)); {
			case err == nil:
				taken = append(taken, i)
			case errors.Is(err, syscall.ENOSPC):
				refused++
			default:
				t.Fatal(err)
			}
		}
		return refused
	}
	refused := fill(0, 1500)
	if refused < 400 || len(taken) < 400 {
		t.Errorf("%d refused, %d taken", refused, len(taken))
	}
	balanced(t, s)
	// Half of it is delivered: there is room again.
	var e Entry
	var got []uint64
	for range len(taken) / 2 {
		if !s.Next(&e) {
			t.Fatal("nothing to hand out")
		}
		got = append(got, numbers(t, &e)...)
	}
	if err := s.Ack(e.Pos); err != nil {
		t.Fatal(err)
	}
	more := fill(1500, 100)
	if more > 0 {
		t.Errorf("%d refused though there is room", more)
	}
	refused += more + fill(1600, 1000)
	st := s.Stats()
	if st.RecordsRefused != refused || st.WriteErrors != refused || st.RecordsSpooled != uint64(len(taken)) {
		t.Errorf("%d refused, %d taken, %+v", refused, len(taken), st)
	}
	s.crash() // with the disk full
	s = open(t, filepath.Join(dir, "spool"), Config{MaxBytes: 64 << 20, SegmentBytes: minSegmentBytes})
	rest, last := drain(t, s)
	if diff := cmp.Diff(taken, append(got, rest...)); diff != "" {
		t.Error(diff)
	}
	if err := s.Ack(last); err != nil {
		t.Fatal(err)
	}
	balanced(t, s)
	s.Close()
}

// model is what a Spool is to be: a list of records and how far they came.
type model struct {
	next    uint64   // number of the next record
	pending []uint64 // not marked
	handed  int      // of these
	marks   []Position
	at      []int // marks[i] is behind pending[:at[i]]
}

// TestSpool_Simulation runs random operations, deaths and restarts among
// them, against the model.
func TestSpool_Simulation(t *testing.T) {
	seeds := uint64(200)
	if testing.Short() {
		seeds = 20
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { simulate(t, seed) })
	}
}

func simulate(t *testing.T, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 1))
	dir := t.TempDir()
	cfg := Config{Sync: SyncNever, SegmentBytes: minSegmentBytes}
	s := open(t, dir, cfg)
	shapes := []Message{{}, {}, {}}
	var m model
	again := func() { // what was handed out comes again
		m.handed, m.marks, m.at = 0, nil, nil
	}
	for range 300 {
		switch op := rnd.IntN(20); {
		case op < 9:
			p := numbered(t, uint16(256+rnd.IntN(3)), uint16(100*rnd.IntN(len(shapes))))
			n := 1 + rnd.IntN(min(200, 60_000/p.RecordLen))
			appendAll(t, s, message(p, uint32(rnd.IntN(2)), m.next, n))
			m.pending = append(m.pending, upTo(m.next, m.next+uint64(n))...)
			m.next += uint64(n)
		case op < 15:
			var e Entry
			ok := s.Next(&e)
			if ok != (m.handed < len(m.pending)) {
				t.Fatalf("Next: %v, %d of %d handed out", ok, m.handed, len(m.pending))
			}
			if !ok {
				continue
			}
			if want, got := m.pending[m.handed:m.handed+e.Records], numbers(t, &e); !slices.Equal(want, got) {
				t.Fatal(cmp.Diff(want, got))
			}
			m.handed += e.Records
			m.marks, m.at = append(m.marks, e.Pos), append(m.at, m.handed)
		case op < 17 && len(m.marks) > 0:
			i := rnd.IntN(len(m.marks))
			if err := s.Ack(m.marks[i]); err != nil {
				t.Fatal(err)
			}
			n := m.at[i]
			m.pending, m.handed = m.pending[n:], m.handed-n
			m.marks, m.at = m.marks[i+1:], m.at[i+1:]
			for j := range m.at {
				m.at[j] -= n
			}
		case op == 17:
			s.Rewind()
			again()
		case op == 18:
			s.Close()
			s = open(t, dir, cfg)
			again()
		case op == 19:
			torn := rnd.IntN(2) == 0 && s.w != nil
			part := partName(dir, s.serial)
			s.crash()
			if torn { // a message that did not get whole into the file
				f, err := os.OpenFile(part, os.O_APPEND|os.O_WRONLY, 0)
				if err != nil {
					t.Fatal(err)
				}
				junk := message(numbered(t, 256, 0), 0, 1<<40, 50).Data
				f.Write(junk[:1+rnd.IntN(len(junk)-1)])
				f.Close()
			}
			s = open(t, dir, cfg)
			again()
		}
		if got := s.Stats().RecordsPending; got != uint64(len(m.pending)) {
			t.Fatalf("%d records pending, want %d", got, len(m.pending))
		}
	}
	balanced(t, s)
	got, _ := drain(t, s)
	if want := m.pending[m.handed:]; !slices.Equal(want, got) {
		t.Fatal(cmp.Diff(want, got))
	}
}
