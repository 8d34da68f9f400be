package core

import (
	"testing"
	"time"
	"unsafe"

	"ipfixsuite/transport/dccp/ccid"
	"ipfixsuite/transport/dccp/ccid2"
	"ipfixsuite/transport/dccp/ccid3"
	"ipfixsuite/transport/dccp/wire"
)

// steady is two ends that exchange messages without anything in between, and
// without a word more than the protocol needs.
type steady struct {
	now       time.Time
	c         [2]*Conn
	buf       []byte
	p         wire.Packet
	id        uint64
	delivered int
	came      int
}

func newSteady(tb testing.TB, cfg Config) *steady {
	tb.Helper()
	p := opened(tb, cfg, cfg)
	return &steady{now: p.now, c: [2]*Conn{p.a.c, p.b.c}, buf: make([]byte, 0, 2048)}
}

func (s *steady) events(c *Conn) {
	for {
		e, ok := c.Event()
		if !ok {
			return
		}
		switch e.Kind {
		case EventDelivered:
			s.delivered++
		case EventData:
			s.came++
		}
	}
}

// quiet lets both send until neither wants to.
func (s *steady) quiet(tb testing.TB) {
	for more := true; more; {
		more = false
		for i, c := range s.c {
			for {
				b, _, ok := c.AppendPacket(s.now, s.buf[:0])
				s.events(c)
				if !ok {
					break
				}
				more = true
				if err := s.p.Parse(b); err != nil {
					tb.Fatal(err)
				}
				s.c[1-i].HandlePacket(s.now, &s.p)
				s.events(s.c[1-i])
			}
		}
	}
}

// step sends a message each way, or one way only, and lets time pass.
func (s *steady) step(tb testing.TB, msg []byte, both bool) {
	s.now = s.now.Add(200 * time.Microsecond)
	for i, c := range s.c {
		c.HandleTimer(s.now)
		s.events(c)
		if i == 0 || both {
			if err := c.Send(s.now, s.id, msg); err != nil {
				tb.Fatal(err)
			}
			s.id++
		}
	}
	s.quiet(tb)
	for _, c := range s.c {
		if t := c.NextTimer(); t.IsZero() {
			tb.Fatal("no timer")
		}
	}
}

var congestion = map[string]ccid.CCID{"ccid2": ccid2.New(), "ccid3": ccid3.New()}

// In the steady state no packet costs an allocation.
func TestSteadyStateAllocatesNothing(t *testing.T) {
	for name, d := range congestion {
		for _, both := range []bool{false, true} {
			s := newSteady(t, Config{CCIDs: []ccid.CCID{d}, QueueMessages: 10_000})
			msg := make([]byte, 1000)
			for range 3000 {
				s.step(t, msg, both)
			}
			came := s.came
			n := testing.AllocsPerRun(3000, func() { s.step(t, msg, both) })
			if n != 0 {
				t.Errorf("%s, both ways %v: %v allocations a message", name, both, n)
			}
			if s.came-came < 2000 || s.delivered < s.came/2 {
				t.Errorf("%s, both ways %v: %d messages came, %d are known to", name, both, s.came-came, s.delivered)
			}
		}
	}
}

// What an idle connection keeps.
func TestConnSize(t *testing.T) {
	p := opened(t, simConfig(t), simConfig(t))
	for _, s := range []*side{&p.a, &p.b} {
		n := int(unsafe.Sizeof(*s.c)) + cap(s.c.in.ring) + 16*cap(s.c.out.ring) + cap(s.c.queue.octets) +
			cap(s.c.scratch) + cap(s.c.vector) + cap(s.c.feat.confirms) + 48*cap(s.c.events.ring)
		t.Logf("%d octets, halves aside", n)
		if n > 6000 {
			t.Errorf("an idle connection keeps %d octets", n)
		}
	}
	p.a.c.Close(p.now)
	p.exchange()
	if c := p.a.c; c.State() != StateTimeWait || c.in.ring != nil || c.out.ring != nil || c.queue.octets != nil || c.sender != nil {
		t.Error("TIMEWAIT keeps memory")
	}
}

func BenchmarkMessage(b *testing.B) {
	for name, d := range congestion {
		b.Run(name, func(b *testing.B) {
			s := newSteady(b, Config{CCIDs: []ccid.CCID{d}, QueueMessages: 10_000})
			msg := make([]byte, 1000)
			for range 1000 {
				s.step(b, msg, false)
			}
			b.SetBytes(int64(len(msg)))
			b.ReportAllocs()
			for b.Loop() {
				s.step(b, msg, false)
			}
		})
	}
}

func BenchmarkHandshake(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		opened(b, simConfig(b), simConfig(b))
	}
}

func BenchmarkFloodOfRequests(b *testing.B) {
	l := newListener(b, func(c *ListenerConfig) { c.MaxHalfOpen, c.CookiesPerSecond = -1, 1<<30 })
	_, p := requestOf(b, plainConfig())
	buf := make([]byte, 0, 1500)
	b.ReportAllocs()
	for b.Loop() {
		q := p
		l.HandlePacket(start, tupleOf(1), &q, buf)
	}
}
