package export

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipfixsuite/ie"
	"ipfixsuite/ipfix"
	"ipfixsuite/transport"
)

func check(t *testing.T, s *testSession) {
	t.Helper()
	for _, p := range s.problem {
		t.Errorf("session %d: %s", s.id, p)
	}
}

func TestExporter_RecordsArriveInOrder(t *testing.T) {
	for _, tc := range []struct {
		name      string
		props     transport.Properties
		templates uint64 // twice, and twice at the end, which comes so soon
	}{
		{"unreliable", udpLike, 12},
		{"confirmed by the process", dtlsLike, 12},
		{"reliable", tcpLike, 3},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newTestSession(1, tc.props, 1400)
				e := start(t, Config{Dialer: &testDialer{next: []*testSession{s}}, Domain: 7})
				e.write(1, 1000)
				if err := e.close(10 * time.Second); err != nil {
					t.Fatal(err)
				}
				check(t, s)
				if diff := cmp.Diff(upTo(1, 1000), numbers(s.domains[7])); diff != "" {
					t.Error(diff)
				}
				sum := e.Summary()
				sum.CPUSeconds, sum.HeartbeatsSent, sum.HeartbeatsAnswered, sum.MessagesSent = 0, 0, 0, 0
				want := Summary{RecordsExported: 1000, RecordsSent: 1000, ControlRecordsSent: 2, TemplatesSent: tc.templates, SessionsOpened: 1}
				if diff := cmp.Diff(want, sum); diff != "" {
					t.Error(diff)
				}
				if d := s.domains[7]; d.lost != 0 || d.next != 1002 {
					t.Errorf("sequence number %d, lost %d; want 1002 with options records counted, 0", d.next, d.lost)
				}
			})
		})
	}
}

// A record waits no longer than MaxDelay for company.
func TestExporter_MaxDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTestSession(1, udpLike, 1400)
		e := start(t, Config{Dialer: &testDialer{next: []*testSession{s}}, MaxDelay: 300 * time.Millisecond})
		time.Sleep(5 * time.Second)
		begin := time.Now()
		e.write(1, 3)
		time.Sleep(2 * time.Second)
		s.mu.Lock()
		got := numbers(s.domains[0])
		last := s.times[len(s.times)-1].Sub(begin)
		s.mu.Unlock()
		if !slices.Equal(got, upTo(1, 3)) || last < 300*time.Millisecond || last > 310*time.Millisecond {
			t.Errorf("records %v after %v", got, last)
		}
		if err := e.close(time.Second); err != nil {
			t.Error(err)
		}
		check(t, s)
	})
}

// Templates are sent again on UDP, after a moment and then regularly.
func TestTemplateRefresh_RFC7011_8_4(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTestSession(1, udpLike, 1400)
		e := start(t, Config{Dialer: &testDialer{next: []*testSession{s}}, TemplateRefresh: 20 * time.Second, StatsInterval: -1})
		begin := time.Now()
		time.Sleep(65 * time.Second)
		var at []time.Duration
		s.mu.Lock()
		for _, x := range s.times {
			at = append(at, x.Sub(begin))
		}
		s.mu.Unlock()
		want := []time.Duration{0, 0, 500 * time.Millisecond, 3500 * time.Millisecond, 23500 * time.Millisecond, 43500 * time.Millisecond, 63500 * time.Millisecond}
		if diff := cmp.Diff(want, at); diff != "" {
			t.Error(diff)
		}
		e.close(time.Second)
		check(t, s)
	})
}

func TestTemplateRefresh_ByMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTestSession(1, udpLike, 1400)
		e := start(t, Config{Dialer: &testDialer{next: []*testSession{s}}, TemplateRefresh: -1, TemplateRefreshMessages: 100, StatsInterval: -1})
		time.Sleep(time.Minute)
		before := e.Summary().TemplatesSent
		for i := range 30 {
			e.write(i*840+1, (i+1)*840) // ten messages of 84 records
			if err := e.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if got := e.Summary().TemplatesSent - before; got < 2 || got > 4 {
			t.Errorf("templates sent %d times in 300 messages, want about 3", got)
		}
		e.close(time.Second)
		check(t, s)
	})
}

func TestWithdraw_RFC7011_8_1(t *testing.T) {
	for _, tc := range []struct {
		name  string
		props transport.Properties
		want  int
	}{{"reliable", tcpLike, 1}, {"unreliable: MUST NOT, 8.4", udpLike, 0}} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newTestSession(1, tc.props, 1400)
				e := start(t, Config{Dialer: &testDialer{next: []*testSession{s}}})
				old := e.tmpl
				e.write(1, 500)
				e.Withdraw(old)
				e.Withdraw(old) // again: nothing
				var err error
				if e.tmpl, err = e.Define(0, flowSpecs); err != nil {
					t.Fatal(err)
				}
				if e.tmpl.ID == old.ID {
					t.Error("the id is reused at once")
				}
				e.write(501, 600)
				if err := e.close(time.Second); err != nil {
					t.Error(err)
				}
				check(t, s)
				if diff := cmp.Diff(upTo(1, 600), numbers(s.domains[0])); diff != "" {
					t.Error(diff)
				}
				n := 0
				for _, o := range s.order {
					if o == "withdrawal" {
						n++
					}
				}
				if n != tc.want {
					t.Errorf("%d withdrawals, want %d", n, tc.want)
				}
			})
		})
	}
}

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

// A session that dies is replaced; the new one begins with all Templates and
// options records, and nothing queued is lost.
func TestSessionLost_NextIsPrimed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newTestSession(1, dtlsLike, 1400), newTestSession(2, dtlsLike, 1400)
		d := &testDialer{next: []*testSession{a, nil, b}}
		e := start(t, Config{Dialer: d})
		if err := e.FlowKeys(e.tmpl, 3); err != nil {
			t.Fatal(err)
		}
		e.write(1, 500)
		time.Sleep(2 * time.Second)
		a.fail(errRefused)
		e.write(501, 1000)
		time.Sleep(20 * time.Second)
		e.write(1001, 1100)
		if err := e.close(5 * time.Second); err != nil {
			t.Error(err)
		}
		check(t, a)
		check(t, b)
		atLeastOnce(t, 1100, e.Summary(), a, b)
		if i := slices.Index(b.order, "data"); slices.Index(b.order, "template") != 0 || !slices.Contains(b.order[:i], "options") {
			t.Errorf("second session begins with %v", b.order[:i])
		}
		if keys := b.domains[0].options[0]; keys[flowKeyIndicator] != 3 || keys[templateID] != uint64(e.tmpl.ID) {
			t.Errorf("flow keys %v", keys)
		}
		sum := e.Summary()
		if sum.CollectorsLost != 1 || sum.SessionsOpened != 2 || sum.SessionsResumed != 1 || sum.RecordsDropped != 0 {
			t.Errorf("%+v", sum)
		}
		for i := 1; i < len(d.dials); i++ {
			if gap := d.dials[i].Sub(d.dials[i-1]); gap < time.Second {
				t.Errorf("dialled again after %v", gap)
			}
		}
	})
}

// A collector that answers no probe any more is given up after DeadAfter.
func TestHeartbeat_Unanswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newTestSession(1, dtlsLike, 1400), newTestSession(2, dtlsLike, 1400)
		e := start(t, Config{Dialer: &testDialer{next: []*testSession{a, b}}, Heartbeat: time.Second, DeadAfter: 3 * time.Second})
		time.Sleep(10*time.Second + 500*time.Millisecond)
		if s := e.Summary(); s.HeartbeatsAnswered < 9 || s.HeartbeatsAnswered != s.HeartbeatsSent {
			t.Errorf("%+v", s)
		}
		a.mu.Lock()
		a.mute = true
		a.mu.Unlock()
		begin := time.Now()
		<-a.done
		if d := time.Since(begin); d > 5*time.Second {
			t.Errorf("given up after %v", d)
		}
		time.Sleep(5 * time.Second)
		e.write(1, 1)
		if err := e.close(5 * time.Second); err != nil {
			t.Error(err)
		}
		check(t, b)
		if s := e.Summary(); s.CollectorsLost != 1 || len(b.domains[0].records) != 1 || s.HeartbeatsSent != s.HeartbeatsAnswered+1 {
			t.Errorf("%+v", s)
		}
	})
}

func TestHeartbeat_PeerWithout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTestSession(1, dtlsLike, 1400)
		s.noProbe = true
		e := start(t, Config{Dialer: &testDialer{next: []*testSession{s}}, Window: 2000})
		e.write(1, 5000)
		time.Sleep(10 * time.Second)
		if err := e.close(5 * time.Second); err != nil {
			t.Error(err)
		}
		check(t, s)
		if len(s.domains[0].records) != 5000 || s.probes != 1 {
			t.Errorf("%d records, %d probes", len(s.domains[0].records), s.probes)
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

// Templates are sent within the window as well, give or take a half.
func TestWindow_Templates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTestSession(1, dtlsLike, 1400)
		e := start(t, Config{Dialer: &testDialer{next: []*testSession{s}}, Window: 64 << 10})
		for i := range 10_000 {
			spec := ipfix.FieldSpec{ID: ie.ID{PEN: 32473, Num: uint16(i)}, Length: 8}
			if _, err := e.Define(0, append([]ipfix.FieldSpec{spec}, flowSpecs...)); err != nil {
				t.Fatal(err)
			}
		}
		e.write(1, 1000)
		if err := e.close(time.Minute); err != nil {
			t.Error(err)
		}
		check(t, s)
		if sum := e.Summary(); sum.TemplatesSent < 20_000 || s.maxRead > 98<<10 || len(s.domains[0].records) != 1000 {
			t.Errorf("at most %d octets unconfirmed, %+v", s.maxRead, sum)
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

// An error that passes costs nothing; a message that is refused for itself
// costs only its records, and the sequence numbers tell.
func TestSendError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTestSession(1, udpLike, 1400)
		fails := 0
		s.sendErr = func(i int) error {
			switch {
			case i == 10 && fails < 4:
				fails++
				return errRefused
			case i == 20 && fails < 4+sendTries:
				fails++
				return transport.ErrTooLarge
			}
			return nil
		}
		e := start(t, Config{Dialer: &testDialer{next: []*testSession{s}}})
		e.write(1, 5000)
		if err := e.close(5 * time.Second); err != nil {
			t.Error(err)
		}
		check(t, s)
		st := e.Stats()
		d := s.domains[0]
		if st.SendErrors != 4+sendTries || st.RecordsDropped < 50 || st.RecordsDropped > 100 || int(d.lost) != int(st.RecordsDropped) || len(d.records)+int(st.RecordsDropped) != 5000 {
			t.Errorf("%+v, lost %d of %d", st, d.lost, len(d.records))
		}
	})
}

// A session that takes nothing any more is replaced; nothing is lost.
func TestSendError_Lasting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newTestSession(1, udpLike, 1400), newTestSession(2, udpLike, 1400)
		a.sendErr = func(i int) error {
			if i >= 10 {
				return errRefused
			}
			return nil
		}
		e := start(t, Config{Dialer: &testDialer{next: []*testSession{a, b}}})
		e.write(1, 5000)
		time.Sleep(20 * time.Second)
		if err := e.close(5 * time.Second); err != nil {
			t.Error(err)
		}
		check(t, a)
		check(t, b)
		atLeastOnce(t, 5000, e.Summary(), a, b)
		if sum := e.Summary(); sum.CollectorsLost != 1 || sum.RecordsDropped != 0 {
			t.Errorf("%+v", sum)
		}
	})
}

func TestDomains_CountApart_RFC7011_3_1(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTestSession(1, tcpLike, 1400)
		e := start(t, Config{Dialer: &testDialer{next: []*testSession{s}}, Domain: 1, StatsInterval: -1})
		other, err := e.DefineIn(2, 0, flowSpecs)
		if err != nil {
			t.Fatal(err)
		}
		e.write(1, 300)
		for i := 1; i <= 200; i++ {
			if err := e.Write(t.Context(), other, flowRecord(i)); err != nil {
				t.Fatal(err)
			}
		}
		e.close(time.Second)
		check(t, s)
		if a, b := s.domains[1], s.domains[2]; a.next != 300 || b.next != 200 || a.lost+b.lost != 0 {
			t.Errorf("sequence numbers %d and %d", a.next, b.next)
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

func TestGiveUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := start(t, Config{Dialer: &testDialer{}, GiveUp: 10 * time.Second})
		err := <-e.res
		e.res <- err
		if !errors.Is(err, errRefused) {
			t.Errorf("error %v", err)
		}
		e.close(time.Second)
	})
}

// The last probe is a barrier: who stays silent has not confirmed.
func TestClose_Unconfirmed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTestSession(1, dtlsLike, 1400)
		s.mute = true
		e := start(t, Config{Dialer: &testDialer{next: []*testSession{s}}})
		e.write(1, 10)
		begin := time.Now()
		if err := e.close(3 * time.Second); err == nil {
			t.Error("closed without an error")
		}
		if d := time.Since(begin); d > 3*time.Second+closeTimeout {
			t.Errorf("took %v", d)
		}
	})
}

func TestStatistics_RFC7011_4(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTestSession(1, tcpLike, 1400)
		e := start(t, Config{Dialer: &testDialer{next: []*testSession{s}}, Domain: 5, ProcessID: 77, StatsInterval: 10 * time.Second})
		first := time.Now().Add(-time.Minute)
		err := e.ReportMetering(func() MeteringReport {
			return MeteringReport{IgnoredPackets: 3, IgnoredOctets: 200, First: first, Last: first.Add(time.Second)}
		})
		if err != nil {
			t.Fatal(err)
		}
		e.write(1, 100)
		time.Sleep(25 * time.Second)
		if err := e.close(time.Second); err != nil {
			t.Error(err)
		}
		check(t, s)
		d := s.domains[5]
		if len(d.options) != 9 { // at 10 s, 20 s and the end
			t.Fatalf("%d options records", len(d.options))
		}
		n := uint64(0)
		for _, o := range s.order {
			if o == "data" {
				n++
			}
		}
		final := d.options[6:]
		if m := final[0]; m[observationDomainID] != 5 || m[meteringProcessID] != 77 || m[exportedFlowRecordTotalCount] != n || m[exportedMessageTotalCount] == 0 || m[exportedOctetTotalCount] < 1600 {
			t.Errorf("metering process statistics %v", m)
		}
		if r := final[1]; r[exportingProcessID] != 77 || r[notSentFlowTotalCount] != 0 {
			t.Errorf("exporting process reliability %v", r)
		}
		if r := final[2]; r[ignoredPacketTotalCount] != 3 || r[ignoredOctetTotalCount] != 200 || r[observationTimeMilliseconds] != uint64(first.UnixMilli()+1000) {
			t.Errorf("metering process reliability %v", r)
		}
		if diff := cmp.Diff([]int{2, 1, 2}, d.scopes[6:]); diff != "" {
			t.Error(diff)
		}
	})
}

// Who gives up says after what time, why, what it costs and what to do.
func TestGiveUp_SaysWhatToDo(t *testing.T) {
	for _, row := range []struct {
		reached bool
		n       int
		text    string
		hint    string
	}{
		{false, 1, "given up after 10s without a session: connection refused\n1 record was not sent", "listen there"},
		{true, 2, "given up after 10s without a session: connection refused\n2 records were not sent", "there was a session before"},
	} {
		synctest.Test(t, func(t *testing.T) {
			d := &testDialer{}
			s := newTestSession(1, dtlsLike, 1400)
			if row.reached {
				d.next = append(d.next, s)
			}
			e := start(t, Config{Dialer: d, GiveUp: 10 * time.Second})
			time.Sleep(2 * time.Second)
			s.fail(errRefused)
			synctest.Wait()
			e.write(1, row.n)
			err := <-e.res
			e.res <- err
			_ = e.close(time.Second)
			var hinted interface{ Hint() string }
			if err == nil || err.Error() != row.text || !errors.As(err, &hinted) || !strings.Contains(hinted.Hint(), row.hint) || !strings.Contains(hinted.Hint(), "--spool") {
				t.Errorf("error %q, hint %v", err, hinted)
			}
		})
	}
}
