package export

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ipfixsuite/export/spool"
	"ipfixsuite/rotation"
	"ipfixsuite/transport"
)

// farm is a Dialer that makes sessions as long as it is asked, after a
// handshake of some time, and watches how many there are.
type farm struct {
	props transport.Properties
	takes time.Duration // a handshake
	make  func(i int, s *testSession) error

	mu      sync.Mutex
	all     []*testSession
	dials   []time.Time
	most    int // sessions and handshakes at once
	forgets int
	dialing int
}

func (f *farm) Forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.forgets++
}

func (f *farm) Dial(ctx context.Context) (transport.Session, error) {
	f.mu.Lock()
	f.dials = append(f.dials, time.Now())
	f.dialing++
	n := f.dialing
	for _, s := range f.all {
		if !ended(s) {
			n++
		}
	}
	f.most = max(f.most, n)
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		f.dialing--
		f.mu.Unlock()
	}()
	select {
	case <-time.After(f.takes):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	s := newTestSession(uint64(len(f.all)+1), f.props, 1400)
	if f.make != nil {
		if err := f.make(len(f.dials)-1, s); err != nil {
			return nil, err
		}
	}
	f.all = append(f.all, s)
	return s, nil
}

func (f *farm) list() []*testSession {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.all)
}

func (f *farm) dialled() []time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.dials)
}

func (f *farm) checkSpacing(t *testing.T) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.most > 2 {
		t.Errorf("%d sessions at once", f.most)
	}
	for i := 1; i < len(f.dials); i++ {
		if gap := f.dials[i].Sub(f.dials[i-1]); gap < time.Second {
			t.Errorf("dial %d after %v", i, gap)
		}
	}
}

// Sessions follow each other without a record lost or sent twice, on every
// kind of transport; each begins with all Templates and options records.
func TestRotate_RecordOnOneSessionOnly(t *testing.T) {
	for _, tc := range []struct {
		name  string
		props transport.Properties
	}{{"udp", udpLike}, {"dtls", dtlsLike}, {"tcp", tcpLike}} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &farm{props: tc.props, takes: 70 * time.Millisecond}
				e := start(t, Config{Dialer: f, Rotate: 2 * time.Second, FullHandshakeEvery: 4, MaxDelay: 10 * time.Millisecond})
				if err := e.FlowKeys(e.tmpl, 3); err != nil {
					t.Fatal(err)
				}
				for i := range 10_000 {
					e.write(i+1, i+1)
					time.Sleep(3 * time.Millisecond)
				}
				if err := e.close(10 * time.Second); err != nil {
					t.Fatal(err)
				}
				var got []int
				for i, s := range f.list() {
					check(t, s)
					if s.domains[0].lost != 0 {
						t.Errorf("session %d: gap of %d", i, s.domains[0].lost)
					}
					data := slices.Index(s.order, "data")
					if data < 0 {
						data = len(s.order)
					}
					if before := s.order[:data]; slices.Index(before, "template") != 0 || !slices.Contains(before, "options") {
						t.Errorf("session %d begins with %v", i, before)
					}
					got = append(got, numbers(s.domains[0])...)
				}
				if !slices.Equal(got, upTo(1, 10_000)) {
					t.Errorf("%d records of 10000, or out of order", len(got))
				}
				sum := e.Summary()
				if n := uint64(len(f.list())); n < 14 || n > 22 || sum.Rotations != n-1 || sum.SessionsOpened != n || sum.RecordsReplayed != 0 || sum.CollectorsLost != 0 {
					t.Errorf("%d sessions, %+v", n, sum)
				}
				f.checkSpacing(t)
				if f.forgets < 1 {
					t.Error("never a full handshake")
				}
			})
		})
	}
}

// A collector without heartbeats is asked by a handshake from time to time.
// Nobody doubts it because of that.
func TestRotate_HandshakeInsteadOfHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tls := tcpLike
		tls.Secure = true
		f := &farm{props: tls, takes: 70 * time.Millisecond}
		e := start(t, Config{Dialer: f, Rotate: 2 * time.Second, MaxDelay: 10 * time.Millisecond})
		e.write(1, 100)
		time.Sleep(20 * time.Second)
		e.write(101, 200)
		if err := e.close(10 * time.Second); err != nil {
			t.Fatal(err)
		}
		sum := e.Summary()
		if sum.Rotations < 9 || sum.RotationsByCause.Period != sum.Rotations || sum.CollectorsLost != 0 || sum.RecordsUnconfirmed != 0 {
			t.Errorf("%+v", sum)
		}
		atLeastOnce(t, 200, sum, f.list()...)
	})
}

// A candidate that fails in any step costs the session in use nothing.
func TestRotate_CandidateFails(t *testing.T) {
	for _, tc := range []struct {
		name string
		make func(i int, s *testSession) error
	}{
		{"refused", func(int, *testSession) error { return errRefused }},
		{"takes nothing", func(_ int, s *testSession) error {
			s.sendErr = func(int) error { return errRefused }
			return nil
		}},
		{"takes only the first message", func(_ int, s *testSession) error {
			s.sendErr = func(i int) error {
				if i > 0 {
					return errRefused
				}
				return nil
			}
			return nil
		}},
		{"answers no probe", func(_ int, s *testSession) error { s.mute = true; return nil }},
		{"ends at once", func(_ int, s *testSession) error { s.fail(errRefused); return nil }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &farm{props: dtlsLike, make: func(i int, s *testSession) error {
					if i%2 == 1 {
						return tc.make(i, s)
					}
					return nil
				}}
				e := start(t, Config{Dialer: f, Rotate: 3 * time.Second})
				for i := range 1200 {
					e.write(i+1, i+1)
					time.Sleep(50 * time.Millisecond)
				}
				if err := e.close(10 * time.Second); err != nil {
					t.Fatal(err)
				}
				var got []int
				for _, s := range f.list() {
					check(t, s)
					got = append(got, numbers(s.domains[0])...)
				}
				if !slices.Equal(got, upTo(1, 1200)) {
					t.Errorf("%d records of 1200, or out of order", len(got))
				}
				if sum := e.Summary(); sum.Rotations < 3 || sum.CollectorsLost != 0 || sum.RecordsReplayed != 0 {
					t.Errorf("%+v", sum)
				}
				f.checkSpacing(t)
			})
		})
	}
}

// Thousands of Templates on the new session do not hold the data on the old
// one back, and those defined meanwhile are there before their data.
func TestRotate_ManyTemplates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &farm{props: dtlsLike, takes: 10 * time.Millisecond}
		e := start(t, Config{Dialer: f, Rotate: 5 * time.Second, Window: 32 << 10, MaxDelay: 5 * time.Millisecond})
		define := func(i int) *Template {
			specs := slices.Clone(flowSpecs)
			specs = append(specs, field(82, uint16(i+1)))
			tmpl, err := e.Define(0, specs)
			if err != nil {
				t.Fatal(err)
			}
			return tmpl
		}
		for i := range 1000 {
			define(i)
		}
		n := 0
		for i := range 1000 {
			tmpl := define(1000 + i%100)
			if err := e.Write(t.Context(), tmpl, append(flowRecord(i), make([]byte, 1001+i%100)...)); err != nil {
				n++ // larger than a message
			}
			e.write(i+1, i+1)
			time.Sleep(20 * time.Millisecond)
		}
		if err := e.close(time.Minute); err != nil {
			t.Fatal(err)
		}
		came := 0
		for _, s := range f.list() {
			check(t, s)
			came += len(s.domains[0].records)
			if s.domains[0].lost > uint32(n) {
				t.Errorf("gap of %d", s.domains[0].lost)
			}
		}
		if came != 2000-n || e.Summary().Rotations < 3 {
			t.Errorf("%d records came of %d, %+v", came, 2000-n, e.Summary())
		}
	})
}

// A Template that ends is withdrawn for good only when nothing described by it
// can have to be sent again.
func TestReplay_WithdrawnTemplate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &farm{props: dtlsLike, make: func(i int, s *testSession) error {
			s.props.Reliable = true // withdrawals are sent
			return nil
		}}
		e := start(t, Config{Dialer: f, Heartbeat: time.Minute})
		time.Sleep(time.Second)
		first := f.list()[0]
		first.mu.Lock()
		first.mute = true
		first.mu.Unlock()
		e.write(1, 400)
		e.Withdraw(e.tmpl)
		if err := e.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		first.fail(errRefused)
		time.Sleep(5 * time.Second)
		if err := e.close(10 * time.Second); err != nil {
			t.Fatal(err)
		}
		atLeastOnce(t, 400, e.Summary(), f.list()...)
		if sum := e.Summary(); sum.RecordsReplayed != 400 || sum.CollectorsLost != 1 {
			t.Errorf("%+v", sum)
		}
		last := f.list()[1].order
		if !slices.Contains(last, "withdrawal") || slices.Contains(last[slices.Index(last, "withdrawal"):], "data") {
			t.Errorf("second session: %v", last)
		}
	})
}

func TestRotate_OnDemand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &farm{props: dtlsLike}
		e := start(t, Config{Dialer: f})
		time.Sleep(5 * time.Second)
		e.Rotate(rotation.Demand)
		time.Sleep(5 * time.Second)
		if sum := e.Summary(); sum.Rotations != 1 || len(f.list()) != 2 || !ended(f.list()[0]) {
			t.Errorf("%d sessions, %+v", len(f.list()), sum)
		}
		e.close(time.Second)
	})
}

// Hints that anybody can forge cause a handshake a second at most, and where
// the collector answers probes none at all.
func TestHints_Forged(t *testing.T) {
	for _, heartbeat := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			f := &farm{props: dtlsLike, make: func(_ int, s *testSession) error {
				s.forged = true
				s.noProbe = !heartbeat
				return nil
			}}
			e := start(t, Config{Dialer: f})
			time.Sleep(20 * time.Second)
			f.checkSpacing(t)
			if heartbeat && len(f.list()) > 1 {
				t.Errorf("%d sessions because of forged hints", len(f.list()))
			}
			if sum := e.Summary(); sum.CollectorsLost != 0 {
				t.Errorf("%+v", sum)
			}
			e.close(time.Second)
		})
	}
}

// With several collectors the next takes over, and the first again when it is
// well, without a record lost.
func TestFailover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		dead := false
		first := &farm{props: dtlsLike, takes: 20 * time.Millisecond, make: func(int, *testSession) error {
			mu.Lock()
			defer mu.Unlock()
			if dead {
				return errRefused
			}
			return nil
		}}
		second := &farm{props: dtlsLike, takes: 20 * time.Millisecond}
		e := start(t, Config{Dialer: first, Fallback: []transport.Dialer{second}, MaxDelay: 10 * time.Millisecond})
		n := 0
		write := func(d time.Duration) {
			for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
				n++
				e.write(n, n)
			}
		}
		write(10 * time.Second)
		mu.Lock()
		dead = true
		mu.Unlock()
		died := time.Now()
		first.list()[0].mu.Lock()
		first.list()[0].mute = true
		first.list()[0].deaf = true
		first.list()[0].mu.Unlock()
		write(10 * time.Second)
		if len(second.list()) != 1 {
			t.Fatalf("%d sessions with the second collector", len(second.list()))
		}
		if d := second.dialled()[0].Sub(died); d > 5*time.Second {
			t.Errorf("failover after %v", d)
		}
		write(20 * time.Second)
		mu.Lock()
		dead = false
		mu.Unlock()
		write(3 * time.Minute)
		if l := first.list(); len(l) < 2 || ended(l[len(l)-1]) {
			t.Error("does not return")
		}
		if err := e.close(10 * time.Second); err != nil {
			t.Fatal(err)
		}
		atLeastOnce(t, n, e.Summary(), slices.Concat(first.list(), second.list())...)
		if sum := e.Summary(); sum.CollectorsLost != 1 || sum.Rotations < 1 || len(first.dialled()) > 8 {
			t.Errorf("%d dials, %+v", len(first.dialled()), sum)
		}
	})
}

// What was sent, but not confirmed when time ran out, is told; with a spool it
// is kept for the next run.
func TestClose_UnconfirmedIsCounted(t *testing.T) {
	for _, spooled := range []bool{false, true} {
		dir := ""
		if spooled {
			dir = t.TempDir()
		}
		synctest.Test(t, func(t *testing.T) {
			f := &farm{props: dtlsLike, make: func(i int, s *testSession) error {
				s.mute = i > 0
				return nil
			}}
			e := start(t, Config{Dialer: f, SpoolDir: dir, Spool: spool.Config{Sync: spool.SyncNever}, MaxDelay: 10 * time.Millisecond, DeadAfter: time.Minute})
			time.Sleep(time.Second)
			s := f.list()[0]
			s.mu.Lock()
			s.mute = true
			s.mu.Unlock()
			e.write(1, 100)
			time.Sleep(time.Second)
			err := e.close(2 * time.Second)
			sum := e.Summary()
			if spooled {
				if err != nil || sum.RecordsSpooled != 100 || sum.RecordsUnconfirmed != 0 || sum.RecordsSent != 0 {
					t.Errorf("%v, %+v", err, sum)
				}
			} else if err == nil || sum.RecordsUnconfirmed != 100 || sum.RecordsSent != 100 {
				t.Errorf("%v, %+v", err, sum)
			}
		})
	}
}
