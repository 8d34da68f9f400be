package export

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipfixsuite/ie"
	"ipfixsuite/ipfix"
	"ipfixsuite/transport"
)

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
