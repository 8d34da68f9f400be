package fanout

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ipfixsuite/export"
	"ipfixsuite/ie"
	"ipfixsuite/ipfix"
)

// named makes collectors of names, those known with their exporters left out.
func named(t testing.TB, queue int, known []string, list map[string]*collector, names ...string) []Collector {
	t.Helper()
	var members []Collector
	for _, n := range names {
		c := Collector{Name: n}
		if !slices.Contains(known, n) {
			e, err := export.New(export.Config{Dialer: list[n], Domain: 9, QueueBytes: queue, StatsInterval: -1})
			if err != nil {
				t.Fatal(err)
			}
			c.Exporter = e
		}
		members = append(members, c)
	}
	return members
}

// changing is a Fanout whose collectors change.
type changing struct {
	*Fanout
	t     *testing.T
	queue int
	list  map[string]*collector
	names []string
}

// change makes one; a name that ends with ! is that of a dead collector.
func change(t *testing.T, mode Mode, queue int, names ...string) *changing {
	t.Helper()
	c := &changing{t: t, queue: queue, list: make(map[string]*collector)}
	for _, n := range []string{"a", "b", "c", "d", "e"} {
		c.list[n] = newCollector(0)
	}
	for i, n := range names {
		name, dead := strings.CutSuffix(n, "!")
		names[i] = name
		c.list[name].dead.Store(dead)
	}
	c.names = names
	f, err := New(Config{Mode: mode}, named(t, queue, nil, c.list, names...))
	if err != nil {
		t.Fatal(err)
	}
	c.Fanout = f
	var wg sync.WaitGroup
	wg.Go(func() { _ = f.Run(context.Background()) }) // Close ends it
	t.Cleanup(func() {
		_ = closeFanout(f, time.Millisecond)
		wg.Wait()
		for n, c := range c.list {
			for _, fault := range c.faults {
				t.Errorf("%s: %s", n, fault)
			}
		}
	})
	return c
}

func (c *changing) to(names ...string) {
	c.t.Helper()
	for _, n := range names {
		if !slices.Contains(c.names, n) { // as if restarted
			k := c.list[n]
			k.done, k.once, k.templates = make(chan struct{}), sync.Once{}, make(map[uint16]*ipfix.Template)
		}
	}
	if err := c.Change(named(c.t, c.queue, c.names, c.list, names...), 10*time.Second); err != nil {
		c.t.Fatal(err)
	}
	c.names = names
}

func ids(records [][]byte) []uint64 {
	var list []uint64
	for _, r := range records {
		list = append(list, binary.BigEndian.Uint64(r[13:]))
	}
	return list
}

// Of 20 000 flows only those move whose collector leaves, and to a new one
// only as many as are its share.
func TestChange_HashMovesNoOtherFlows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := change(t, Hash, 8<<20, "a", "b", "c", "d")
		p := define(t, c.Fanout)
		const flows = 20_000
		round := func() map[uint64]string {
			for _, k := range c.list {
				k.mu.Lock()
				k.records = nil
				k.mu.Unlock()
			}
			write(t, c.Fanout, p, flows)
			if err := c.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			at := make(map[uint64]string)
			for name, k := range c.list {
				for _, id := range ids(k.got()) {
					at[id] = name
				}
			}
			if len(at) != flows {
				t.Fatalf("%d of %d flows came", len(at), flows)
			}
			return at
		}
		compare := func(what string, before, after map[uint64]string, may func(was, is string) bool) (moved int) {
			t.Helper()
			for id, was := range before {
				if is := after[id]; is != was {
					if moved++; !may(was, is) {
						t.Fatalf("%s: flow %d moved from %s to %s", what, id, was, is)
					}
				}
			}
			return moved
		}
		first := round()
		c.to("d", "a", "c")
		second := round()
		if n := compare("b leaves", first, second, func(was, _ string) bool { return was == "b" }); n < flows/4*9/10 || n > flows/4*11/10 {
			t.Errorf("%d flows moved when one of 4 left", n)
		}
		c.to("d", "a", "c", "e")
		third := round()
		if n := compare("e comes", second, third, func(_, is string) bool { return is == "e" }); n < flows/4*9/10 || n > flows/4*11/10 {
			t.Errorf("%d flows moved when a 4th came", n)
		}
		c.to("a", "b", "c", "d")
		if n := compare("as before", first, round(), func(string, string) bool { return false }); n != 0 {
			t.Errorf("%d flows moved", n)
		}
		if st := c.Summary(); st.RecordsExported != 4*flows || st.RecordsSent != 4*flows || st.RecordsDropped != 0 {
			t.Errorf("%+v", st)
		}
	})
}

// What waits for a dead collector that is removed goes to the others: nothing
// is lost or counted twice.
func TestChange_HashRemovedHandsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := change(t, Hash, 8<<20, "a", "b!", "c")
		p := define(t, c.Fanout)
		if err := c.FlowKeys(p, 3); err != nil {
			t.Fatal(err)
		}
		const n = 30_000
		write(t, c.Fanout, p, n)
		waiting := c.Collectors()[1].RecordsExported
		c.to("a", "c")
		time.Sleep(time.Minute)
		st := c.Summary()
		if waiting < n/4 || st.RecordsExported != n || st.RecordsSent != n || st.RecordsDropped != 0 {
			t.Errorf("%d waited, %+v", waiting, st)
		}
		got := append(ids(c.list["a"].got()), ids(c.list["c"].got())...)
		slices.Sort(got)
		if got = slices.Compact(got); len(got) != n {
			t.Errorf("%d of %d records came", len(got), n)
		}
	})
}

// Nobody is left to take it: it is counted.
func TestChange_HashAllDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := change(t, Hash, 8<<20, "a!", "b!")
		p := define(t, c.Fanout)
		write(t, c.Fanout, p, 1000)
		c.to("b")
		time.Sleep(time.Minute)
		if err := closeFanout(c.Fanout, time.Second); err == nil {
			t.Error("no error")
		}
		if st := c.Summary(); st.RecordsExported != 1000 || st.RecordsDropped != 1000 || st.RecordsSent != 0 {
			t.Errorf("%+v", st)
		}
	})
}

// A removed collector gets what was written before, a new one what is written
// after, with the Template and the options records first.
func TestChange_All(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := change(t, All, 8<<20, "a", "b")
		p := define(t, c.Fanout)
		gone := define2(t, c.Fanout, 0, 3)
		names := define2(t, c.Fanout, 1, 2)
		c.Withdraw(gone)
		if err := c.Write(t.Context(), names, make([]byte, 4)); err != nil {
			t.Fatal(err)
		}
		for i := range uint64(3000) {
			switch i {
			case 1000:
				c.to("b", "c") // while a has much in its queue
			case 2000:
				c.to("d")
			}
			if err := c.Write(t.Context(), p, flow(1, 2, 3, 4, i)); err != nil {
				t.Fatal(err)
			}
		}
		// Templates go on alike, also when the first exporter has left.
		if again := define(t, c.Fanout); again != p {
			t.Error("the same shape has two handles")
		}
		define2(t, c.Fanout, 0, 4)
		time.Sleep(time.Minute)
		if err := closeFanout(c.Fanout, time.Minute); err != nil {
			t.Error(err)
		}
		for name, want := range map[string][2]uint64{"a": {0, 1000}, "b": {0, 2000}, "c": {1000, 2000}, "d": {2000, 3000}} {
			got := ids(c.list[name].got())
			if uint64(len(got)) != want[1]-want[0] || got[0] != want[0] || got[len(got)-1] != want[1]-1 {
				t.Errorf("%s: %d records from %d to %d", name, len(got), got[0], got[len(got)-1])
			}
			if c.list[name].options == 0 {
				t.Errorf("%s has no options record", name)
			}
		}
		// Two were handed the options record; to the others it was told anew.
		if st := c.Summary(); st.RecordsExported != 5002 || st.RecordsSent != 5002 || st.RecordsDropped != 0 {
			t.Errorf("%+v", st)
		}
	})
}

func define2(t testing.TB, f *Fanout, scope, fields int) *export.Template {
	t.Helper()
	specs := slices.Repeat([]ipfix.FieldSpec{{ID: ie.ID{Num: 7}, Length: 2}}, fields)
	p, err := f.DefineIn(9, scope, specs)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// A source that waits since all collectors are dead goes on when a living one
// is added.
func TestChange_WakesTheSource(t *testing.T) {
	for _, mode := range []Mode{All, Hash} {
		synctest.Test(t, func(t *testing.T) {
			c := change(t, mode, 64<<10, "a!", "b!")
			p := define(t, c.Fanout)
			const n = 50_000
			done := make(chan error, 1)
			go func() {
				var err error
				for i := uint64(0); i < n && err == nil; i++ {
					err = c.Write(t.Context(), p, flow(byte(i), 2, uint16(i), 4, i))
				}
				done <- err
			}()
			time.Sleep(time.Minute)
			select {
			case err := <-done:
				t.Fatalf("mode %d: the source did not wait: %v", mode, err)
			default:
			}
			c.to("c") // both leave
			if err := <-done; err != nil {
				t.Fatalf("mode %d: %v", mode, err)
			}
			time.Sleep(time.Minute)
			if err := closeFanout(c.Fanout, time.Minute); err != nil {
				t.Error(err)
			}
			got := ids(c.list["c"].got())
			slices.Sort(got)
			switch got = slices.Compact(got); {
			case mode == Hash && len(got) != n:
				t.Errorf("%d of %d came", len(got), n)
			case mode == All && (len(got) < n/2 || got[len(got)-1] != n-1):
				t.Errorf("%d came", len(got))
			}
		})
	}
}

// Sources write while the collectors come and go: in mode Hash every record is
// at one of them, in mode All at each that was there all the time.
func TestChange_underLoad(t *testing.T) {
	for _, mode := range []Mode{All, Hash} {
		t.Run(fmt.Sprint(mode), func(t *testing.T) {
			c := change(t, mode, 8<<20, "a", "b")
			p := define(t, c.Fanout)
			const sources, n = 3, 30_000
			var wg sync.WaitGroup
			for s := range uint64(sources) {
				wg.Go(func() {
					for i := range uint64(n) {
						if err := c.Write(t.Context(), p, flow(byte(i), byte(s), uint16(i), 4, s*n+i)); err != nil {
							t.Error(err)
							return
						}
					}
				})
			}
			for _, names := range [][]string{{"a", "c"}, {"d", "a"}, {"a"}, {"a", "e"}} {
				c.to(names...)
			}
			wg.Wait()
			if err := closeFanout(c.Fanout, time.Minute); err != nil {
				t.Error(err)
			}
			var got []uint64
			for name, k := range c.list {
				if mode == Hash || name == "a" {
					got = append(got, ids(k.got())...)
				}
			}
			slices.Sort(got)
			if all := len(got); all != sources*n || len(slices.Compact(got)) != all {
				t.Errorf("%d records came, not %d", all, sources*n)
			}
			if st := c.Summary(); st.RecordsDropped != 0 || st.RecordsSent != st.RecordsExported || mode == Hash && st.RecordsSent != sources*n {
				t.Errorf("%+v", st)
			}
		})
	}
}

func TestChange_Refuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := change(t, All, 8<<20, "a", "b")
		p := define(t, c.Fanout)
		used := c.table.Load().members[1].e
		synctest.Wait() // it runs
		for name, list := range map[string][]Collector{
			"none": nil, "same name": {{"a", nil}, {"a", nil}}, "no exporter": {{"a", nil}, {"x", nil}}, "used": {{"a", nil}, {"x", used}},
		} {
			if err := c.Change(list, time.Second); err == nil {
				t.Errorf("%s: accepted", name)
			}
		}
		if got := len(c.Collectors()); got != 2 {
			t.Errorf("%d collectors", got)
		}
		write(t, c.Fanout, p, 10)
		if err := closeFanout(c.Fanout, time.Minute); err != nil {
			t.Fatal(err)
		}
		if err := c.Change([]Collector{{"a", nil}}, time.Second); !errors.Is(err, export.ErrClosed) {
			t.Errorf("closed: %v", err)
		}
		if err := c.Run(t.Context()); !errors.Is(err, errRuns) {
			t.Errorf("again: %v", err)
		}
	})
}

// What the spool of a collector holds that is no longer there goes to those
// that are.
func TestInherit(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		const n = 5000
		old := newCollector(0)
		old.dead.Store(true)
		spooled := func() *export.Exporter {
			e, err := export.New(export.Config{Dialer: old, Domain: 9, StatsInterval: -1, SpoolDir: dir, SpoolRate: 1000})
			if err != nil {
				t.Fatal(err)
			}
			return e
		}
		e := spooled()
		p, err := e.Define(0, flowSpecs())
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- e.Run(t.Context()) }()
		for i := range uint64(n) {
			if err := e.Write(t.Context(), p, flow(byte(i), byte(i>>8), uint16(i), 80, i)); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(5 * time.Second)
		if err := closeExporter(e, time.Second); err != nil {
			t.Fatal(err)
		}
		<-ended

		c := change(t, Hash, 8<<20, "a", "b")
		synctest.Wait()
		if err := c.Inherit(Collector{"old", spooled()}); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		c.Settle(t.Context())
		if took := time.Since(began); took < 4*time.Second {
			t.Errorf("%d records at 1000 a second took %v", n, took)
		}
		if err := closeFanout(c.Fanout, time.Minute); err != nil {
			t.Error(err)
		}
		got := append(ids(c.list["a"].got()), ids(c.list["b"].got())...)
		slices.Sort(got)
		if all := len(got); all != n || len(slices.Compact(got)) != n || len(c.list["a"].got()) < n/3 {
			t.Errorf("%d records came, %d at a", all, len(c.list["a"].got()))
		}
		if st := c.Summary(); st.RecordsExported != n || st.RecordsSent != n || st.RecordsDropped != 0 {
			t.Errorf("%+v", st)
		}
		if err := c.Inherit(Collector{"old", nil}); !errors.Is(err, export.ErrClosed) {
			t.Errorf("closed: %v", err)
		}
		again := spooled() // nothing is left
		if left := again.Stats().Spool.RecordsPending; left != 0 {
			t.Errorf("%d records left", left)
		}
		_ = closeExporter(again, time.Second)
	})
}

func closeExporter(e *export.Exporter, in time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), in)
	defer cancel()
	return e.Close(ctx)
}

// Who describes flows describes them to every collector, in mode Hash too.
func TestHash_OptionsRecordsGoToAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := change(t, Hash, 8<<20, "a", "b", "c")
		names := define2(t, c.Fanout, 1, 2)
		if err := c.Write(t.Context(), names, make([]byte, 4)); err != nil {
			t.Fatal(err)
		}
		if !c.Offer(names, []byte{0, 1, 0, 0}) {
			t.Error("nobody took it")
		}
		if err := closeFanout(c.Fanout, time.Minute); err != nil {
			t.Fatal(err)
		}
		for _, name := range c.names {
			if got := c.list[name].options; got != 2 {
				t.Errorf("%s has %d options records", name, got)
			}
		}
	})
}
