package export

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

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
