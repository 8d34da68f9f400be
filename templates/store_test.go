package templates

import (
	"encoding/hex"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipfixsuite/ie"
	"ipfixsuite/ipfix"
)

var start = time.Unix(1_700_000_000, 0)

// tset is a Template Set (id 2) or Options Template Set (id 3) of a message,
// its body in hex by hand.
func tset(t testing.TB, id uint16, body string) ipfix.Set {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(body), ""))
	if err != nil {
		t.Fatal(err)
	}
	return ipfix.Set{ID: id, Offset: ipfix.HeaderLen, Body: b}
}

const (
	addresses = "0100 0002  0008 0004  000c 0004"      // 256: two IPv4 addresses
	counters  = "0100 0002  0001 0008  0002 0008"      // 256: octets and packets
	other     = "0101 0001  0004 0001"                 // 257: protocol
	option    = "0102 0002 0001  0090 0004  00a6 0008" // 258: exportingProcessId; notSentFlowTotalCount
	none256   = "0100 0000"
	none258   = "0102 0000"
)

func at(s int) Message {
	return Message{Now: start.Add(time.Duration(s) * time.Second), ExportTime: uint32(start.Unix()) + uint32(s)}
}

// apply returns the kinds of the changes, "defined 256" and so on.
func apply(t testing.TB, d *Domain, m Message, set ipfix.Set) (got []string) {
	t.Helper()
	names := map[ChangeKind]string{
		Defined: "defined", Refreshed: "refreshed", Redefined: "redefined", Withdrawn: "withdrawn", Stale: "stale",
		IgnoredWithdrawal: "ignored", UnknownWithdrawal: "unknown", Invalid: "invalid", Refused: "refused",
	}
	d.Templates(m, set, func(c Change) {
		got = append(got, fmt.Sprintf("%s %d", names[c.Kind], c.ID))
		if (c.Kind == Defined || c.Kind == Redefined) && d.Lookup(c.ID) != c.Template {
			t.Errorf("template %d is told but not stored", c.ID)
		}
		if (c.Kind == Invalid || c.Kind == Refused) && c.Err == nil {
			t.Errorf("template %d: no reason", c.ID)
		}
	})
	return got
}

func TestStore_RFC7011_8(t *testing.T) {
	type step struct {
		at   int
		id   uint16
		body string
		want []string
	}
	tests := []struct {
		name     string
		reliable bool
		steps    []step
		stored   []uint16
	}{
		{"8: definition and refresh", false, []step{
			{0, 2, addresses + other, []string{"defined 256", "defined 257"}},
			{60, 2, addresses + other, []string{"refreshed 256", "refreshed 257"}},
		}, []uint16{256, 257}},
		{"8.4: UDP ignores withdrawals", false, []step{
			{0, 2, addresses, []string{"defined 256"}},
			{1, 2, none256 + "0002 0000", []string{"ignored 256", "ignored 2"}},
		}, []uint16{256}},
		{"8.4: UDP replaces", false, []step{
			{0, 2, addresses, []string{"defined 256"}},
			{1, 2, counters, []string{"redefined 256"}},
		}, []uint16{256}},
		{"8.2: an older definition that comes late changes nothing", false, []step{
			{5, 2, counters, []string{"defined 256"}},
			{4, 2, addresses, []string{"stale 256"}},
		}, []uint16{256}},
		{"8.2: a clock set back does", false, []step{
			{5000, 2, counters, []string{"defined 256"}},
			{4, 2, addresses, []string{"redefined 256"}},
		}, []uint16{256}},
		{"8.1: withdrawal", true, []step{
			{0, 2, addresses + other, []string{"defined 256", "defined 257"}},
			{0, 3, option, []string{"defined 258"}},
			{1, 2, none256, []string{"withdrawn 256"}},
			{2, 2, none256, []string{"unknown 256"}},
			{3, 2, counters, []string{"defined 256"}},
		}, []uint16{256, 257, 258}},
		{"8.1: withdrawal and reuse in the order of one set", true, []step{
			{0, 2, addresses, []string{"defined 256"}},
			{0, 2, none256 + counters, []string{"withdrawn 256", "defined 256"}},
		}, []uint16{256}},
		{"8.1: withdrawal by the wrong kind of set", true, []step{
			{0, 2, addresses, []string{"defined 256"}},
			{0, 3, option, []string{"defined 258"}},
			{1, 3, none256, []string{"unknown 256"}},
			{1, 2, none258, []string{"unknown 258"}},
		}, []uint16{256, 258}},
		{"8.1: all Templates", true, []step{
			{0, 2, addresses + other, []string{"defined 256", "defined 257"}},
			{0, 3, option, []string{"defined 258"}},
			{1, 2, "0002 0000", []string{"withdrawn 2"}},
		}, []uint16{258}},
		{"8.1: all Options Templates", true, []step{
			{0, 2, addresses, []string{"defined 256"}},
			{0, 3, option, []string{"defined 258"}},
			{1, 3, "0003 0000", []string{"withdrawn 3"}},
		}, []uint16{256}},
		{"8.1: redefined without a withdrawal", true, []step{
			{0, 2, addresses, []string{"defined 256"}},
			{1, 2, counters, []string{"redefined 256"}},
		}, []uint16{256}},
		{"3.4.1: a reserved id costs only itself", true, []step{
			{0, 2, "00ff 0001 0004 0001" + other, []string{"invalid 255", "defined 257"}},
		}, []uint16{257}},
		{"3.4.2.2: no scope", true, []step{
			{0, 3, "0103 0001 0000 0090 0004" + option, []string{"invalid 259", "defined 258"}},
		}, []uint16{258}},
		{"cut short", true, []step{
			{0, 2, other + "0100 0002 0008", []string{"defined 257", "invalid 0"}},
		}, []uint16{257}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := NewStore(StoreConfig{Registry: ie.IANA(), Reliable: tt.reliable}, nil)
			d := s.Domain(1)
			for i, st := range tt.steps {
				if diff := cmp.Diff(st.want, apply(t, d, at(st.at), tset(t, st.id, st.body))); diff != "" {
					t.Errorf("step %d: %s", i, diff)
				}
			}
			var stored []uint16
			for _, tm := range s.All() {
				stored = append(stored, tm.ID)
			}
			if diff := cmp.Diff(tt.stored, stored); diff != "" {
				t.Error(diff)
			}
			if st := s.Stats(); st.Templates != len(tt.stored) {
				t.Errorf("%d templates counted", st.Templates)
			}
			s.Close(nil)
			if got := s.Stats(); got.Templates != 0 || got.Fields != 0 || got.Domains != 0 {
				t.Errorf("after Close: %+v", got)
			}
		})
	}
}

func TestStore_DomainsAreApart_RFC7011_8(t *testing.T) {
	s := NewStore(StoreConfig{Registry: ie.IANA()}, nil)
	apply(t, s.Domain(1), at(0), tset(t, 2, addresses))
	apply(t, s.Domain(2), at(0), tset(t, 2, counters))
	if got := s.Lookup(1, 256).Fields[0].Num; got != 8 {
		t.Errorf("domain 1: element %d", got)
	}
	if got := s.Lookup(2, 256).Fields[0].Num; got != 1 {
		t.Errorf("domain 2: element %d", got)
	}
	if s.Lookup(3, 256) != nil {
		t.Error("domain 3 has a template")
	}
}

func TestStore_Lifetime_RFC7011_8_4(t *testing.T) {
	s := NewStore(StoreConfig{Registry: ie.IANA(), Lifetime: 100 * time.Second}, nil)
	d := s.Domain(1)
	apply(t, d, at(0), tset(t, 2, addresses+other))
	apply(t, d, at(90), tset(t, 2, addresses))
	s.Advance(at(110).Now, nil)
	if d.Lookup(256) == nil || d.Lookup(257) != nil {
		t.Error("the refreshed template is to live, the other not")
	}
	// Seen every 90 s, it lives three times that.
	s.Advance(at(90+265).Now, nil)
	if d.Lookup(256) == nil {
		t.Error("expired before three intervals")
	}
	s.Advance(at(90+280).Now, nil)
	if d.Lookup(256) != nil {
		t.Error("lives on")
	}
	if st := s.Stats(); st.Expired != 2 || st.Templates != 0 {
		t.Errorf("%+v", st)
	}

	r := NewStore(StoreConfig{Registry: ie.IANA(), Reliable: true}, nil)
	apply(t, r.Domain(1), at(0), tset(t, 2, addresses))
	r.Advance(at(1e7).Now, nil)
	if r.Lookup(1, 256) == nil {
		t.Error("expired on a reliable transport")
	}
}

func TestStore_Hold_RFC7011_9_3(t *testing.T) {
	b := NewBudget(Limits{})
	s := NewStore(StoreConfig{HeldAge: 30 * time.Second, Limits: Limits{HeldSets: 4, HeldBytes: 20}}, b)
	d := s.Domain(1)
	body := []byte("12345678")
	for i, id := range []uint16{256, 257, 256} {
		want := i < 2 // 24 octets are too many
		if got := d.Hold(at(i), ipfix.Set{ID: id, Body: body}); got != want {
			t.Errorf("set %d: held %v", i, got)
		}
	}
	copy(body, "xxxxxxxx") // the receive buffer is used again
	d.Hold(at(3), ipfix.Set{ID: 256, Body: []byte("abcd")})
	var got []string
	d.Release(256, func(h Held) { got = append(got, string(h.Body)) })
	if diff := cmp.Diff([]string{"12345678", "abcd"}, got); diff != "" {
		t.Error(diff)
	}
	s.Advance(at(10).Now, func(*Domain, Held) { t.Error("too early") })
	expired := 0
	s.Advance(at(40).Now, func(_ *Domain, h Held) { expired++ })
	st := s.Stats()
	if expired != 1 || st.SetsExpired != 1 || st.SetsRefused != 1 || st.SetsHeld != 3 || st.SetsReleased != 2 || st.HeldBytes != 0 || st.HeldSets != 0 {
		t.Errorf("expired %d, %+v", expired, st)
	}
}

// One exporter takes all it can get; another still has its share.
func TestBudget_FloodLeavesRoom(t *testing.T) {
	b := NewBudget(Limits{Templates: 100, Fields: 1000, HeldBytes: 1 << 16})
	flood := NewStore(StoreConfig{Reliable: true}, b)
	calm := NewStore(StoreConfig{Reliable: true}, b)
	d := flood.Domain(1)
	for id := 256; id < 4096; id++ {
		apply(t, d, at(0), tset(t, 2, fmt.Sprintf("%04x 0001 0008 0004", id)))
		d.Hold(at(0), ipfix.Set{ID: 9999, Body: make([]byte, 100)})
	}
	if got := d.Len(); got != 164 {
		t.Errorf("flood has %d templates, want 64 + 100", got)
	}
	c := calm.Domain(1)
	for id := 256; id < 256+64; id++ {
		if got := apply(t, c, at(0), tset(t, 2, fmt.Sprintf("%04x 0001 0008 0004", id))); got[0] != fmt.Sprintf("defined %d", id) {
			t.Fatal(got)
		}
	}
	if !c.Hold(at(0), ipfix.Set{ID: 9999, Body: make([]byte, 8000)}) {
		t.Error("no room for a held set")
	}
	flood.Close(nil)
	calm.Close(nil)
	if got := b.Used(); got != (Limits{}) {
		t.Errorf("left over: %+v", got)
	}
}

// A session that keeps making templates up loses its oldest, no memory.
func TestStore_Eviction(t *testing.T) {
	s := NewStore(StoreConfig{Limits: Limits{Templates: 10, Fields: 12}}, nil)
	d := s.Domain(1)
	for i := range 30 {
		apply(t, d, at(i), tset(t, 2, fmt.Sprintf("%04x 0001 0008 0004", 256+i)))
	}
	st := s.Stats()
	if d.Len() != 10 || st.Evicted != 20 || d.Lookup(256+29) == nil || d.Lookup(256+19) != nil {
		t.Errorf("%d templates, %+v", d.Len(), st)
	}
	apply(t, d, at(31), tset(t, 2, "0200 0008"+strings.Repeat("0008 0004", 8)))
	if d.Len() != 5 || s.Stats().Fields != 12 {
		t.Errorf("%d templates with %d fields, want 5 with 12", d.Len(), s.Stats().Fields)
	}
	if got := apply(t, d, at(32), tset(t, 2, "0201 000d"+strings.Repeat("0008 0004", 13))); got[0] != "refused 513" {
		t.Error(got)
	}
}

func TestStore_DomainLimit(t *testing.T) {
	s := NewStore(StoreConfig{Limits: Limits{Domains: 3}}, nil)
	for id := range uint32(3) {
		if s.Domain(id) == nil {
			t.Fatal(id)
		}
	}
	if s.Domain(3) != nil || s.Stats().DomainsRefused != 1 {
		t.Error("a fourth domain")
	}
	s.Drop(s.Domain(0), nil)
	if s.Domain(3) == nil {
		t.Error("no room after Drop")
	}
}

func TestStore_Learn_RFC5610_3_9(t *testing.T) {
	s := NewStore(StoreConfig{Registry: ie.IANA()}, nil)
	d, e := s.Domain(1), s.Domain(2)
	const enterprise = "0100 0002  8064 0004 00007ed9  0008 0004" // 32473/100
	apply(t, d, at(0), tset(t, 2, enterprise+other))
	apply(t, e, at(0), tset(t, 2, enterprise))
	unchanged := d.Lookup(257)
	el := ie.Element{ID: ie.ID{PEN: 32473, Num: 100}, Name: "widgetCount", Type: ie.Unsigned32}
	for range 2 { // the second time nothing happens
		if err := d.Learn(el); err != nil {
			t.Fatal(err)
		}
	}
	f := d.Lookup(256).Fields[0]
	if f.Element == nil || f.Element.Name != "widgetCount" || f.Type != ie.Unsigned32 {
		t.Errorf("%+v", f)
	}
	if d.Lookup(257) != unchanged {
		t.Error("a template without the element was compiled anew")
	}
	if e.Lookup(256).Fields[0].Element != nil {
		t.Error("learnt for another domain")
	}
	// Described in two ways, it is ignored.
	el.Type = ie.Unsigned16
	if err := d.Learn(el); err == nil {
		t.Error("a conflict is no error")
	}
	if d.Lookup(256).Fields[0].Element != nil {
		t.Error("still known after a conflict")
	}
	if err := d.Learn(ie.Element{ID: ie.ID{Num: 8}, Name: "mine", Type: ie.String}); err == nil {
		t.Error("overrides the registry of IANA")
	}
	if st := s.Stats(); st.Learnt != 1 || st.TypesRefused != 2 {
		t.Errorf("%+v", st)
	}
}

// t20 is a template with the 20 fields of workload T20.
func t20(id int) string {
	s := fmt.Sprintf("%04x 0014", id)
	for _, f := range []string{
		"0008 0004", "000c 0004", "0007 0002", "000b 0002", "0004 0001", "0001 0008", "0002 0008", "0098 0008", "0099 0008", "0006 0002",
		"000a 0004", "000e 0004", "0005 0001", "0088 0001", "003a 0002", "8001 0008 00007279", "8002 0008 00007279", "8064 0004 00007ed9", "003d 0001", "0060 ffff",
	} {
		s += f
	}
	return s
}

func TestStore_RefreshDoesNotAllocate(t *testing.T) {
	s := NewStore(StoreConfig{Registry: ie.IANA()}, nil)
	d := s.Domain(7)
	set := tset(t, 2, t20(256)+t20(257)+t20(300))
	refreshed := 0
	visit := func(c Change) {
		if c.Kind == Refreshed {
			refreshed++
		}
	}
	d.Templates(at(0), set, visit)
	if got := testing.AllocsPerRun(100, func() {
		s.Domain(7).Templates(at(1), set, visit)
		if d.Lookup(256) == nil || d.Lookup(300) == nil || d.Lookup(400) != nil {
			t.Fatal("lookup")
		}
	}); got != 0 {
		t.Errorf("%v allocations", got)
	}
	if refreshed != 101*3 {
		t.Errorf("%d refreshed", refreshed)
	}
}

func TestStore_MemoryPerTemplate(t *testing.T) {
	const n, sessions = 1000, 4
	var stores [sessions]*Store
	var sets []ipfix.Set
	for id := range n {
		sets = append(sets, tset(t, 2, t20(256+id)))
	}
	reg := ie.IANA()
	reg.Lookup(ie.ID{PEN: ie.ReversePEN, Num: 1}) // it is read at the first look-up, not counted
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range stores {
		stores[i] = NewStore(StoreConfig{Registry: reg}, nil)
		for _, set := range sets {
			stores[i].Domain(1).Templates(at(0), set, func(Change) {})
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	each := float64(after.HeapAlloc-before.HeapAlloc) / (n * sessions)
	t.Logf("%.0f octets a template of 20 fields", each)
	if each > 600 {
		t.Errorf("%.0f octets a template, want at most 600", each)
	}
	runtime.KeepAlive(stores)
}

func BenchmarkLookup(b *testing.B) {
	s := NewStore(StoreConfig{Registry: ie.IANA()}, nil)
	for id := range 50 {
		s.Domain(1).Templates(at(0), tset(b, 2, t20(256+id)), func(Change) {})
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if s.Lookup(1, uint16(256+i%50)) == nil {
			b.Fatal(i)
		}
		i++
	}
}

func FuzzStore(f *testing.F) {
	f.Add([]byte{0, 2, 0x01, 0x00, 0, 1, 0, 8, 0, 4}, true)
	f.Add([]byte{1, 3, 0x01, 0x02, 0, 2, 0, 1, 0, 0x90, 0, 4, 0, 0xa6, 0, 8}, false)
	f.Fuzz(func(t *testing.T, b []byte, reliable bool) {
		budget := NewBudget(Limits{Templates: 8, Fields: 64, HeldSets: 4, HeldBytes: 256, Domains: 2})
		s := NewStore(StoreConfig{Registry: ie.IANA(), Reliable: reliable, Limits: Limits{Templates: 70, Fields: 2100, HeldSets: 20, Domains: 5}}, budget)
		now := 0
		for len(b) > 2 {
			n := min(len(b)-2, 4+int(b[0]>>3))
			d := s.Domain(uint32(b[0] & 7))
			set := ipfix.Set{ID: uint16(b[1]&1) + 2, Offset: 16, Body: b[2 : 2+n]}
			now += int(b[1] >> 1)
			b = b[2+n:]
			if d == nil {
				continue
			}
			d.Templates(at(now), set, func(c Change) {
				if c.Kind == Defined || c.Kind == Redefined {
					d.Release(c.ID, func(Held) {})
				}
			})
			d.Hold(at(now), ipfix.Set{ID: 300, Body: set.Body})
			s.Advance(at(now).Now, nil)
			st := s.Stats()
			if st.Templates > 70 || st.Fields > 2100 || st.HeldSets > 20 || st.Domains > 5 {
				t.Fatalf("beyond the bounds: %+v", st)
			}
			fields := 0
			for _, tm := range s.All() {
				fields += len(tm.Fields)
			}
			if fields != st.Fields {
				t.Fatalf("%d fields stored, %d counted", fields, st.Fields)
			}
		}
		s.Close(nil)
		if got := budget.Used(); got != (Limits{}) || s.Stats().Templates != 0 {
			t.Fatalf("left over: %+v", got)
		}
	})
}
