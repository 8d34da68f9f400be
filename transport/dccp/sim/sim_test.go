package sim

import (
	"encoding/binary"
	"errors"
	"hash/fnv"
	"math"
	"testing"
	"time"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// source sends count packets of size octets, one every gap (all at once when
// 0), each with its number; it also notes what comes.
type source struct {
	count, size int
	gap         time.Duration
	capable     bool

	sent int
	at   time.Time
	got  []arrival
}

type arrival struct {
	at time.Time
	no int
	ce bool
}

func (s *source) Receive(now time.Time, p Packet) {
	s.got = append(s.got, arrival{now, int(binary.BigEndian.Uint32(p.Data)), p.CE})
}

func (s *source) Transmit(now time.Time, b []byte) ([]byte, bool, bool) {
	if s.sent >= s.count || now.Before(s.at) {
		return b, false, false
	}
	if s.gap > 0 {
		if s.at.IsZero() {
			s.at = now
		}
		s.at = s.at.Add(s.gap)
	}
	b = binary.BigEndian.AppendUint32(b, uint32(s.sent))
	s.sent++
	return append(b, make([]byte, s.size-4)...), s.capable, true
}

func (s *source) Advance(time.Time) {}

func (s *source) Next() time.Time {
	if s.sent >= s.count {
		return time.Time{}
	}
	return s.at
}

// send runs src against a silent peer over one link and returns what came.
func send(t *testing.T, seed uint64, cfg LinkConfig, src *source) ([]arrival, LinkStats) {
	t.Helper()
	n := New(seed, epoch)
	l := n.Link(cfg)
	dst := new(source)
	n.Connect(src, dst, []*Link{l}, nil)
	if err := n.Run(time.Hour); err != nil {
		t.Fatal(err)
	}
	if c := n.Flight(); c != 0 {
		t.Errorf("%d packets still on the link", c)
	}
	return dst.got, l.Stats()
}

func TestRateAndDelay(t *testing.T) {
	// 1000 octets at 8 Mbit/s take 1 ms; the 5 ms of propagation add to each.
	got, _ := send(t, 1, LinkConfig{Rate: 8e6, Delay: 5 * time.Millisecond}, &source{count: 50, size: 1000})
	if len(got) != 50 {
		t.Fatalf("%d packets of 50", len(got))
	}
	for i, a := range got {
		want := epoch.Add(5*time.Millisecond + time.Duration(i+1)*time.Millisecond)
		if a.no != i || !a.at.Equal(want) {
			t.Errorf("packet %d is %d at %v, want %v", i, a.no, a.at.Sub(epoch), want.Sub(epoch))
		}
	}
}

func TestQueueDropsTheTail(t *testing.T) {
	// One packet is being sent; with it, 10 000 octets may wait: 10 of 40 get in.
	got, st := send(t, 1, LinkConfig{Rate: 8e6, Queue: 10000}, &source{count: 40, size: 1000})
	if len(got) != 10 || st.Overflowed != 30 || st.Delivered != 10 || st.Lost != 0 {
		t.Fatalf("%d arrived, %+v", len(got), st)
	}
	for i, a := range got {
		if a.no != i {
			t.Errorf("packet %d survived as number %d: not the tail was dropped", a.no, i)
		}
	}
	// A packet larger than the queue passes when nothing waits.
	if got, _ := send(t, 1, LinkConfig{Rate: 8e6, Queue: 500}, &source{count: 2, size: 1000, gap: time.Second}); len(got) != 2 {
		t.Errorf("%d of 2 packets on an idle line with a short queue", len(got))
	}
}

func TestJitterKeepsOrder(t *testing.T) {
	got, st := send(t, 3, LinkConfig{Delay: time.Millisecond, Jitter: 20 * time.Millisecond}, &source{count: 2000, size: 100, gap: time.Millisecond})
	if len(got) != 2000 || st.Reordered != 0 {
		t.Fatalf("%d packets, %+v", len(got), st)
	}
	different := map[time.Duration]bool{}
	for i, a := range got {
		late := a.at.Sub(epoch.Add(time.Duration(i) * time.Millisecond))
		if a.no != i || late < time.Millisecond || late >= 21*time.Millisecond {
			t.Fatalf("packet %d is %d, %v after it was sent", i, a.no, late)
		}
		different[late] = true
	}
	if len(different) < 500 {
		t.Errorf("only %d delays: no jitter", len(different))
	}
}

func TestReorder(t *testing.T) {
	got, st := send(t, 4, LinkConfig{Delay: time.Millisecond, Reorder: 0.1, ReorderBy: 3500 * time.Microsecond}, &source{count: 5000, size: 100, gap: time.Millisecond})
	late := 0
	highest := -1
	for _, a := range got {
		if a.no < highest {
			late++
			if highest-a.no > 3 {
				t.Fatalf("packet %d came after %d: held back for more than three packets' time", a.no, highest)
			}
		}
		highest = max(highest, a.no)
	}
	if len(got) != 5000 || st.Reordered < 400 || st.Reordered > 600 {
		t.Errorf("%d packets, %+v", len(got), st)
	}
	if late < 300 {
		t.Errorf("%d packets were overtaken", late)
	}
}

func TestLossIsWhatWasAskedFor(t *testing.T) {
	const count = 200000
	src := &source{count: count, size: 16, gap: time.Microsecond}
	got, st := send(t, 5, LinkConfig{Loss: 0.05}, src)
	// Five standard deviations of a binomial distribution.
	if d := math.Abs(float64(st.Lost) - 0.05*count); d > 5*math.Sqrt(count*0.05*0.95) {
		t.Errorf("%d of %d lost", st.Lost, count)
	}
	if uint64(len(got))+st.Lost != count {
		t.Errorf("%d arrived, %d lost, of %d", len(got), st.Lost, count)
	}
}

func TestBurstsAreAsLongAsAskedFor(t *testing.T) {
	const count = 200000
	got, st := send(t, 6, LinkConfig{BurstStart: 0.002, BurstEnd: 0.2}, &source{count: count, size: 16, gap: time.Microsecond})
	bursts := 0
	for i := 1; i < len(got); i++ {
		if got[i].no > got[i-1].no+1 {
			bursts++
		}
	}
	mean := float64(st.Lost) / float64(bursts)
	if bursts < 300 || bursts > 500 || mean < 4 || mean > 6 {
		t.Errorf("%d bursts of %.2f packets, want about 390 of 5", bursts, mean)
	}
}

func TestDuplicatesAreCopies(t *testing.T) {
	got, st := send(t, 7, LinkConfig{Rate: 1e9, Duplicate: 0.25}, &source{count: 4000, size: 64})
	if uint64(len(got)) != 4000+st.Duplicated || st.Duplicated < 850 || st.Duplicated > 1150 {
		t.Errorf("%d arrived, %+v", len(got), st)
	}
	seen := map[int]int{}
	for _, a := range got {
		seen[a.no]++
	}
	if len(seen) != 4000 {
		t.Errorf("%d different packets", len(seen))
	}
}

func TestMarks(t *testing.T) {
	count := func(got []arrival) (n uint64) {
		for _, a := range got {
			if a.ce {
				n++
			}
		}
		return n
	}
	got, st := send(t, 8, LinkConfig{Mark: 0.5}, &source{count: 1000, size: 64, capable: true})
	if n := count(got); n != st.Marked || n < 400 || n > 600 {
		t.Errorf("%d marked, %+v", n, st)
	}
	// What is not ECN-capable is not marked (RFC 3168, Section 5).
	if got, _ := send(t, 8, LinkConfig{Mark: 0.5}, &source{count: 1000, size: 64}); count(got) != 0 {
		t.Error("packets that may not be marked were")
	}
	// The threshold: the first 6 of 20 find at most 5000 octets waiting.
	got, _ = send(t, 8, LinkConfig{Rate: 8e6, MarkAt: 5000}, &source{count: 20, size: 1000, capable: true})
	for i, a := range got {
		if a.ce != (i > 5) {
			t.Errorf("packet %d: marked %v", i, a.ce)
		}
	}
}

func TestDownAndFilter(t *testing.T) {
	n := New(1, epoch)
	l := n.Link(LinkConfig{})
	src, dst := &source{count: 100, size: 64, gap: time.Millisecond}, new(source)
	n.Connect(src, dst, []*Link{l}, nil)
	n.At(9500*time.Microsecond, func() { l.SetDown(true) })
	n.At(19500*time.Microsecond, func() { l.SetDown(false) })
	l.Filter = func(_ time.Time, b []byte) bool { return binary.BigEndian.Uint32(b) != 50 }
	if err := n.Run(time.Second); err != nil {
		t.Fatal(err)
	}
	if st := l.Stats(); len(dst.got) != 89 || st.Lost != 11 {
		t.Errorf("%d arrived, %+v", len(dst.got), st)
	}
	for _, a := range dst.got {
		if a.no >= 10 && a.no < 20 || a.no == 50 {
			t.Errorf("packet %d went through a link that was down", a.no)
		}
	}
}

// TestTwoRunsAreEqual: everything follows from the seed.
func TestTwoRunsAreEqual(t *testing.T) {
	run := func(seed uint64) uint64 {
		cfg := LinkConfig{Rate: 1e6, Queue: 20000, Delay: 3 * time.Millisecond, Jitter: time.Millisecond,
			Loss: 0.01, BurstStart: 0.01, BurstEnd: 0.5, Reorder: 0.05, ReorderBy: 9 * time.Millisecond, Duplicate: 0.05, Mark: 0.1}
		got, _ := send(t, seed, cfg, &source{count: 3000, size: 120, gap: 900 * time.Microsecond, capable: true})
		h := fnv.New64a()
		for _, a := range got {
			var b [17]byte
			binary.BigEndian.PutUint64(b[:], uint64(a.no))
			binary.BigEndian.PutUint64(b[8:], uint64(a.at.UnixNano()))
			if a.ce {
				b[16] = 1
			}
			h.Write(b[:])
		}
		return h.Sum64()
	}
	if a, b := run(42), run(42); a != b {
		t.Errorf("the same seed gave %x and %x", a, b)
	}
	if run(42) == run(43) {
		t.Error("another seed gave the same packets")
	}
}

func TestBottleneckIsShared(t *testing.T) {
	n := New(1, epoch)
	shared := n.Link(LinkConfig{Rate: 8e6, Queue: 1 << 20})
	var sinks [4]*source
	for i := range sinks {
		access := n.Link(LinkConfig{Delay: time.Duration(i+1) * time.Millisecond})
		sinks[i] = new(source)
		n.Connect(&source{count: 100, size: 1000}, sinks[i], []*Link{access, shared}, nil)
	}
	if err := n.Run(399 * time.Millisecond); err != nil {
		t.Fatal(err)
	}
	total := 0
	for i, s := range sinks {
		if i < 3 && len(s.got) != 100 {
			t.Errorf("flow %d: %d packets", i, len(s.got))
		}
		total += len(s.got)
	}
	// 1000 packets a second, the first after 1 ms of access and 1 ms of sending.
	if total != 398 {
		t.Errorf("%d packets in 399 ms of a line for 1000 a second", total)
	}
}

// restless asks to be woken at once, for ever.
type restless struct{ source }

func (*restless) Next() time.Time { return epoch }

func TestStuckEndpointEndsTheRun(t *testing.T) {
	n := New(1, epoch)
	a, _ := n.Connect(new(restless), new(source), nil, nil)
	a.Name = "restless"
	err := n.Run(time.Second)
	if e, ok := errors.AsType[*StuckError](err); !ok || e.Node != "restless" || e.At != 0 {
		t.Errorf("got %v", err)
	}
}

// pingpong answers each packet; its timer moves with each of them.
type pingpong struct {
	due  bool
	at   time.Time
	got  int
	late int
}

func (p *pingpong) Receive(now time.Time, _ Packet) {
	p.due, p.at = true, now.Add(time.Second)
	p.got++
}

func (p *pingpong) Transmit(_ time.Time, b []byte) ([]byte, bool, bool) {
	if !p.due {
		return b, false, false
	}
	p.due = false
	return append(b, 1, 2, 3, 4), false, true
}

func (p *pingpong) Advance(time.Time) { p.late++; p.at = time.Time{} }
func (p *pingpong) Next() time.Time   { return p.at }

func TestPacketsCostNoAllocation(t *testing.T) {
	n := New(1, epoch)
	l := n.Link(LinkConfig{Rate: 1e6, Queue: 1e6, Delay: time.Millisecond, Jitter: time.Millisecond, Loss: 1e-9})
	a, b := &pingpong{due: true}, new(pingpong)
	n.Connect(a, b, []*Link{l}, []*Link{l})
	if err := n.Run(10 * time.Second); err != nil {
		t.Fatal(err)
	}
	before := a.got
	if allocs := testing.AllocsPerRun(10, func() { _ = n.Run(time.Second) }); allocs != 0 {
		t.Errorf("%v allocations in a second of packets", allocs)
	}
	if a.got-before < 3000 {
		t.Errorf("%d packets", a.got-before)
	}
	// Timers that are put off with each packet: once the line is cut, each of
	// the two fires once.
	l.SetDown(true)
	if err := n.Run(10 * time.Second); err != nil || a.late != 1 || b.late != 1 {
		t.Errorf("timers fired %d and %d times, %v", a.late, b.late, err)
	}
}

func TestEveryAndAt(t *testing.T) {
	n := New(1, epoch)
	var at []time.Duration
	n.Every(time.Second, 2*time.Second, func() bool {
		at = append(at, n.Elapsed())
		return len(at) < 3
	})
	n.At(500*time.Millisecond, func() { at = append(at, n.Elapsed()) })
	if err := n.Run(time.Minute); err != nil {
		t.Fatal(err)
	}
	want := []time.Duration{500 * time.Millisecond, time.Second, 3 * time.Second}
	if len(at) != 3 || at[0] != want[0] || at[1] != want[1] || at[2] != want[2] {
		t.Errorf("%v, want %v", at, want)
	}
	if n.Elapsed() != time.Minute || !n.Now().Equal(epoch.Add(time.Minute)) {
		t.Errorf("the clock stands at %v", n.Elapsed())
	}
}
