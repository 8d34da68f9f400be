package fanout

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"ipfixsuite/export"
	"ipfixsuite/export/source"
	"ipfixsuite/ie"
	"ipfixsuite/ipfix"
	"ipfixsuite/transport"
)

var (
	_ source.Exporter = (*Fanout)(nil)
	_ source.Exporter = (*export.Exporter)(nil)
)

// collector is a transport.Session in memory and its Dialer. It decodes what
// it is sent and takes octets at a given rate.
type collector struct {
	rate float64     // octets a second; 0: no bound
	dead atomic.Bool // no session can be opened
	max  int

	mu        sync.Mutex
	templates map[uint16]*ipfix.Template
	records   [][]byte // Data Records that are no options records
	options   int      // those that are
	faults    []string
	done      chan struct{}
	once      sync.Once
}

func newCollector(rate float64) *collector {
	return &collector{rate: rate, max: 1400, templates: make(map[uint16]*ipfix.Template), done: make(chan struct{})}
}

func (c *collector) Dial(ctx context.Context) (transport.Session, error) {
	if c.dead.Load() {
		return nil, errors.New("nobody there")
	}
	return c, nil
}

func (c *collector) Send(ctx context.Context, batch []transport.Outgoing) (int, error) {
	for i, m := range batch {
		if c.rate > 0 {
			select {
			case <-time.After(time.Duration(float64(len(m.Data)) / c.rate * float64(time.Second))):
			case <-ctx.Done():
				return i, ctx.Err()
			}
		}
		c.receive(m.Data)
	}
	return len(batch), nil
}

func (c *collector) receive(msg []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for set, err := range ipfix.Sets(msg) {
		if err != nil {
			c.faults = append(c.faults, err.Error())
			return
		}
		if set.ID < ipfix.MinDataSetID {
			for tr, err := range ipfix.ParseTemplates(set.ID, set.Body) {
				if err == nil && tr.Withdrawal() {
					delete(c.templates, tr.ID)
					continue
				}
				if err == nil {
					c.templates[tr.ID], err = ipfix.NewTemplate(tr.ID, tr.Scope, tr.Fields, ie.IANA())
				}
				if err != nil {
					c.faults = append(c.faults, err.Error())
				}
			}
			continue
		}
		t := c.templates[set.ID]
		if t == nil {
			c.faults = append(c.faults, "data before template")
			continue
		}
		var r ipfix.Records
		for r.Reset(t, set.Body); r.Next(); {
			if t.Scope > 0 {
				c.options++
			} else {
				c.records = append(c.records, bytes.Clone(r.Raw()))
			}
		}
	}
}

func (c *collector) MaxMessage() int { return c.max }
func (c *collector) Properties() transport.Properties {
	return transport.Properties{Reliable: true, Ordered: true, Streams: 1}
}
func (c *collector) Peer() transport.Peer          { return transport.Peer{Session: 1} }
func (c *collector) Probe(context.Context) error   { return transport.ErrNoProbe }
func (c *collector) Done() <-chan struct{}         { return c.done }
func (c *collector) Err() error                    { return nil }
func (c *collector) Stats() transport.SessionStats { return transport.SessionStats{} }
func (c *collector) Close(context.Context) error {
	c.once.Do(func() { close(c.done) })
	return nil
}

func (c *collector) got() [][]byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.records)
}

// run makes a Fanout to collectors named a, b, c…, and starts it.
func run(t testing.TB, cfg Config, queue int, list ...*collector) *Fanout {
	t.Helper()
	var members []Collector
	for i, c := range list {
		e, err := export.New(export.Config{Dialer: c, Domain: 9, QueueBytes: queue, StatsInterval: -1})
		if err != nil {
			t.Fatal(err)
		}
		members = append(members, Collector{Name: string(rune('a' + i)), Exporter: e})
	}
	f, err := New(cfg, members)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() { _ = f.Run(context.Background()) }) // Close ends it
	t.Cleanup(func() {
		closeFanout(f, time.Millisecond)
		wg.Wait()
		for _, c := range list {
			for _, fault := range c.faults {
				t.Error(fault)
			}
		}
	})
	return f
}

func closeFanout(f *Fanout, in time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), in)
	defer cancel()
	return f.Close(ctx)
}

// flow is a record of flowSpecs.
func flow(src, dst byte, sport, dport uint16, n uint64) []byte {
	b := []byte{10, 0, 0, src, 10, 0, 0, dst}
	b = binary.BigEndian.AppendUint16(b, sport)
	b = binary.BigEndian.AppendUint16(b, dport)
	b = append(b, 6)
	return binary.BigEndian.AppendUint64(b, n)
}

func flowSpecs() []ipfix.FieldSpec {
	var list []ipfix.FieldSpec
	for _, f := range [][2]uint16{{8, 4}, {12, 4}, {7, 2}, {11, 2}, {4, 1}, {1, 8}} {
		list = append(list, ipfix.FieldSpec{ID: ie.ID{Num: f[0]}, Length: f[1]})
	}
	return list
}

func define(t testing.TB, f *Fanout) *export.Template {
	t.Helper()
	p, err := f.Define(0, flowSpecs())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func write(t testing.TB, f *Fanout, p *export.Template, n uint64) {
	t.Helper()
	for i := range n {
		if err := f.Write(t.Context(), p, flow(byte(i), byte(i>>8), uint16(i), 80, i)); err != nil {
			t.Fatal(err)
		}
	}
}

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

func TestHash_ConversationsStayTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		list := []*collector{newCollector(0), newCollector(0), newCollector(0), newCollector(0)}
		f := run(t, Config{Mode: Hash}, 8<<20, list...)
		p := define(t, f)
		const n = 20_000
		for i := range uint64(n) {
			a, b, s, d := byte(i), byte(i>>4), uint16(i*7), uint16(443)
			for _, rec := range [][]byte{flow(a, b, s, d, 2*i), flow(b, a, d, s, 2*i+1)} {
				if err := f.Write(t.Context(), p, rec); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := closeFanout(f, time.Minute); err != nil {
			t.Error(err)
		}
		total := 0
		for i, c := range list {
			seen := make(map[uint64]int)
			for _, rec := range c.got() {
				seen[binary.BigEndian.Uint64(rec[13:])/2]++
			}
			for conv, ways := range seen {
				if ways != 2 {
					t.Fatalf("conversation %d has %d records at collector %d", conv, ways, i)
				}
			}
			total += len(c.got())
			if len(seen) < n/4*9/10 || len(seen) > n/4*11/10 {
				t.Errorf("collector %d has %d of %d conversations", i, len(seen), n)
			}
		}
		if total != 2*n {
			t.Errorf("%d records", total)
		}
	})
}

// TestHash_ConsistentWhenTheListChanges: a collector that goes takes only its
// own flows along, whatever its place in the list.
func TestHash_ConsistentWhenTheListChanges(t *testing.T) {
	names := []string{"udp://a", "udp://b", "udp://c", "udp://d", "udp://e"}
	place := func(names []string) func(uint64) string {
		f := &table{}
		h := &handle{key: keyOf(0, flowSpecs())}
		for _, n := range names {
			f.members = append(f.members, &member{name: n, hash: hashBytes(offset64, []byte(n))})
			h.at = append(h.at, &export.Template{})
		}
		return func(i uint64) string {
			var order ranking
			f.rank(&order, h, flow(byte(i), byte(i>>8), uint16(i), 53, 0))
			return names[order[0].i]
		}
	}
	before := place(names)
	for gone := range names {
		after := place(append(slices.Clone(names[gone+1:]), names[:gone]...)) // in another order, too
		moved := 0
		for i := range uint64(10_000) {
			was := before(i)
			if is := after(i); was != names[gone] && is != was {
				t.Fatalf("flow %d moved from %s to %s when %s went", i, was, is, names[gone])
			} else if is != was {
				moved++
			}
		}
		if moved < 1500 || moved > 2500 {
			t.Errorf("%d of 10000 flows moved when %s went", moved, names[gone])
		}
	}
}

func TestHash_DeadCollectorsFlowsGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		list := []*collector{newCollector(1e6), newCollector(0), newCollector(1e6)}
		list[1].dead.Store(true)
		f := run(t, Config{Mode: Hash}, 64<<10, list...)
		p := define(t, f)
		began := time.Now()
		write(t, f, p, 200_000)
		if took := time.Since(began); took > 6*time.Second {
			t.Errorf("took %v", took)
		}
		_ = closeFanout(f, time.Second)
		got := len(list[0].got()) + len(list[2].got())
		st := f.Collectors()[1]
		if uint64(got)+st.RecordsDropped != 200_000 || st.RecordsDropped > 64<<10/20 || st.RecordsDiverted == 0 || !st.Behind {
			t.Errorf("%d received, %+v", got, st)
		}
	})
}

func TestHash_KeysWithoutAddresses(t *testing.T) {
	mac := []ipfix.FieldSpec{{ID: ie.ID{Num: 56}, Length: 6}, {ID: ie.ID{Num: 1}, Length: 8}}
	rec := func(m, n byte) []byte { return []byte{2, 0, 0, 0, 0, m, 0, 0, 0, 0, 0, 0, 0, n} }
	k := keyOf(0, mac)
	if k.hash(rec(1, 1)) == k.hash(rec(1, 2)) {
		t.Error("without flow keys the whole record counts")
	}
	k = k.withKeys(1)
	if k.hash(rec(1, 1)) != k.hash(rec(1, 2)) || k.hash(rec(1, 1)) == k.hash(rec(2, 1)) {
		t.Error("with flow keys they count alone")
	}
	if k := keyOf(1, mac); k.hash(rec(1, 1)) == k.hash(rec(1, 2)) {
		t.Error("options records count whole")
	}
	if k.hash(nil) != k.hash([]byte{}) {
		t.Error("a record that cannot be read")
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
