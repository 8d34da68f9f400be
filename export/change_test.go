package export

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ipfixsuite/export/spool"
	"ipfixsuite/rotation"
	"ipfixsuite/transport"
)

func (r *running) change(cause rotation.Cause, list ...transport.Dialer) {
	r.t.Helper()
	if err := r.Change(r.t.Context(), Settings{Collectors: list}, cause); err != nil {
		r.t.Fatal(err)
	}
}

// A collector that is removed carries data until another has a session, and
// is waited for; one that is added is used in its order. No record is lost or
// sent twice.
func TestChange_Collectors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var farms [4]*farm
		var dialers []transport.Dialer
		for i := range farms {
			farms[i] = &farm{props: dtlsLike, takes: 50 * time.Millisecond}
			dialers = append(dialers, farms[i])
		}
		a, b, c, d := dialers[0], dialers[1], dialers[2], dialers[3]
		e := start(t, Config{Dialer: a, Fallback: []transport.Dialer{b}, MaxDelay: 10 * time.Millisecond})
		n := 0
		more := func(what string, used *farm) {
			t.Helper()
			for range 300 {
				n++
				e.write(n, n)
				time.Sleep(10 * time.Millisecond)
			}
			if len(used.list()) == 0 {
				t.Fatalf("%s: no session", what)
			}
			last := used.list()[len(used.list())-1]
			last.mu.Lock()
			got := numbers(last.domains[0])
			last.mu.Unlock()
			if len(got) == 0 || got[len(got)-1] < n-5 {
				t.Fatalf("%s: record %d did not come there", what, n)
			}
		}
		more("the first", farms[0])
		e.change(rotation.None, c, b) // a is removed
		more("a new first one", farms[2])
		e.change(rotation.None, b, c) // the order changes
		more("the other way round", farms[1])
		e.change(rotation.None, b, c, d, a) // those behind are added
		more("the same", farms[1])
		e.change(rotation.Demand, b) // all others go
		more("on demand", farms[1])
		if err := e.close(time.Minute); err != nil {
			t.Fatal(err)
		}
		var got []int
		for i, f := range farms {
			if len(f.dialled()) != []int{1, 2, 1, 0}[i] {
				t.Errorf("collector %d was dialled %d times", i, len(f.dialled()))
			}
			for _, s := range f.list() {
				check(t, s)
				got = append(got, numbers(s.domains[0])...)
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, upTo(1, n)) {
			t.Errorf("%d records came of %d", len(got), n)
		}
		sum := e.Summary()
		if want := (RotationCauses{Path: 2, Demand: 1}); sum.RotationsByCause != want || sum.Rotations != 3 || sum.CollectorsLost != 0 || sum.RecordsReplayed != 0 {
			t.Errorf("%+v", sum)
		}
	})
}

// The collector in use is removed and the only one left is dead: the session
// is kept, and a new one is tried for until it comes.
func TestChange_RemovedIsKeptUntilThereIsAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &farm{props: dtlsLike, takes: 50 * time.Millisecond}
		up := time.Now().Add(40 * time.Second)
		b := &farm{props: dtlsLike, takes: 50 * time.Millisecond, make: func(int, *testSession) error {
			if time.Now().Before(up) {
				return errRefused
			}
			return nil
		}}
		e := start(t, Config{Dialer: a, MaxDelay: 10 * time.Millisecond})
		e.write(1, 10)
		time.Sleep(time.Second)
		e.change(rotation.None, b)
		for i := range 600 {
			e.write(11+i, 11+i)
			time.Sleep(100 * time.Millisecond)
		}
		if err := e.close(time.Minute); err != nil {
			t.Fatal(err)
		}
		if len(a.list()) != 1 || len(b.list()) != 1 || len(b.dialled()) < 4 {
			t.Fatalf("%d and %d sessions, %d attempts", len(a.list()), len(b.list()), len(b.dialled()))
		}
		old, next := numbers(a.list()[0].domains[0]), numbers(b.list()[0].domains[0])
		if len(old) < 400 || len(next) < 50 || !slices.Equal(append(old, next...), upTo(1, 610)) {
			t.Errorf("%d records on the old one, %d on the new", len(old), len(next))
		}
		b.checkSpacing(t)
	})
}

// A collector is removed while its session is being made, or primed.
func TestChange_RemovedUnderConstruction(t *testing.T) {
	for _, at := range []time.Duration{20 * time.Millisecond, 49 * time.Millisecond, 50 * time.Millisecond, 51 * time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			a := &farm{props: dtlsLike, takes: 50 * time.Millisecond}
			b := &farm{props: dtlsLike, takes: 50 * time.Millisecond, make: func(_ int, s *testSession) error {
				s.mute = true // it never becomes active
				return nil
			}}
			e := start(t, Config{Dialer: a, MaxDelay: 10 * time.Millisecond})
			e.write(1, 10)
			time.Sleep(5 * time.Second)
			e.change(rotation.None, b)
			time.Sleep(at)
			e.change(rotation.None, a)
			time.Sleep(5 * time.Second)
			e.write(11, 20)
			if err := e.close(time.Minute); err != nil {
				t.Fatal(err)
			}
			var got []int
			for _, s := range a.list() {
				check(t, s)
				got = append(got, numbers(s.domains[0])...)
			}
			if !slices.Equal(got, upTo(1, 20)) || e.Summary().CollectorsLost != 0 {
				t.Errorf("%v: %v, %+v", at, got, e.Summary())
			}
			for _, s := range b.list() {
				if !ended(s) {
					t.Errorf("%v: a session is left open", at)
				}
			}
		})
	}
}

// A period that changes, a cause that is given, and a rate.
func TestChange_Pace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &farm{props: dtlsLike, takes: 50 * time.Millisecond}
		e := start(t, Config{Dialer: f, Rotate: time.Hour, MaxDelay: 10 * time.Millisecond})
		e.write(1, 1)
		time.Sleep(10 * time.Minute)
		if n := len(f.list()); n != 1 {
			t.Fatalf("%d sessions", n)
		}
		if err := e.Change(t.Context(), Settings{Collectors: []transport.Dialer{f}, Rotate: time.Minute, FullHandshakeEvery: 2}, rotation.Certificate); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Minute)
		if n := len(f.list()); n < 11 || n > 16 {
			t.Errorf("%d sessions in 10 min of a period of 1 min", n)
		}
		if addr, ok := e.Remote(); !ok || addr.Port() != 4740 {
			t.Errorf("remote %v, %v", addr, ok)
		}
		if err := e.Change(t.Context(), Settings{Collectors: []transport.Dialer{f}, MaxRate: 10}, rotation.None); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		e.write(2, 101)
		if err := e.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		e.write(102, 201)
		if err := e.close(time.Minute); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took < 5*time.Second {
			t.Errorf("200 records at 10 a second took %v", took)
		}
		sum := e.Summary()
		if by := sum.RotationsByCause; by.Certificate != 1 || by.Period < 9 || by.Certificate+by.Period != sum.Rotations {
			t.Errorf("%+v", sum)
		}
		for name, s := range map[string]Settings{"no collector": {}, "negative": {Collectors: []transport.Dialer{f}, Rotate: -1}} {
			if e.Change(t.Context(), s, rotation.None) == nil {
				t.Errorf("%s: taken", name)
			}
		}
		if err := e.Change(t.Context(), Settings{Collectors: []transport.Dialer{f}}, rotation.None); !errors.Is(err, ErrClosed) && err != nil {
			t.Errorf("after the end: %v", err)
		}
	})
}

// taker collects what is handed over.
type taker struct {
	mu    sync.Mutex
	got   []int
	after int // takes no more than so many; negative: all
}

func (k *taker) take(_ *Template, rec []byte) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.after >= 0 && len(k.got) >= k.after {
		return ErrClosed
	}
	k.got = append(k.got, int(rec[6])<<8|int(rec[7]))
	return nil
}

// What an Exporter holds when it ends goes to others: nothing is lost, and
// only what was not confirmed may come twice.
func TestHandover(t *testing.T) {
	for _, c := range []struct {
		name   string
		setup  func(s *testSession)
		refuse bool
		spool  bool
		takes  int
		sent   int // records that the collector has when it begins
		all    bool
	}{
		{"a living collector confirms what it has", nil, false, false, -1, 40, true},
		{"a dead one does not", func(s *testSession) { s.mute, s.deaf = true, true }, false, false, -1, 0, true},
		{"one that was never there", nil, true, false, -1, 0, true},
		{"one that was never there, with a spool", nil, true, true, -1, 0, true},
		{"nobody takes it", nil, true, false, 30, 0, false},
		{"nobody takes it, with a spool", nil, true, true, 30, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				f := &farm{props: dtlsLike, takes: 10 * time.Millisecond, make: func(_ int, s *testSession) error {
					if c.refuse {
						return errRefused
					}
					return nil
				}}
				cfg := Config{Dialer: f, MaxDelay: 10 * time.Millisecond, StatsInterval: -1, QueueBytes: 1 << 20, MaxMessage: 400}
				if c.spool {
					cfg.SpoolDir = dir
				}
				e := start(t, cfg)
				if c.sent > 0 {
					e.write(1, c.sent)
					time.Sleep(10 * time.Second)
				}
				var session *testSession
				if !c.refuse {
					for len(f.list()) == 0 {
						time.Sleep(time.Millisecond)
					}
					session = f.list()[0]
				}
				if c.setup != nil {
					time.Sleep(time.Second)
					session.mu.Lock()
					c.setup(session)
					session.mu.Unlock()
				}
				e.write(c.sent+1, 1000)
				if c.spool {
					time.Sleep(20 * time.Second) // it is there now
				}
				e.write(1001, 1010)
				k := &taker{after: c.takes}
				drain, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				err := e.Handover(drain, t.Context(), k.take)
				<-e.res
				sum := e.Summary()
				all := slices.Clone(k.got)
				if session != nil {
					all = append(all, numbers(session.domains[0])...)
				}
				slices.Sort(all)
				twice := len(all)
				all = slices.Compact(all)
				twice -= len(all)
				passed := uint64(len(k.got))
				if passed != e.Passed() || twice > 0 {
					t.Errorf("%d came twice; %d passed on, it says %d", twice, passed, e.Passed())
				}
				if c.all {
					if !slices.Equal(all, upTo(1, 1010)) {
						t.Errorf("%d of 1010 records came", len(all))
					}
					if err != nil && !errors.Is(err, errUndrained) || sum.RecordsDropped != 0 || sum.RecordsUnconfirmed != 0 {
						t.Errorf("%v, %+v", err, sum)
					}
					// What others take is in their account.
					if sum.RecordsExported+passed != 1010 || sum.RecordsSent+passed != 1010 {
						t.Errorf("%d passed on, %+v", passed, sum)
					}
					return
				}
				if passed != uint64(c.takes) {
					t.Errorf("%d passed on", passed)
				}
				if !c.spool {
					if sum.RecordsDropped+passed != 1010 || err == nil {
						t.Errorf("%v, %d passed on, %+v", err, passed, sum)
					}
					return
				}
				s, err := spool.Open(dir, spool.Config{})
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close()
				// A message that was taken in part is there whole.
				if left := s.Stats().RecordsPending; left < 1010-passed || left > 1010-passed+30 || sum.RecordsDropped != 0 {
					t.Errorf("%d in the spool, %+v", left, sum)
				}
			})
		})
	}
}

// One that adopts another numbers Templates as that does, knows its options
// records, and tells both to its collector before any data.
func TestAdopt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, g := &farm{props: dtlsLike, takes: time.Millisecond}, &farm{props: dtlsLike, takes: time.Millisecond}
		cfg := Config{Dialer: f, Domain: 7, MaxDelay: 10 * time.Millisecond}
		o := start(t, cfg)
		gone, err := o.Define(0, flowSpecs[:1])
		if err != nil {
			t.Fatal(err)
		}
		o.Withdraw(gone)
		names, err := o.DefineIn(9, 1, flowSpecs)
		if err != nil {
			t.Fatal(err)
		}
		if err := o.FlowKeys(o.tmpl, 3); err != nil {
			t.Fatal(err)
		}
		for i := range 3 { // scopes 1 and 2; the first one's value changes
			if err := o.Write(t.Context(), names, flowRecord(1+i%2)); err != nil {
				t.Fatal(err)
			}
		}
		if err := o.ReportMetering(func() MeteringReport { return MeteringReport{IgnoredPackets: 5} }); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		cfg.Dialer = g
		e, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		ours, err := e.Adopt(o.Exporter)
		if err != nil {
			t.Fatal(err)
		}
		if a := ours[o.tmpl]; a == nil || a == o.tmpl || a.ID != o.tmpl.ID || a.Domain() != 7 || ours[gone] != nil {
			t.Errorf("%+v", ours)
		}
		for n := uint16(8); n < 12; n++ { // both go on alike
			specs := slices.Repeat(flowSpecs, int(n-6))
			x, err := o.Define(0, specs)
			if err != nil {
				t.Fatal(err)
			}
			if y, err := e.Define(0, specs); err != nil || x.ID != y.ID {
				t.Errorf("%v: %d and %d", err, x.ID, y.ID)
			}
		}
		res := make(chan error, 1)
		go func() { res <- e.Run(t.Context()) }()
		if err := e.Write(t.Context(), ours[o.tmpl], flowRecord(1)); err != nil {
			t.Fatal(err)
		}
		if err := e.Close(t.Context()); err != nil {
			t.Error(err)
		}
		<-res
		if err := o.close(time.Minute); err != nil {
			t.Error(err)
		}
		s := g.list()[0]
		check(t, s)
		if got := numbers(s.domains[7]); !slices.Equal(got, []int{1}) {
			t.Errorf("records %v", got)
		}
		// Two scopes of the other domain; flow keys, and at the end the
		// statistics with what the Metering Process ignored.
		var ignored, keys bool
		for _, opt := range s.domains[7].options {
			ignored = ignored || opt[ignoredPacketTotalCount] == 5
			keys = keys || opt[flowKeyIndicator] == 3
		}
		if len(s.domains[9].options) != 2 || !ignored || !keys {
			t.Errorf("options %v, %v", s.domains[9].options, s.domains[7].options)
		}
		if _, err := e.Adopt(o.Exporter); !errors.Is(err, errAdopt) {
			t.Errorf("adopted twice: %v", err)
		}
	})
}
