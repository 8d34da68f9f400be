package templates

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipfixsuite/ie"
	"ipfixsuite/ipfix"
)

func sorted(saved []SavedDomain) []SavedDomain {
	slices.SortFunc(saved, func(a, b SavedDomain) int { return int(int64(a.ID) - int64(b.ID)) })
	return saved
}

// What one Store knew the next knows, elements and lifetimes included.
func TestSave_RoundTrip(t *testing.T) {
	cfg := StoreConfig{Registry: ie.IANA(), Lifetime: 100 * time.Second}
	s := NewStore(cfg, nil)
	d := s.Domain(1)
	apply(t, d, at(0), tset(t, 2, addresses+"0180 0002  8064 0004 00007ed9  0008 0004"))
	apply(t, d, at(0), tset(t, 3, option))
	apply(t, s.Domain(7), at(50), tset(t, 2, counters))
	apply(t, d, at(90), tset(t, 2, addresses)) // every 90 s: lives for 270
	if err := d.Learn(ie.Element{ID: ie.ID{PEN: 32473, Num: 100}, Name: "widgetCount", Type: ie.Unsigned32}); err != nil {
		t.Fatal(err)
	}
	s.Domain(9) // nothing is known of it
	text, err := json.Marshal(sorted(s.Save()))
	if err != nil {
		t.Fatal(err)
	}
	var saved []SavedDomain
	if err := json.Unmarshal(text, &saved); err != nil {
		t.Fatal(err)
	}
	restore := func(now int) (*Store, int) {
		budget := NewBudget(Limits{})
		next, total := NewStore(cfg, budget), 0
		for _, v := range saved {
			n, err := next.Restore(at(now).Now, v)
			if err != nil {
				t.Fatal(err)
			}
			total += n
		}
		return next, total
	}
	next, n := restore(95)
	if diff := cmp.Diff(sorted(s.Save()), sorted(next.Save())); diff != "" || n != 4 {
		t.Errorf("%d restored\n%s", n, diff)
	}
	if f := next.Lookup(1, 384).Fields[0]; f.Element == nil || f.Element.Name != "widgetCount" || f.Type != ie.Unsigned32 {
		t.Errorf("%+v", f)
	}
	if st := next.Stats(); st.Restored != 4 || st.Templates != 4 || st.Defined != 0 {
		t.Errorf("%+v", st)
	}
	// They go on to age, and are refreshed as if nothing had happened.
	if got := apply(t, next.Domain(1), at(96), tset(t, 2, addresses)); got[0] != "refreshed 256" {
		t.Error(got)
	}
	// Some were not sent for too long in the meantime (RFC 7011, Section 8.4).
	next, n = restore(200)
	if n != 1 || next.Lookup(1, 256) == nil || next.Lookup(7, 256) != nil {
		t.Errorf("%d restored", n)
	}
	if next, n = restore(90 + 271); n != 0 || next.Stats().Templates != 0 {
		t.Errorf("%d restored", n)
	}
	// A clock set back: they live from now on, no longer.
	next, _ = restore(-5000)
	next.Advance(at(-5000+271).Now, nil)
	if n := next.Stats().Templates; n != 0 {
		t.Errorf("%d live", n)
	}
	next.Close(nil)
}

func TestRestore_Refuses(t *testing.T) {
	reg, now := ie.IANA(), seconds(at(0).Now)
	record := func(s string) []byte { return tset(t, 2, s).Body }
	for name, v := range map[string]SavedDomain{
		"nothing":           {Templates: []SavedTemplate{{}}},
		"cut short":         {Templates: []SavedTemplate{{Record: record(addresses)[:6]}}},
		"two of them":       {Templates: []SavedTemplate{{Record: record(addresses + other)}}},
		"padding":           {Templates: []SavedTemplate{{Record: record(addresses + "0000")}}},
		"a withdrawal":      {Templates: []SavedTemplate{{Record: record(none256)}}},
		"a reserved id":     {Templates: []SavedTemplate{{Record: record("00ff 0001 0004 0001")}}},
		"the same twice":    {Templates: []SavedTemplate{{Record: record(addresses), Seen: now}, {Record: record(addresses), Seen: now}}},
		"no scope":          {Templates: []SavedTemplate{{Record: record("0103 0001 0000 0090 0004"), Options: true}}},
		"IANA's element":    {Types: []ie.Element{{ID: ie.ID{Num: 8}, Name: "mine", Type: ie.String}}},
		"an element's name": {Types: []ie.Element{{ID: ie.ID{PEN: 32473, Num: 1}, Name: "@exporter"}}},
	} {
		s := NewStore(StoreConfig{Registry: reg}, nil)
		if _, err := s.Restore(at(0).Now, v); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	// Bounds hold for what is restored.
	s := NewStore(StoreConfig{Registry: reg, Limits: Limits{Domains: 1, Templates: 1}}, nil)
	n, err := s.Restore(at(0).Now, SavedDomain{ID: 1, Templates: []SavedTemplate{{Record: record(addresses), Seen: now}, {Record: record(other), Seen: now}}})
	if err != nil || s.Stats().Templates != 1 {
		t.Errorf("%d restored, %v, %+v", n, err, s.Stats())
	}
	if _, err := s.Restore(at(0).Now, SavedDomain{ID: 2}); err == nil {
		t.Error("a second domain")
	}
}

func FuzzRestore(f *testing.F) {
	s := NewStore(StoreConfig{Registry: ie.IANA()}, nil)
	s.Domain(3).Templates(at(0), ipfix.Set{ID: 2, Body: []byte{1, 0, 0, 1, 0, 8, 0, 4}}, func(Change) {})
	seed, _ := json.Marshal(s.Save()[0])
	f.Add(seed)
	f.Add([]byte(`{"id":1,"templates":[{"record":"AQMAAgABAJAABACmAAg=","options":true,"seen":4294967295,"lifetime":1}],"types":[{"PEN":32473,"Num":1,"Name":"a"}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var v SavedDomain
		if json.Unmarshal(b, &v) != nil {
			return
		}
		budget := NewBudget(Limits{Templates: 8, Fields: 64})
		s := NewStore(StoreConfig{Registry: ie.IANA(), Limits: Limits{Templates: 70, Fields: 2100}}, budget)
		n, err := s.Restore(at(0).Now, v)
		if st := s.Stats(); st.Templates > 70 || st.Fields > 2100 || n > len(v.Templates) {
			t.Fatalf("beyond the bounds: %+v", st)
		}
		if saved := s.Save(); err == nil && len(saved) > 0 {
			next := NewStore(StoreConfig{Registry: ie.IANA(), Limits: Limits{Templates: 70, Fields: 2100}}, nil)
			if _, err := next.Restore(at(0).Now, saved[0]); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(saved, next.Save()); diff != "" {
				t.Fatal(diff)
			}
		}
		s.Close(nil)
		if got := budget.Used(); got != (Limits{}) {
			t.Fatalf("left over: %+v", got)
		}
	})
}
