package templates

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipfixsuite/ie"
	"ipfixsuite/ipfix"
)

func shape(nums ...uint16) []ipfix.FieldSpec {
	var out []ipfix.FieldSpec
	for _, n := range nums {
		out = append(out, ipfix.FieldSpec{ID: ie.ID{Num: n}, Length: 4})
	}
	return out
}

func define(t *testing.T, a *Active, now time.Time, scope int, nums ...uint16) *ipfix.Template {
	t.Helper()
	p, err := a.Define(now, scope, shape(nums...), ie.IANA())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestActive_SameShapeSameTemplate(t *testing.T) {
	now := time.Unix(1000, 0)
	a := NewActive(ActiveConfig{})
	first := define(t, a, now, 0, 8, 12)
	for _, tc := range []struct {
		name  string
		scope int
		nums  []uint16
		id    uint16
	}{
		{"same", 0, []uint16{8, 12}, 256},
		{"other order", 0, []uint16{12, 8}, 257},
		{"with a scope", 1, []uint16{8, 12}, 258},
		{"longer scope", 2, []uint16{8, 12}, 259},
		{"same again", 0, []uint16{8, 12}, 256},
	} {
		if p := define(t, a, now, tc.scope, tc.nums...); p.ID != tc.id || (p == first) != (tc.id == 256) {
			t.Errorf("%s: id %d, want %d", tc.name, p.ID, tc.id)
		}
	}
	if a.Len() != 4 || a.All()[0] != first || a.Lookup(256) != first {
		t.Errorf("active: %v", a.All())
	}
	if _, err := a.Define(now, 3, shape(8), nil); err == nil {
		t.Error("more scope fields than fields are taken")
	}
	if p := define(t, a, now, 0, 1); p.ID != 260 {
		t.Errorf("a refused template cost an id: next is %d", p.ID)
	}
}

// A withdrawn id is not given to another Template before collectors forgot.
func TestActive_IDRests_RFC7011_8_4(t *testing.T) {
	now := time.Unix(1000, 0)
	a := NewActive(ActiveConfig{ReuseAfter: time.Minute})
	p := define(t, a, now, 0, 8)
	for n := uint16(firstID + 1); n != 0; n++ {
		if _, err := a.Define(now, 0, []ipfix.FieldSpec{{ID: ie.ID{PEN: 32473, Num: n & 0x7fff}, Length: 1 + n>>15}}, nil); err != nil {
			t.Fatalf("template %d: %v", n, err)
		}
	}
	if _, err := a.Define(now, 0, shape(9), nil); !errors.Is(err, ErrExhausted) {
		t.Fatalf("with all ids in use: %v", err)
	}
	if err := a.Withdraw(p.ID, now); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Define(now.Add(59*time.Second), 0, shape(9), nil); !errors.Is(err, ErrExhausted) {
		t.Errorf("id reused too soon: %v", err)
	}
	q, err := a.Define(now.Add(time.Minute), 0, shape(9), nil)
	if err != nil || q.ID != p.ID {
		t.Errorf("after the rest: %v, %v", q, err)
	}
	if err := a.Withdraw(99, now); !errors.Is(err, ErrUnknown) {
		t.Errorf("withdrawal of no template: %v", err)
	}
}

func TestActive_Retire(t *testing.T) {
	now := time.Unix(1000, 0)
	a := NewActive(ActiveConfig{Max: 2})
	p := define(t, a, now, 0, 8)
	v := a.Version()
	if !a.Retire(p.ID) || a.Retire(77) || a.Lookup(p.ID) != p || a.Version() != v {
		t.Error("a retired template must stay until it is withdrawn")
	}
	q := define(t, a, now, 0, 8)
	if q == p || q.ID == p.ID {
		t.Error("a retired template is defined again")
	}
	if _, err := a.Define(now, 0, shape(1), nil); !errors.Is(err, ErrExhausted) {
		t.Errorf("a third of two templates: %v", err)
	}
	if err := a.Withdraw(p.ID, now); err != nil {
		t.Fatal(err)
	}
	if define(t, a, now, 0, 8) != q || a.Len() != 1 || a.Version() == v {
		t.Error("the withdrawal of the old took the new template's shape away")
	}
}

func TestSchedule(t *testing.T) {
	begin := time.Unix(1000, 0)
	for _, tc := range []struct {
		name string
		cfg  ScheduleConfig
		want []time.Duration // when Templates are sent
	}{
		{"RFC7011_8_4 by time", ScheduleConfig{Refresh: 10 * time.Second},
			[]time.Duration{0, 500 * time.Millisecond, 3500 * time.Millisecond, 13500 * time.Millisecond, 23500 * time.Millisecond}},
		{"soon after only", ScheduleConfig{Refresh: -1}, []time.Duration{0, 500 * time.Millisecond, 3500 * time.Millisecond}},
		{"by messages, 10 a second", ScheduleConfig{Refresh: -1, RefreshMessages: 100},
			[]time.Duration{0, 500 * time.Millisecond, 3500 * time.Millisecond, 13500 * time.Millisecond, 23500 * time.Millisecond}},
		{"reliable", ScheduleConfig{Reliable: true, Refresh: time.Second, RefreshMessages: 10}, []time.Duration{0}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := NewSchedule(tc.cfg)
			if s.Withdraws() != tc.cfg.Reliable {
				t.Error("withdrawals are for reliable transports only (RFC 7011, Section 8.4, MUST NOT)")
			}
			var got []time.Duration
			for ms := 0; ms < 30_000; ms += 100 {
				now := begin.Add(time.Duration(ms) * time.Millisecond)
				messages := uint64(ms / 100)
				if !s.Due(now, messages) {
					continue
				}
				if len(got) == 0 {
					s.Announced(now, messages)
				} else {
					s.Sent(now, messages)
				}
				got = append(got, now.Sub(begin))
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A clone numbers as the original does from then on, and is independent of it.
func TestActive_Clone(t *testing.T) {
	now := time.Unix(1000, 0)
	shape := func(n uint16) []ipfix.FieldSpec { return []ipfix.FieldSpec{{ID: ie.ID{Num: n}, Length: 4}} }
	define := func(a *Active, n uint16) *ipfix.Template {
		t.Helper()
		p, err := a.Define(now, 0, shape(n), ie.IANA())
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	a := NewActive(ActiveConfig{ReuseAfter: time.Minute})
	one, two, three := define(a, 8), define(a, 12), define(a, 10)
	a.Retire(two.ID)
	if err := a.Withdraw(three.ID, now); err != nil {
		t.Fatal(err)
	}
	c := a.Clone(now)
	if c.Len() != 1 || c.Lookup(one.ID) != one || define(c, 8) != one {
		t.Errorf("%d templates", c.Len())
	}
	if x, y := define(a, 14), define(c, 14); x.ID != y.ID || x.ID == two.ID || x.ID == three.ID {
		t.Errorf("numbers %d and %d", x.ID, y.ID)
	}
	if err := c.Withdraw(one.ID, now); err != nil || a.Lookup(one.ID) != one {
		t.Errorf("%v: the original has changed", err)
	}
}

func TestSchedule_Doubt(t *testing.T) {
	at := func(s int) time.Time { return time.Unix(int64(s), 0) }
	s := NewSchedule(ScheduleConfig{Refresh: time.Hour})
	s.Doubt(at(0))
	s.Announced(at(0), 0)
	for _, k := range []int{1, 4} {
		if !s.Due(at(k), 0) {
			t.Fatalf("no repetition at %d s", k)
		}
		s.Sent(at(k), 0)
	}
	if s.Due(at(10), 0) {
		t.Error("due without a reason")
	}
	s.Doubt(at(10))
	if !s.Due(at(10), 0) {
		t.Error("not due although doubted")
	}
	s.Sent(at(10), 0)
	if s.Due(at(11), 0) || !s.Due(at(10+3600), 0) {
		t.Errorf("next %v", s.Next())
	}
	r := NewSchedule(ScheduleConfig{Reliable: true})
	r.Announced(at(0), 0)
	r.Doubt(at(1))
	if r.Due(at(2), 0) {
		t.Error("a reliable transport needs no repetition (RFC 7011, Section 8.4)")
	}
}

// An id that is freed at once is the next that is given away, with another
// meaning (RFC 6526, Section 4.4).
func TestActive_FreeAtOnce_RFC6526_4_4(t *testing.T) {
	now := time.Unix(1000, 0)
	a := NewActive(ActiveConfig{})
	p, other := define(t, a, now, 0, 8), define(t, a, now, 0, 9)
	v := a.Version()
	if err := a.Free(p.ID); err != nil || a.Lookup(p.ID) != nil || a.Len() != 1 || a.Version() == v {
		t.Fatalf("%v, %d templates", err, a.Len())
	}
	if err := a.Free(p.ID); !errors.Is(err, ErrUnknown) {
		t.Errorf("freed twice: %v", err)
	}
	c := a.Clone(now)
	for name, a := range map[string]*Active{"original": a, "clone": c} {
		if q := define(t, a, now, 0, 10); q.ID != p.ID || q == p {
			t.Errorf("%s: the next id is %d, want %d again", name, q.ID, p.ID)
		}
		if q := define(t, a, now, 0, 11); q.ID != other.ID+1 {
			t.Errorf("%s: then it is %d", name, q.ID)
		}
	}
	if err := a.Withdraw(other.ID, now); err != nil {
		t.Fatal(err)
	}
	if q := define(t, a, now, 0, 12); q.ID == other.ID {
		t.Error("an id that rests is given away")
	}
}

// Ids that are reserved are never given away.
func TestActive_Reserved(t *testing.T) {
	now := time.Unix(1000, 0)
	a := NewActive(ActiveConfig{Reserved: lastID - firstID - 1})
	if p, q := define(t, a, now, 0, 8), define(t, a, now, 0, 9); p.ID != firstID || q.ID != firstID+1 {
		t.Errorf("ids %d and %d", p.ID, q.ID)
	}
	if _, err := a.Define(now, 0, shape(10), nil); !errors.Is(err, ErrExhausted) {
		t.Errorf("a reserved id is given away: %v", err)
	}
	if err := a.Free(firstID); err != nil {
		t.Fatal(err)
	}
	if p := define(t, a, now, 0, 10); p.ID != firstID {
		t.Errorf("id %d", p.ID)
	}
}
