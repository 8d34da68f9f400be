package fanout

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"ipfixsuite/export"
	"ipfixsuite/export/source"
)

var (
	_ source.Exporter = (*Fanout)(nil)
	_ source.Exporter = (*export.Exporter)(nil)
)

func TestAll_EveryCollectorGetsEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// About equally fast, and slower than the source: all are waited for.
		list := []*collector{newCollector(1e6), newCollector(0.97e6), newCollector(0.8e6)}
		f := run(t, Config{}, 64<<10, list...)
		write(t, f, define(t, f), 200_000)
		if err := closeFanout(f, time.Minute); err != nil {
			t.Error(err)
		}
		for i, c := range list {
			if n := len(c.got()); n != 200_000 {
				t.Errorf("%d: %d records", i, n)
			}
		}
		if st := f.Summary(); st.RecordsExported != 600_000 || st.RecordsSent != 600_000 || st.RecordsDropped != 0 {
			t.Errorf("%+v", st)
		}
	})
}

func TestAll_SlowAndDeadHoldNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		list := []*collector{newCollector(1e6), newCollector(1e5), newCollector(0)}
		list[2].dead.Store(true)
		f := run(t, Config{}, 64<<10, list...)
		p := define(t, f)
		began := time.Now()
		const n = 500_000 // 21 octets each: 10.5 s at the first
		write(t, f, p, n)
		took := time.Since(began)
		// About a second for each, and a twentieth for the slow one.
		if took > 15*time.Second {
			t.Errorf("took %v", took)
		}
		_ = closeFanout(f, 5*time.Second) // the dead one has not sent anything
		if got := len(list[0].got()); got != n {
			t.Errorf("the fast one got %d records", got)
		}
		for i, st := range f.Collectors() {
			t.Logf("%s: exported %d sent %d dropped %d behind %v", st.Name, st.RecordsExported, st.RecordsSent, st.RecordsDropped, st.Behind)
			if st.RecordsExported != n || st.RecordsSent+st.RecordsDropped != n || uint64(len(list[i].got())) != st.RecordsSent {
				t.Errorf("%s: %+v", st.Name, st.Summary)
			}
			if st.Behind != (i == 2) && i != 1 { // the slow one is now and then waited for
				t.Errorf("%s: behind: %v", st.Name, st.Behind)
			}
		}
		if got := len(list[1].got()); got < 40_000 {
			t.Errorf("the slow one got %d records only", got)
		}
	})
}

func TestAll_DeadOneComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		list := []*collector{newCollector(1e6), newCollector(1e6)}
		list[1].dead.Store(true)
		f := run(t, Config{}, 64<<10, list...)
		p := define(t, f)
		write(t, f, p, 50_000)
		dropped := f.Collectors()[1].RecordsDropped
		if dropped == 0 {
			t.Error("nothing dropped")
		}
		list[1].dead.Store(false)
		time.Sleep(time.Minute) // the redial
		write(t, f, p, 100_000)
		if err := closeFanout(f, time.Minute); err != nil {
			t.Error(err)
		}
		if st := f.Collectors()[1]; st.RecordsDropped != dropped || st.Behind || st.RecordsSent != 150_000-dropped {
			t.Errorf("%+v", st)
		}
	})
}

// TestAll_AllDead: nobody is held, so nothing is dropped; the source waits.
func TestAll_AllDead(t *testing.T) {
	for _, mode := range []Mode{All, Hash} {
		synctest.Test(t, func(t *testing.T) {
			list := []*collector{newCollector(0), newCollector(0)}
			list[0].dead.Store(true)
			list[1].dead.Store(true)
			f := run(t, Config{Mode: mode}, 64<<10, list...)
			p := define(t, f)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			var err error
			var n uint64
			for n = 0; err == nil; n++ {
				err = f.Write(ctx, p, flow(1, 2, uint16(n), 4, n))
			}
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
			if st := f.Summary(); st.RecordsDropped != 0 || n < 1000 {
				t.Errorf("%d written, %+v", n, st)
			}
		})
	}
}

func TestOffer_NeverWaits(t *testing.T) {
	for _, mode := range []Mode{All, Hash} {
		synctest.Test(t, func(t *testing.T) {
			list := []*collector{newCollector(0), newCollector(0)}
			list[1].dead.Store(true)
			f := run(t, Config{Mode: mode}, 64<<10, list...)
			p := define(t, f)
			const n = 20_000
			for i := range uint64(n) {
				before := time.Now()
				if !f.Offer(p, flow(byte(i), 2, uint16(i), 4, i)) {
					t.Fatal("nobody took it")
				}
				if time.Since(before) > 0 {
					t.Fatal("Offer waited")
				}
				if i%100 == 0 {
					time.Sleep(2 * time.Millisecond)
				}
			}
			_ = closeFanout(f, time.Second)
			st := f.Collectors()
			if mode == All {
				if len(list[0].got()) != n || st[1].RecordsDropped != n {
					t.Errorf("%d received, %d dropped", len(list[0].got()), st[1].RecordsDropped)
				}
				return
			}
			// What was in the queue of the dead one is lost, no more.
			lost := n - len(list[0].got())
			if uint64(lost) != st[1].RecordsDropped || lost > 64<<10/20 || st[1].RecordsDiverted == 0 {
				t.Errorf("%d lost, %+v", lost, st[1])
			}
		})
	}
}

func TestDefine_SameIDsEverywhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		list := []*collector{newCollector(0), newCollector(0)}
		f := run(t, Config{}, 0, list...)
		p := define(t, f)
		if q := define(t, f); p != q {
			t.Error("the same shape has two handles")
		}
		if err := f.FlowKeys(p, 0b11111); err != nil {
			t.Error(err)
		}
		if h := f.table.Load().handles[p]; h.at[0].ID != h.at[1].ID || h.at[0] == h.at[1] {
			t.Errorf("%+v", h)
		}
		// An exporter that was defined on by others is found out.
		if _, err := f.table.Load().members[1].e.Define(0, flowSpecs()[:2]); err != nil {
			t.Fatal(err)
		}
		if _, err := f.Define(0, flowSpecs()[:3]); !errors.Is(err, errDiffer) {
			t.Errorf("got %v", err)
		}
		if err := f.Write(t.Context(), &export.Template{}, nil); !errors.Is(err, errForeign) {
			t.Errorf("got %v", err)
		}
	})
}

func TestWrite_OneExporterEnds(t *testing.T) {
	for _, mode := range []Mode{All, Hash} {
		synctest.Test(t, func(t *testing.T) {
			list := []*collector{newCollector(0), newCollector(0)}
			f := run(t, Config{Mode: mode}, 8<<20, list...)
			p := define(t, f)
			write(t, f, p, 1000)
			if err := f.table.Load().members[0].e.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			write(t, f, p, 1000)
			if err := closeFanout(f, time.Minute); err != nil {
				t.Error(err)
			}
			a, b := f.Collectors()[0], f.Collectors()[1]
			switch {
			case mode == All && (b.RecordsSent != 2000 || a.RecordsDropped != 1000):
				t.Errorf("%+v %+v", a.Summary, b.Summary)
			case mode == Hash && a.RecordsSent+b.RecordsSent != 2000:
				t.Errorf("%+v %+v", a.Summary, b.Summary)
			}
			if err := f.Write(t.Context(), p, flow(1, 2, 3, 4, 5)); !errors.Is(err, export.ErrClosed) {
				t.Errorf("after Close: %v", err)
			}
		})
	}
}

func TestNew_Refuses(t *testing.T) {
	e, err := export.New(export.Config{Dialer: newCollector(0)})
	if err != nil {
		t.Fatal(err)
	}
	many := make([]Collector, maxMembers+1)
	for i := range many {
		many[i] = Collector{Name: fmt.Sprint(i), Exporter: e}
	}
	for name, list := range map[string][]Collector{
		"none": nil, "too many": many, "same name": {{"x", e}, {"x", e}},
	} {
		if _, err := New(Config{}, list); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := New(Config{}, many[:maxMembers]); err != nil {
		t.Error(err)
	}
	if _, err := ParseMode("any"); err == nil {
		t.Error("mode any: accepted")
	}
}

// TestStats_NothingForgotten: each number of the sum comes from all.
func TestStats_NothingForgotten(t *testing.T) {
	var fill func(v reflect.Value, n int)
	fill = func(v reflect.Value, n int) {
		for i := range v.NumField() {
			switch f := v.Field(i); f.Kind() {
			case reflect.Uint64:
				f.SetUint(uint64(n))
			case reflect.Int:
				f.SetInt(int64(n))
			case reflect.Float64:
				f.SetFloat(float64(n))
			case reflect.Struct:
				fill(f, n)
			}
		}
	}
	var a, b, want export.Stats
	fill(reflect.ValueOf(&a).Elem(), 3)
	fill(reflect.ValueOf(&b).Elem(), 4)
	fill(reflect.ValueOf(&want).Elem(), 7)
	want.MaxSwapGapUS, want.CPUSeconds = 4, 4
	add(&a, &b)
	if a != want {
		t.Errorf("%+v", a)
	}
}

func TestWrite_NoAllocations(t *testing.T) {
	for _, mode := range []Mode{All, Hash} {
		list := []*collector{newCollector(0), newCollector(0), newCollector(0)}
		f := run(t, Config{Mode: mode}, 64<<20, list...)
		p := define(t, f)
		rec := flow(1, 2, 3, 4, 5)
		write(t, f, p, 2000)
		if err := f.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := testing.AllocsPerRun(40, func() {
			if err := f.Write(t.Context(), p, rec); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("mode %d: %v allocations", mode, n)
		}
	}
}

func BenchmarkWrite(b *testing.B) {
	for name, mode := range map[string]Mode{"all": All, "hash": Hash} {
		b.Run(name, func(b *testing.B) {
			list := []*collector{newCollector(0), newCollector(0), newCollector(0)}
			f := run(b, Config{Mode: mode}, 8<<20, list...)
			p := define(b, f)
			rec := flow(1, 2, 3, 4, 5)
			b.ReportAllocs()
			for b.Loop() {
				binary.BigEndian.PutUint64(rec[13:], uint64(b.N))
				f.Offer(p, rec)
			}
		})
	}
}
