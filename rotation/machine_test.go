package rotation

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var epoch = time.Unix(1_700_000_000, 0)

func half() float64 { return 0.5 }

// steps collects what a Machine asks for at once.
func steps(m *Machine, now time.Time) []Action {
	var out []Action
	for {
		a := m.Advance(now)
		if a.Op == Nothing {
			return out
		}
		out = append(out, a)
	}
}

// bring takes the Machine to an active session.
func bring(t *testing.T, m *Machine, now time.Time) ID {
	t.Helper()
	a := m.Advance(now)
	if a.Op != Build {
		t.Fatalf("asks for %+v, not for a session", a)
	}
	m.Built(now, a.ID, true, a.Full)
	if p := m.Advance(now); p.Op != Prime || p.ID != a.ID {
		t.Fatalf("asks for %+v after the handshake", p)
	}
	m.Primed(now, a.ID)
	if p := m.Advance(now); p.Op != Prove || p.ID != a.ID {
		t.Fatalf("asks for %+v after priming", p)
	}
	m.Proved(now, a.ID)
	if p := m.Advance(now); p.Op != Swap || p.ID != a.ID {
		t.Fatalf("asks for %+v after the proof", p)
	}
	return a.ID
}

// The whole life of two sessions, step by step.
func TestMakeBeforeBreak_Mentz_3_2(t *testing.T) {
	m := New(Config{Period: time.Minute, FullEvery: 3}, half)
	if diff := cmp.Diff([]Action{{Op: Build, ID: 1, Cause: Lost, Full: true}}, steps(m, epoch)); diff != "" {
		t.Fatal(diff)
	}
	m.Built(epoch, 1, true, true)
	m.Advance(epoch)
	m.Primed(epoch, 1)
	m.Advance(epoch)
	m.Proved(epoch, 1)
	if diff := cmp.Diff([]Action{{Op: Swap, ID: 1, Cause: Lost, Full: true}}, steps(m, epoch)); diff != "" {
		t.Error(diff)
	}
	due := epoch.Add(time.Minute - time.Minute/8) // half of the jitter
	if !m.Next().Equal(due) || m.Active() != 1 {
		t.Errorf("next at %v, active %d", m.Next(), m.Active())
	}
	if got := steps(m, due.Add(-time.Millisecond)); got != nil {
		t.Errorf("before its time: %+v", got)
	}
	if diff := cmp.Diff([]Action{{Op: Build, ID: 2, Cause: Period}}, steps(m, due)); diff != "" {
		t.Error(diff)
	}
	m.Built(due, 2, true, false)
	if diff := cmp.Diff([]Action{{Op: Prime, ID: 2, Cause: Period}}, steps(m, due)); diff != "" {
		t.Error(diff)
	}
	m.Primed(due, 2)
	if diff := cmp.Diff([]Action{{Op: Prove, ID: 2, Cause: Period}}, steps(m, due)); diff != "" {
		t.Error(diff)
	}
	if m.Active() != 1 {
		t.Error("data went to the new session before it was proven")
	}
	m.Proved(due, 2)
	want := []Action{{Op: Swap, ID: 2, Old: 1, Cause: Period}, {Op: Drain, ID: 1, Cause: Lost, Full: true}}
	if diff := cmp.Diff(want, steps(m, due)); diff != "" {
		t.Error(diff)
	}
	m.Drained(due, 1)
	if diff := cmp.Diff([]Action{{Op: Close, ID: 1, Cause: Lost, Full: true}}, steps(m, due)); diff != "" {
		t.Error(diff)
	}
	m.Closed(due, 1)
	now := due
	var full []bool
	for range 5 {
		now = now.Add(time.Minute)
		a := m.Advance(now)
		full = append(full, a.Full)
		m.Built(now, a.ID, true, a.Full)
		m.Advance(now)
		m.Primed(now, a.ID)
		m.Advance(now)
		m.Proved(now, a.ID)
		d := steps(m, now)
		m.Drained(now, d[1].ID)
		m.Closed(now, steps(m, now)[0].ID)
	}
	if diff := cmp.Diff([]bool{false, true, false, false, true}, full); diff != "" {
		t.Errorf("full handshakes: %s", diff)
	}
}

// What fails beside it leaves the active session as it is, whatever the step.
func TestFailure_LeavesTheOldUntouched(t *testing.T) {
	for _, tc := range []struct {
		name string
		fail func(m *Machine, now time.Time, id ID) time.Time
	}{
		{"refused", func(m *Machine, now time.Time, id ID) time.Time { m.Built(now, id, false, false); return now }},
		{"handshake takes too long", func(m *Machine, now time.Time, id ID) time.Time { return now.Add(DefaultBuildTimeout) }},
		{"priming takes too long", func(m *Machine, now time.Time, id ID) time.Time {
			m.Built(now, id, true, false)
			return now.Add(DefaultPrimeTimeout)
		}},
		{"lost while primed", func(m *Machine, now time.Time, id ID) time.Time {
			m.Built(now, id, true, false)
			m.Advance(now)
			m.Lost(now, id)
			return now
		}},
		{"lost while proving", func(m *Machine, now time.Time, id ID) time.Time {
			m.Built(now, id, true, false)
			m.Advance(now)
			m.Primed(now, id)
			m.Advance(now)
			m.Lost(now, id)
			return now
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := New(Config{}, half)
			first := bring(t, m, epoch)
			now := epoch.Add(time.Minute)
			m.Want(Certificate)
			a := m.Advance(now)
			if a.Op != Build || a.Cause != Certificate {
				t.Fatalf("%+v", a)
			}
			now = tc.fail(m, now, a.ID)
			var c Action
			for _, s := range steps(m, now) {
				c = s
			}
			if c.Op != Close || c.ID != a.ID || !c.Failed {
				t.Errorf("the failed session is not closed: %+v", c)
			}
			m.Closed(now, a.ID)
			if m.Active() != first {
				t.Errorf("active is %d", m.Active())
			}
			if got := steps(m, now.Add(DefaultRetryMin)); got != nil {
				t.Errorf("tried again without a backoff: %+v", got)
			}
			b := m.Advance(now.Add(DefaultRetryMin + DefaultRetryMin/4))
			if b.Op != Build || b.Cause != Certificate || !b.Full {
				t.Errorf("then %+v", b)
			}
		})
	}
}

// However many hints come, handshakes begin no faster than one a second.
func TestSuspicion_Spaced(t *testing.T) {
	m := New(Config{}, half)
	bring(t, m, epoch)
	builds := 0
	for ms := range 10_000 {
		now := epoch.Add(time.Duration(ms) * time.Millisecond)
		m.Want(Suspicion)
		for _, a := range steps(m, now) {
			switch a.Op {
			case Build:
				builds++
				m.Built(now, a.ID, true, a.Full)
			case Prime:
				m.Primed(now, a.ID)
			case Prove:
				m.Proved(now, a.ID)
			case Drain:
				m.Drained(now, a.ID)
			case Close:
				m.Closed(now, a.ID)
			}
		}
	}
	if builds > 10 {
		t.Errorf("%d handshakes in 10 s", builds)
	}
}

func TestVolume(t *testing.T) {
	m := New(Config{Records: 100, Octets: 5000}, half)
	bring(t, m, epoch)
	now := epoch.Add(time.Second)
	m.Carried(99, 100)
	if got := steps(m, now); got != nil {
		t.Fatalf("%+v", got)
	}
	m.Carried(1, 1)
	if got := steps(m, now); len(got) != 1 || got[0].Cause != Volume {
		t.Errorf("%+v", got)
	}
}

func TestStop(t *testing.T) {
	m := New(Config{Period: time.Second}, half)
	first := bring(t, m, epoch)
	now := epoch.Add(time.Second)
	a := m.Advance(now)
	m.Stop(now)
	if got := steps(m, now); len(got) != 1 || got[0].Op != Close || got[0].ID != a.ID {
		t.Errorf("%+v", got)
	}
	m.Closed(now, a.ID)
	m.Want(Demand)
	if got := steps(m, now.Add(time.Hour)); got != nil {
		t.Errorf("stopped, and then %+v", got)
	}
	m.Want(Suspicion)
	got := steps(m, now.Add(time.Hour))
	if len(got) != 1 || got[0].Op != Build || got[0].Cause != Suspicion {
		t.Errorf("a session that may be dead needs a second opinion: %+v", got)
	}
	m.Stop(now.Add(time.Hour))
	if got := steps(m, now.Add(time.Hour)); got != nil {
		t.Errorf("the second opinion is not waited for: %+v", got)
	}
	m.Built(now.Add(time.Hour), got[0].ID, false, false)
	steps(m, now.Add(time.Hour))
	m.Closed(now.Add(time.Hour), got[0].ID)
	m.Forgo(Suspicion)
	now = now.Add(time.Hour)
	m.Lost(now.Add(time.Hour), first)
	if got := steps(m, now.Add(time.Hour)); len(got) != 2 || got[1].Op != Build {
		t.Errorf("what is left needs a session: %+v", got)
	}
}

func TestChoice(t *testing.T) {
	p := NewChoice(ChoiceConfig{Collectors: 3})
	at := func(s int) time.Time { return epoch.Add(time.Duration(s) * time.Second) }
	pick := func(s, want int) {
		t.Helper()
		if got := p.Pick(at(s)); got != want {
			t.Errorf("at %d s collector %d, want %d", s, got, want)
		}
	}
	pick(0, 0)
	p.Opened(at(0), 0)
	p.Failed(at(100), 0)
	pick(100, 1)
	p.Failed(at(101), 1)
	pick(101, 2)
	p.Opened(at(102), 2)
	if got := p.ReturnAt(); !got.Equal(at(132)) {
		t.Errorf("return at %v", got.Sub(epoch))
	}
	pick(132, 0)
	p.Failed(at(132), 0) // still not well: twice as long
	p.Failed(at(133), 1)
	if got := p.ReturnAt(); !got.Equal(at(192)) {
		t.Errorf("return at %v", got.Sub(epoch))
	}
	pick(150, 2)
	pick(192, 0)
	p.Opened(at(193), 0)
	if got := p.ReturnAt(); !got.IsZero() {
		t.Errorf("return from the first at %v", got)
	}
	p.Failed(at(200), 0) // comes and goes: left alone for longer
	p.Opened(at(201), 1)
	if got := p.ReturnAt(); !got.Equal(at(320)) {
		t.Errorf("return at %v", got.Sub(epoch))
	}
	for i := range 3 {
		p.Failed(at(210+i), i)
	}
	pick(213, 2) // the soonest of those that are left alone
}

// A collector that dies often is not left alone for longer each time: every
// session that becomes active ends the backoff.
func TestBackoff_EndsWithASession(t *testing.T) {
	m := New(Config{}, half)
	now := epoch
	for range 10 {
		id := bring(t, m, now)
		now = now.Add(5 * time.Second)
		m.Lost(now, id)
		m.Advance(now)
		m.Closed(now, id)
		now = now.Add(DefaultRetryMin + DefaultRetryMin/8)
		b := m.Advance(now)
		if b.Op != Build {
			t.Fatalf("after %v: %+v", now.Sub(epoch), b)
		}
		m.Built(now, b.ID, false, false)
		m.Advance(now)
		m.Closed(now, b.ID)
		now = now.Add(2*DefaultRetryMin + DefaultRetryMin/4)
	}
}

// A handshake that takes longer than the period does not end rotation.
func TestPeriod_ShorterThanAHandshake(t *testing.T) {
	m := New(Config{Period: time.Second}, half)
	now := epoch
	for range 5 {
		a := m.Advance(now)
		if a.Op != Build {
			t.Fatalf("after %v: %+v", now.Sub(epoch), a)
		}
		now = now.Add(4 * time.Second)
		m.Advance(now)
		m.Built(now, a.ID, true, false)
		m.Advance(now)
		m.Primed(now, a.ID)
		m.Advance(now)
		m.Proved(now, a.ID)
		for _, s := range steps(m, now) {
			switch s.Op {
			case Drain:
				m.Drained(now, s.ID)
				m.Advance(now)
				m.Closed(now, s.ID)
			case Build:
				m.Lost(now, s.ID) // one begun at once
				m.Advance(now)
				m.Closed(now, s.ID)
			}
		}
		if next := m.Next(); next.IsZero() || next.After(now.Add(3*time.Second)) {
			t.Fatalf("after %v nothing before %v", now.Sub(epoch), next)
		}
		now = now.Add(3 * time.Second)
	}
}

// A period that changes counts from the beginning of the session there is.
func TestMachine_Pace(t *testing.T) {
	now := time.Unix(1000, 0)
	m := New(Config{Period: time.Hour}, func() float64 { return 0 })
	open := func() {
		t.Helper()
		for a := m.Advance(now); a.Op != Nothing; a = m.Advance(now) {
			switch a.Op {
			case Build:
				m.Built(now, a.ID, true, true)
			case Prime:
				m.Primed(now, a.ID)
			case Prove:
				m.Proved(now, a.ID)
			case Drain:
				m.Drained(now, a.ID)
			case Close:
				m.Closed(now, a.ID)
			case Swap, Nothing:
			}
		}
	}
	open()
	first := m.Active()
	m.Pace(10*time.Minute, 3)
	if want := now.Add(10 * time.Minute); !m.Next().Equal(want) {
		t.Errorf("next at %v, want %v", m.Next(), want)
	}
	now = now.Add(10 * time.Minute)
	open()
	if m.Active() == first {
		t.Error("not replaced after the new period")
	}
	m.Pace(0, 3)
	if !m.Next().IsZero() {
		t.Errorf("next at %v without a period", m.Next())
	}
	m.Pace(time.Minute, 3)
	now = now.Add(time.Hour)
	if a := m.Advance(now); a.Op != Build || a.Cause != Period {
		t.Errorf("%+v", a)
	}
}

// What is known of a collector follows it to its new place.
func TestChoice_Change(t *testing.T) {
	now := time.Unix(1000, 0)
	c := NewChoice(ChoiceConfig{Collectors: 3, Return: time.Minute})
	c.Failed(now, 0)
	c.Opened(now, 1)
	c.Change([]int{2, 0, 1}) // c, a, b
	if c.Current() != 2 {
		t.Errorf("current is %d", c.Current())
	}
	if got := c.Pick(now); got != 0 {
		t.Errorf("picked %d, not the one that never failed", got)
	}
	c.Failed(now, 0)
	if got := c.Pick(now); got != 2 {
		t.Errorf("picked %d: the second has failed before", got)
	}
	c.Change([]int{0, -1}) // c, and a new one; the current one has gone
	if got := c.Pick(now); got != 1 || !c.ReturnAt().IsZero() {
		t.Errorf("picked %d, back at %v", got, c.ReturnAt())
	}
	c.Failed(now, -1) // the one that has gone
	c.Opened(now, -1)
	if c.Current() != 0 || !c.ReturnAt().IsZero() {
		t.Errorf("current %d, back at %v", c.Current(), c.ReturnAt())
	}
	c.Opened(now, 1)
	if at := c.ReturnAt(); !at.Equal(now.Add(time.Minute)) {
		t.Errorf("back at %v", at)
	}
}

// The next collector does not wait for the sake of the one that failed, but a
// second goes by between two handshakes all the same.
func TestElsewhere(t *testing.T) {
	now := time.Unix(1000, 0)
	m := New(Config{RetryMin: 20 * time.Second}, func() float64 { return 0 })
	a := m.Advance(now)
	now = now.Add(100 * time.Millisecond)
	m.Built(now, a.ID, false, false)
	if c := m.Advance(now); c.Op != Close {
		t.Fatalf("%+v", c)
	}
	m.Closed(now, a.ID)
	if want := now.Add(20 * time.Second); !m.NotBefore().Equal(want) {
		t.Errorf("not before %v, want %v", m.NotBefore(), want)
	}
	m.Elsewhere()
	if c := m.Advance(now); c.Op != Nothing {
		t.Errorf("%+v", c)
	}
	now = now.Add(900 * time.Millisecond)
	if c := m.Advance(now); c.Op != Build || !m.NotBefore().Equal(now.Add(time.Second)) {
		t.Errorf("%+v", c)
	}
}
