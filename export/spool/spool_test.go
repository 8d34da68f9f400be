package spool

import (
	"bytes"
	"encoding/binary"
	"errors"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipfixsuite/ipfix"
)

func TestSpool_OrderTimesDomains(t *testing.T) {
	s := open(t, t.TempDir(), Config{})
	a, b := numbered(t, 256, 4), numbered(t, 256, 0)
	appendAll(t, s, message(a, 1, 0, 3), message(b, 2, 3, 2), message(a, 1, 5, 1))
	unstamped := message(a, 1, 6, 1)
	binary.BigEndian.PutUint32(unstamped.Data[4:], 0)
	appendAll(t, s, unstamped)

	type got struct {
		Domain, Time uint32
		Numbers      []uint64
		Len          int
	}
	want := []got{
		{1, 1_700_000_000, upTo(0, 3), 16 + 4 + 36},
		{2, 1_700_000_003, upTo(3, 5), 16 + 4 + 16},
		{1, 1_700_000_005, upTo(5, 6), 16 + 4 + 12},
		{1, uint32(epoch.Unix()), upTo(6, 7), 16 + 4 + 12},
	}
	var have []got
	var e Entry
	for s.Next(&e) {
		h, err := ipfix.ParseHeader(e.Data)
		if err != nil || h != e.Header || int(h.Length) != len(e.Data) {
			t.Errorf("header %+v of %+v: %v", e.Header, h, err)
		}
		have = append(have, got{h.Domain, h.ExportTime, numbers(t, &e), len(e.Data)})
	}
	if diff := cmp.Diff(want, have); diff != "" {
		t.Error(diff)
	}
	balanced(t, s)
}

func TestSpool_AckSurvivesRestart(t *testing.T) {
	dir := t.TempDir()
	p := numbered(t, 256, 0)
	for _, clean := range []bool{true, false} {
		s := open(t, dir, Config{})
		if clean {
			for i := range uint64(10) {
				appendAll(t, s, message(p, 1, 10*i, 10))
			}
		}
		var e Entry
		for range 3 {
			if !s.Next(&e) {
				t.Fatal("nothing there")
			}
		}
		if err := s.Ack(e.Pos); err != nil {
			t.Fatal(err)
		}
		s.Next(&e) // handed out, not marked
		balanced(t, s)
		if clean {
			s.Close()
		} else {
			s.crash()
		}
	}
	s := open(t, dir, Config{})
	if n := s.Stats().RecordsRecovered; n != 40 {
		t.Errorf("%d records recovered, want 40", n)
	}
	got, last := drain(t, s)
	if diff := cmp.Diff(upTo(60, 100), got); diff != "" {
		t.Error(diff)
	}
	if err := s.Ack(last); err != nil {
		t.Fatal(err)
	}
	balanced(t, s)
	s.Close()
	if paths, _ := filepath.Glob(filepath.Join(dir, "spool-*")); len(paths) > 0 {
		t.Errorf("delivered, still there: %v", paths)
	}
	// Numbers are not used again, though no segment tells them any more.
	s = open(t, dir, Config{})
	appendAll(t, s, message(p, 1, 500, 1))
	if got, _ := drain(t, s); !cmp.Equal(got, upTo(500, 501)) {
		t.Errorf("got %v", got)
	}
}

func TestSpool_Rewind(t *testing.T) {
	s := open(t, t.TempDir(), Config{SegmentBytes: minSegmentBytes})
	p := numbered(t, 256, 1200)
	for i := range uint64(600) {
		appendAll(t, s, message(p, 1, i, 1))
	}
	var e Entry
	for range 100 {
		s.Next(&e)
	}
	if err := s.Ack(e.Pos); err != nil {
		t.Fatal(err)
	}
	for _, further := range []int{50, 400} { // in the same segment, two further
		for range further {
			s.Next(&e)
		}
		s.Rewind()
		balanced(t, s)
	}
	got, last := drain(t, s)
	if diff := cmp.Diff(upTo(100, 600), got); diff != "" {
		t.Error(diff)
	}
	if err := s.Ack(last); err != nil {
		t.Fatal(err)
	}
	if st := s.Stats(); st.RecordsDelivered != 600 || st.RecordsReplayed != 600+450 || st.RecordsPending != 0 {
		t.Errorf("%+v", st)
	}
	balanced(t, s)
}

func TestSpool_LimitDropsOldest(t *testing.T) {
	var told []uint64
	s := open(t, t.TempDir(), Config{MaxBytes: 2 * minSegmentBytes, SegmentBytes: minSegmentBytes, Dropped: func(e *Entry) { told = append(told, numbers(t, e)...) }})
	p := numbered(t, 256, 1200)
	for i := range uint64(300) {
		appendAll(t, s, message(p, 1, i, 1))
	}
	var e Entry
	for range 10 {
		s.Next(&e)
	}
	for i := uint64(300); i < 2000; i++ {
		appendAll(t, s, message(p, 1, i, 1))
		if n := s.Stats().BytesPending; n > 2*minSegmentBytes {
			t.Fatalf("%d octets", n)
		}
	}
	balanced(t, s)
	st := s.Stats()
	if st.RecordsDropped != uint64(len(told)) || st.RecordsPending != 2000-st.RecordsDropped {
		t.Errorf("%d told, %+v", len(told), st)
	}
	// The ten were handed out before their segment went: they may have
	// arrived, until Rewind says that they have not.
	if told[0] != 10 || told[len(told)-1] != uint64(len(told))+9 {
		t.Errorf("dropped %d to %d", told[0], told[len(told)-1])
	}
	s.Rewind()
	if got := s.Stats().RecordsDropped; got != st.RecordsDropped+10 {
		t.Errorf("%d dropped, want 10 more than %d", got, st.RecordsDropped)
	}
	balanced(t, s)
	got, last := drain(t, s)
	if diff := cmp.Diff(upTo(uint64(len(told))+10, 2000), got); diff != "" {
		t.Error(diff)
	}
	if err := s.Ack(last); err != nil {
		t.Fatal(err)
	}
	balanced(t, s)
}

func TestSpool_LimitDropsWhatIsInFlight(t *testing.T) {
	s := open(t, t.TempDir(), Config{MaxBytes: 2 * minSegmentBytes, SegmentBytes: minSegmentBytes})
	p := numbered(t, 256, 1200)
	appendAll(t, s, message(p, 1, 0, 10))
	var e Entry
	s.Next(&e)
	for i := uint64(10); i < 1000; i++ {
		appendAll(t, s, message(p, 1, i, 1))
	}
	if err := s.Ack(e.Pos); err != nil { // it has arrived after all
		t.Fatal(err)
	}
	s.Rewind()
	balanced(t, s)
	if st := s.Stats(); st.RecordsDelivered != 10 {
		t.Errorf("%+v", st)
	}
}

func TestSpool_Lock(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Config{})
	if _, err := Open(dir, Config{}); !errors.Is(err, ErrLocked) {
		t.Errorf("second Open: %v", err)
	}
	s.Close()
	open(t, dir, Config{})
}

func TestAppend_Refuses(t *testing.T) {
	s := open(t, t.TempDir(), Config{})
	p := numbered(t, 256, 0)
	m := message(p, 1, 0, 1)
	for name, bad := range map[string]Message{
		"nothing":     {},
		"no template": {Data: m.Data},
		"cut":         {Data: m.Data[:len(m.Data)-1], Templates: m.Templates},
		"two":         {Data: append(bytes.Clone(m.Data), m.Data...), Templates: m.Templates},
	} {
		if err := s.Append(bad); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if err := s.Append(Message{Data: m.Data[:16]}); err == nil {
		t.Error("header that claims more: taken")
	}
	if st := s.Stats(); st.RecordsSpooled != 0 || st.WriteErrors != 0 {
		t.Errorf("%+v", st)
	}
	s.Close()
	if err := s.Append(m); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func TestSync_Interval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, t.TempDir(), Config{SyncEvery: time.Second})
		appendAll(t, s, message(numbered(t, 256, 0), 1, 0, 1))
		dirty := func() bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.w.dirty
		}
		if !dirty() {
			t.Error("synced at once")
		}
		time.Sleep(time.Second + time.Millisecond)
		synctest.Wait()
		if dirty() {
			t.Error("not synced")
		}
	})
}

func TestParseSync(t *testing.T) {
	for in, want := range map[string]Sync{"never": SyncNever, "always": SyncAlways, "": SyncInterval, "200ms": SyncInterval} {
		if got, _, err := ParseSync(in); got != want || err != nil {
			t.Errorf("%q: %v %v", in, got, err)
		}
	}
	for _, in := range []string{"often", "-1s", "0"} {
		if _, _, err := ParseSync(in); err == nil {
			t.Errorf("%q: accepted", in)
		}
	}
}
