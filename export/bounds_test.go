package export

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipfixsuite/ie"
	"ipfixsuite/ipfix"
)

// What is dropped shows as a gap in the sequence numbers, and is reported.
func TestOffer_DropsAreTold_RFC7011_4_3(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTestSession(1, udpLike, 1400)
		d := &testDialer{next: []*testSession{nil, nil, s}}
		e := start(t, Config{Dialer: d, QueueBytes: 10 * 1180, ProcessID: 9})
		taken := 0
		for i := 1; i <= 2000; i++ {
			if e.Offer(e.tmpl, flowRecord(i)) {
				taken++
			}
		}
		if taken == 0 || taken == 2000 {
			t.Fatalf("%d of 2000 records taken by a bounded queue", taken)
		}
		time.Sleep(10 * time.Second) // the session opens
		e.write(2001, 2001)
		if err := e.close(5 * time.Second); err != nil {
			t.Error(err)
		}
		check(t, s)
		dom := s.domains[0]
		if diff := cmp.Diff(append(upTo(1, taken), 2001), numbers(dom)); diff != "" {
			t.Error(diff)
		}
		dropped := 2000 - taken
		if int(dom.lost) != dropped {
			t.Errorf("the gaps tell of %d lost records, dropped %d", dom.lost, dropped)
		}
		last := dom.options[len(dom.options)-1]
		packets := uint64((taken + 1 + 2000) * dropped / 2)
		got := []uint64{last[exportingProcessID], last[notSentFlowTotalCount], last[notSentPacketTotalCount], last[notSentOctetTotalCount]}
		if diff := cmp.Diff([]uint64{9, uint64(dropped), packets, 100 * packets}, got); diff != "" {
			t.Error(diff)
		}
		if sum := e.Summary(); sum.RecordsExported != 2001 || sum.RecordsDropped != uint64(dropped) || sum.RecordsSent != uint64(taken+1) {
			t.Errorf("%+v", sum)
		}
	})
}

// Write waits for room, and its context ends the wait.
func TestWrite_BlocksWithoutSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := start(t, Config{Dialer: &testDialer{}, QueueBytes: 4 * 1180})
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		var err error
		n := 0
		for ; err == nil; n++ {
			err = e.Write(ctx, e.tmpl, flowRecord(n))
		}
		if !errors.Is(err, context.DeadlineExceeded) || n < 100 {
			t.Errorf("%d records, then %v", n, err)
		}
		if err := e.close(3 * time.Second); err == nil {
			t.Error("closed without an error though nothing was sent")
		}
		sum := e.Summary()
		if sum.RecordsDropped != sum.RecordsExported || sum.RecordsSent != 0 {
			t.Errorf("%+v", sum)
		}
		if err := e.Write(t.Context(), e.tmpl, flowRecord(1)); !errors.Is(err, ErrClosed) {
			t.Errorf("write after close: %v", err)
		}
	})
}

// No more than Window octets are under way unconfirmed.
func TestWindow_BoundsWhatIsUnconfirmed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTestSession(1, dtlsLike, 1400)
		e := start(t, Config{Dialer: &testDialer{next: []*testSession{s}}, Window: 64 << 10})
		e.write(1, 100_000)
		if err := e.close(time.Minute); err != nil {
			t.Error(err)
		}
		check(t, s)
		if len(s.domains[0].records) != 100_000 || s.maxRead > 66<<10 || s.maxRead < 32<<10 {
			t.Errorf("%d records, at most %d octets unconfirmed", len(s.domains[0].records), s.maxRead)
		}
	})
}

func TestMaxRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTestSession(1, udpLike, 1400)
		e := start(t, Config{Dialer: &testDialer{next: []*testSession{s}}, MaxRate: 1000})
		begin := time.Now()
		e.write(1, 10_000)
		if err := e.close(time.Minute); err != nil {
			t.Error(err)
		}
		if d := time.Since(begin); d < 9500*time.Millisecond || d > 10500*time.Millisecond {
			t.Errorf("10000 records at 1000 a second took %v", d)
		}
		check(t, s)
	})
}

// A smaller path MTU: what is queued is packed anew.
func TestMaxMessage_Shrinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTestSession(1, udpLike, 400)
		e := start(t, Config{Dialer: &testDialer{next: []*testSession{s}}})
		e.write(1, 2000) // packed for 1180 octets
		time.Sleep(time.Second)
		s.mu.Lock()
		s.max = 200
		s.mu.Unlock()
		e.write(2001, 3000)
		if err := e.close(5 * time.Second); err != nil {
			t.Error(err)
		}
		check(t, s)
		if diff := cmp.Diff(upTo(1, 3000), numbers(s.domains[0])); diff != "" {
			t.Error(diff)
		}
		if st := e.Stats(); st.MessagesSplit == 0 || s.domains[0].lost != 0 {
			t.Errorf("%+v, lost %d", st, s.domains[0].lost)
		}
	})
}

func TestRecordTooLarge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTestSession(1, udpLike, 1400)
		e := start(t, Config{Dialer: &testDialer{next: []*testSession{s}}})
		big, err := e.Define(0, []ipfix.FieldSpec{{ID: ie.ID{Num: 82}, Length: ipfix.VariableLength}})
		if err != nil {
			t.Fatal(err)
		}
		rec := ipfix.AppendVariable(nil, make([]byte, 2000))
		if err := e.Write(t.Context(), big, rec); !errors.Is(err, ErrTooLarge) {
			t.Errorf("error %v", err)
		}
		e.write(1, 1)
		e.close(time.Second)
		check(t, s)
		if s.domains[0].lost != 1 || e.Summary().RecordsDropped != 1 {
			t.Errorf("lost %d, %+v", s.domains[0].lost, e.Summary())
		}
		if _, err := e.Define(0, slices.Repeat(flowSpecs, 300)); !errors.Is(err, ErrTooLarge) {
			t.Errorf("template of 600 fields: %v", err)
		}
	})
}
