package export

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"ipfixsuite/ie"
	"ipfixsuite/ipfix"
	"ipfixsuite/rotation"
	"ipfixsuite/transport"
)

// die makes a session's collector one that is no more.
func (s *testSession) die() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mute, s.deaf = true, true
}

// A collector that dies right after the handshake, while the session is told
// its Templates, is known within DeadAfter as at any other time.
func TestDeath_RightAfterTheHandshake(t *testing.T) {
	for _, first := range []bool{true, false} {
		name := "as a session is replaced"
		if first {
			name = "of the first session"
		}
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var died time.Time
				f := &farm{props: dtlsLike, takes: 10 * time.Millisecond}
				victim := 1
				if first {
					victim = 0
				}
				f.make = func(i int, s *testSession) error {
					if i == victim {
						s.die()
						for _, old := range f.all {
							old.die()
						}
						died = time.Now()
					}
					return nil
				}
				e := start(t, Config{Dialer: f, MaxDelay: 10 * time.Millisecond})
				if !first {
					e.write(1, 100)
					time.Sleep(20 * time.Second)
					e.Rotate(rotation.Demand)
					time.Sleep(100 * time.Millisecond)
				}
				e.write(101, 200)
				time.Sleep(10 * time.Second)
				// DeadAfter, and the least backoff.
				if d := f.dialled(); len(d) < victim+2 || d[victim+1].Sub(died) > 3*time.Second+1300*time.Millisecond {
					t.Errorf("died at %v, dialled at %v", died, d)
				}
				if err := e.close(10 * time.Second); err != nil {
					t.Error(err)
				}
				last := f.list()[len(f.list())-1]
				if got := numbers(last.domains[0]); !slices.Contains(got, 101) || !slices.Contains(got, 200) {
					t.Errorf("%v came", got)
				}
				f.checkSpacing(t)
			})
		})
	}
}

// Nor does a collector that dies while it is being told thousands of Templates
// hold anything up.
func TestDeath_AmongTemplates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &farm{props: dtlsLike}
		e := start(t, Config{Dialer: f, Window: 16 << 10})
		time.Sleep(20 * time.Second)
		f.list()[0].die()
		died := time.Now()
		for i := range 5000 {
			spec := ipfix.FieldSpec{ID: ie.ID{PEN: 32473, Num: uint16(i)}, Length: 8}
			tmpl, err := e.Define(0, append([]ipfix.FieldSpec{spec}, flowSpecs...))
			if err != nil {
				t.Fatal(err)
			}
			if err := e.Write(t.Context(), tmpl, append(make([]byte, 8), flowRecord(i)...)); err != nil {
				t.Fatal(err)
			}
		}
		<-f.list()[0].done
		if d := time.Since(died); d > 3*time.Second {
			t.Errorf("known after %v", d)
		}
		if err := e.close(time.Minute); err != nil {
			t.Error(err)
		}
		s := f.list()[len(f.list())-1]
		check(t, s)
		if n := len(s.domains[0].records); n != 5000 || e.Summary().CollectorsLost != 1 {
			t.Errorf("%d records came, %+v", n, e.Summary())
		}
	})
}

// hanging is a farm whose handshakes number from up to to never end.
type hanging struct {
	*farm
	from, to int
	lag      time.Duration // to end when told to
	took     []time.Duration
}

func (h *hanging) Dial(ctx context.Context) (transport.Session, error) {
	if n := len(h.dialled()); n >= h.from && n < h.to {
		began := time.Now()
		h.mu.Lock()
		h.dials = append(h.dials, began)
		h.mu.Unlock()
		<-ctx.Done()
		h.took = append(h.took, time.Since(began))
		time.Sleep(h.lag)
		return nil, context.Cause(ctx)
	}
	return h.farm.Dial(ctx)
}

// A handshake that nobody answers any more does not hold the next one up: the
// first attempt has DeadAfter, the next ones more.
func TestDeath_InTheHandshake(t *testing.T) {
	for _, row := range []struct {
		name  string
		cause rotation.Cause
	}{{"with no session", rotation.None}, {"while the session dies", rotation.Demand}} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := &hanging{farm: &farm{props: dtlsLike}, from: 1, to: 4}
				e := start(t, Config{Dialer: h, MaxDelay: 10 * time.Millisecond})
				time.Sleep(20 * time.Second)
				if row.cause != rotation.None {
					e.Rotate(row.cause)
					time.Sleep(time.Second)
				}
				h.list()[0].fail(errRefused)
				e.write(1, 100)
				time.Sleep(time.Minute)
				if err := e.close(10 * time.Second); err != nil {
					t.Error(err)
				}
				want := []time.Duration{3 * time.Second, 6 * time.Second, 10 * time.Second}
				if !slices.Equal(h.took, want) {
					t.Errorf("attempts took %v, want %v", h.took, want)
				}
				atLeastOnce(t, 100, e.Summary(), h.list()...)
			})
		})
	}
}

// The first attempt to reach a collector of which nothing is known has time.
func TestDial_UnknownPath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &hanging{farm: &farm{props: dtlsLike}, to: 2}
		e := start(t, Config{Dialer: h})
		time.Sleep(time.Minute)
		_ = e.close(time.Second)
		if want := []time.Duration{10 * time.Second, 10 * time.Second}; !slices.Equal(h.took, want) {
			t.Errorf("attempts took %v, want %v", h.took, want)
		}
	})
}

// With others to try nobody is waited for that long.
func TestDial_OthersAreTried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &hanging{farm: &farm{props: dtlsLike}, to: 100}
		second := &farm{props: dtlsLike}
		e := start(t, Config{Dialer: h, Fallback: []transport.Dialer{second}})
		began := time.Now()
		time.Sleep(10 * time.Second)
		if d := second.dialled(); len(d) == 0 || d[0].Sub(began) > 5*time.Second {
			t.Errorf("the second was tried at %v, it began at %v", d, began)
		}
		_ = e.close(time.Second)
	})
}

// What was lost of the last message before a session is replaced is known at
// its end: a Sequence Number comes behind it (RFC 7011, Section 3.1).
func TestClosingWord_TellsOfTheTail(t *testing.T) {
	for _, props := range []transport.Properties{dtlsLike, udpLike} {
		synctest.Test(t, func(t *testing.T) {
			f := &farm{props: props}
			e := start(t, Config{Dialer: f, StatsInterval: -1, MaxDelay: 10 * time.Millisecond})
			other, err := e.DefineIn(9, 0, flowSpecs)
			if err != nil {
				t.Fatal(err)
			}
			e.write(1, 100)
			time.Sleep(20 * time.Second)
			for round := range 2 {
				s := f.list()[round]
				hear := func(deaf bool) {
					s.mu.Lock()
					s.deaf = deaf
					s.mu.Unlock()
				}
				hear(true)
				e.write(101, 150)
				for i := range 20 {
					if err := e.Write(t.Context(), other, flowRecord(i)); err != nil {
						t.Fatal(err)
					}
				}
				if err := e.Flush(t.Context()); err != nil {
					t.Fatal(err)
				}
				hear(false)
				if round == 0 {
					e.Rotate(rotation.Demand)
					time.Sleep(10 * time.Second)
				} else if err := e.close(10 * time.Second); err != nil {
					t.Fatal(err)
				}
				if a, b := s.domain(0).lost, s.domain(9).lost; a != 50 || b != 20 {
					t.Errorf("session %d: the collector knows of %d and %d missing, want 50 and 20", round, a, b)
				}
			}
			for _, s := range f.list() {
				check(t, s)
			}
		})
	}
}

// An id that was withdrawn on one session while the next already knew it, and
// is used again, is withdrawn there first (RFC 7011, Section 8.1, MUST).
func TestWithdraw_KnownToTheNextSession_RFC7011_8_1(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &farm{props: dtlsLike}
		f.props.Reliable = true
		f.make = func(i int, s *testSession) error {
			s.mute = i == 1 // is told all, and not yet proven
			return nil
		}
		e := start(t, Config{Dialer: f, TemplateRefresh: time.Second, StatsInterval: -1, DeadAfter: 30 * time.Second, MaxDelay: time.Millisecond})
		e.write(1, 10)
		time.Sleep(2 * time.Second)
		e.Rotate(rotation.Demand)
		time.Sleep(100 * time.Millisecond)
		e.Withdraw(e.tmpl)
		time.Sleep(2 * time.Second) // confirmed
		next := f.list()[1]
		next.mu.Lock()
		next.mute = false
		next.mu.Unlock()
		time.Sleep(time.Minute)
		old := e.tmpl.ID
		for i := 0; i == 0 || e.tmpl.ID != old; i++ { // until its turn comes again
			spec := ipfix.FieldSpec{ID: ie.ID{PEN: 32473, Num: uint16(i % 0x7fff)}, Length: uint16(4 + 4*(i/0x7fff))}
			var err error
			if e.tmpl, err = e.Define(0, append(slices.Clone(flowSpecs), spec)); err != nil {
				t.Fatal(err)
			}
			if e.tmpl.ID != old {
				e.Withdraw(e.tmpl)
			} else if err := e.Write(t.Context(), e.tmpl, append(flowRecord(1), make([]byte, spec.Length)...)); err != nil {
				t.Fatal(err)
			}
			if i%1000 == 0 {
				time.Sleep(time.Second)
			}
			if i > 70_000 {
				t.Fatal("it never does")
			}
		}
		if err := e.close(10 * time.Second); err != nil {
			t.Error(err)
		}
		for _, s := range f.list() {
			check(t, s)
		}
		if e.Summary().Rotations == 0 {
			t.Error("nothing was replaced")
		}
	})
}

// A collector that dies is not waited for where there is another: neither the
// attempt to reach it, nor the backoff after that, holds the other one up.
func TestDeath_TheOtherAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := &hanging{farm: &farm{props: dtlsLike}, from: 1, to: 100, lag: 1100 * time.Millisecond}
		second, third := &farm{props: dtlsLike, takes: 200 * time.Millisecond, make: func(int, *testSession) error { return errRefused }}, &farm{props: dtlsLike, takes: 200 * time.Millisecond}
		e := start(t, Config{Dialer: first, Fallback: []transport.Dialer{second, third}, MaxDelay: 10 * time.Millisecond})
		e.write(1, 100)
		time.Sleep(20 * time.Second)
		first.list()[0].die()
		died := time.Now()
		e.write(101, 200)
		time.Sleep(10 * time.Second)
		for i, limit := range []time.Duration{3 * time.Second, 4 * time.Second} {
			if d := []*farm{second, third}[i].dialled(); len(d) == 0 || d[0].Sub(died) > limit {
				t.Errorf("collector %d died at %v, the next one was tried at %v", i, died, d)
			}
		}
		if err := e.close(10 * time.Second); err != nil {
			t.Error(err)
		}
		atLeastOnce(t, 200, e.Summary(), slices.Concat(first.list(), third.list())...)
		all := slices.Concat(first.dialled(), second.dialled(), third.dialled())
		slices.SortFunc(all, time.Time.Compare)
		for i := 1; i < len(all); i++ {
			if gap := all[i].Sub(all[i-1]); gap < time.Second {
				t.Errorf("dialled again after %v", gap)
			}
		}
	})
}
