package core

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"ipfixsuite/transport/dccp/ccid"
	"ipfixsuite/transport/dccp/wire"
)

// plain is congestion control that lets everything go and acknowledges every
// data packet at once: the connection alone is under test.
func plain() ccid.CCID {
	return ccid.CCID{
		ID:          ccid.TCPLike,
		NewSender:   func(ccid.Setup) ccid.Sender { return &plainSender{} },
		NewReceiver: func(ccid.Setup) ccid.Receiver { return &plainReceiver{} },
		Needs:       []ccid.Need{{Feature: wire.FeatSendAckVector, Remote: true, Values: []byte{1}, Mandatory: true}},
	}
}

type plainSender struct {
	wishes ccid.Wishes
	acks   int
	hold   bool
	values map[wire.Feature]uint64
	since  int
}

func (s *plainSender) Allowed(time.Time, int) (bool, time.Time)   { return !s.hold, time.Time{} }
func (s *plainSender) CCVal(time.Time) uint8                      { return 0 }
func (s *plainSender) AppendOptions(_ time.Time, b []byte) []byte { return b }
func (s *plainSender) Heard(time.Time, *ccid.Received)            {}
func (s *plainSender) Acked(time.Time, *ccid.Ack)                 { s.acks++ }
func (s *plainSender) SetMPS(int)                                 {}
func (s *plainSender) Next() time.Time                            { return time.Time{} }
func (s *plainSender) Advance(time.Time)                          {}
func (s *plainSender) Stats() ccid.SenderStats                    { return ccid.SenderStats{} }
func (s *plainSender) Sent(_ time.Time, p ccid.Sent) {
	s.since++
	if p.Ack {
		s.since = 0
	}
}
func (s *plainSender) Wishes() ccid.Wishes {
	w := s.wishes
	w.AckOfAcks = s.since >= 16
	return w
}
func (s *plainSender) Feature(f wire.Feature, v uint64) {
	if s.values == nil {
		s.values = map[wire.Feature]uint64{}
	}
	s.values[f] = v
}

type plainReceiver struct{ due bool }

func (r *plainReceiver) Received(_ time.Time, p *ccid.Received)            { r.due = r.due || p.Data }
func (r *plainReceiver) AckDue(time.Time) bool                             { return r.due }
func (r *plainReceiver) AppendOptions(_ time.Time, b []byte, _ int) []byte { return b }
func (r *plainReceiver) AckSent(time.Time, wire.Seq, bool)                 { r.due = false }
func (r *plainReceiver) Feature(wire.Feature, uint64)                      {}
func (r *plainReceiver) SetRTT(time.Duration)                              {}
func (r *plainReceiver) Next() time.Time                                   { return time.Time{} }
func (r *plainReceiver) Stats() ccid.ReceiverStats                         { return ccid.ReceiverStats{} }

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

const service = wire.ServiceCode(0x3f495046)

func plainConfig() Config { return Config{CCIDs: []ccid.CCID{plain()}} }

// side is one end in a test, with what it was told.
type side struct {
	t      testing.TB
	c      *Conn
	got    []string
	events []Event
	ids    map[EventKind][]uint64
	sent   []wire.Packet // what it sent, parsed
}

func (s *side) drain() {
	for {
		e, ok := s.c.Event()
		if !ok {
			return
		}
		if s.ids == nil {
			s.ids = map[EventKind][]uint64{}
		}
		s.ids[e.Kind] = append(s.ids[e.Kind], e.Message)
		if e.Kind == EventData {
			s.got = append(s.got, string(e.Data))
		}
		s.events = append(s.events, e)
	}
}

func (s *side) count(k EventKind) int { return len(s.ids[k]) }

// packets takes all that the side wants to send now.
func (s *side) packets(now time.Time) (out []*wire.Packet) {
	s.t.Helper()
	for {
		if s.c == nil {
			return out
		}
		b, sent, ok := s.c.AppendPacket(now, nil)
		s.drain()
		if !ok {
			return out
		}
		p := new(wire.Packet)
		if err := p.Parse(b); err != nil {
			s.t.Fatalf("own packet %x: %v", b, err)
		}
		if p.Type != sent.Type || p.Seq != sent.Seq {
			s.t.Fatalf("made %v %d, said %v %d", p.Type, p.Seq, sent.Type, sent.Seq)
		}
		s.sent = append(s.sent, *p)
		out = append(out, p)
		if len(out) > 10000 {
			s.t.Fatal("it never ends")
		}
	}
}

func (s *side) handle(now time.Time, p *wire.Packet) {
	q := *p
	s.c.HandlePacket(now, &q)
	s.drain()
}

// pair is a client and a server without a network between them.
type pair struct {
	t        testing.TB
	now      time.Time
	listener *Listener
	tuple    Tuple
	a, b     side // client, server
	// lose decides what does not arrive.
	lose func(toServer bool, p *wire.Packet) bool
}

type seeded struct{ *rand.ChaCha8 }

func testRand(seed uint64) seeded {
	var b [32]byte
	binary.LittleEndian.PutUint64(b[:], seed)
	return seeded{rand.NewChaCha8(b)}
}

func newPair(t testing.TB, client, server Config) *pair {
	t.Helper()
	l, err := NewListener(ListenerConfig{Config: server, Services: []wire.ServiceCode{service}, Rand: testRand(1)})
	if err != nil {
		t.Fatal(err)
	}
	p := &pair{t: t, now: start, listener: l}
	p.tuple = Tuple{LocalPort: 5001, RemotePort: 40000}
	p.a = side{t: t, c: NewClient(p.now, client, Ports{Local: 40000, Remote: 5001, Service: service}, 1000)}
	p.b.t = t
	return p
}

// exchange lets packets pass until both are silent.
func (p *pair) exchange() {
	p.t.Helper()
	for round := 0; ; round++ {
		out, back := p.a.packets(p.now), p.b.packets(p.now)
		if len(out)+len(back) == 0 {
			return
		}
		if round > 1000 {
			p.t.Fatal("the two never fall silent")
		}
		for _, q := range out {
			if p.lose == nil || !p.lose(true, q) {
				p.toServer(q)
			}
		}
		for _, q := range back {
			if p.lose == nil || !p.lose(false, q) {
				p.a.handle(p.now, q)
			}
		}
	}
}

func (p *pair) toServer(q *wire.Packet) {
	if p.b.c != nil {
		p.b.handle(p.now, q)
		return
	}
	r := *q
	reply, c := p.listener.HandlePacket(p.now, p.tuple, &r, nil)
	if c != nil {
		p.b.c = c
		p.b.drain()
		return
	}
	if len(reply) > 0 {
		var r wire.Packet
		if err := r.Parse(reply); err != nil {
			p.t.Fatal(err)
		}
		if p.lose == nil || !p.lose(false, &r) {
			p.a.handle(p.now, &r)
		}
	}
}

// pass lets time go by, with all timers and packets in it.
func (p *pair) pass(d time.Duration) {
	p.t.Helper()
	end := p.now.Add(d)
	p.exchange()
	for n := 0; ; n++ {
		if n > 100000 {
			p.t.Fatal("timers without end")
		}
		next := end
		for _, s := range []*side{&p.a, &p.b} {
			if s.c != nil {
				if t := s.c.NextTimer(); !t.IsZero() && t.Before(next) {
					next = t
				}
			}
		}
		if next.After(p.now) {
			p.now = next
		}
		for _, s := range []*side{&p.a, &p.b} {
			if s.c != nil {
				s.c.HandleTimer(p.now)
				s.drain()
			}
		}
		p.exchange()
		if !p.now.Before(end) {
			return
		}
	}
}

// opened is a pair after its handshake.
func opened(t testing.TB, client, server Config) *pair {
	t.Helper()
	p := newPair(t, client, server)
	p.exchange()
	p.wantStates(StateOpen, StateOpen)
	return p
}

func (p *pair) wantStates(a, b State) {
	p.t.Helper()
	have := StateClosed
	if p.b.c != nil {
		have = p.b.c.State()
	}
	if p.a.c.State() != a || have != b {
		p.t.Fatalf("client %v (%v), server %v; want %v, %v", p.a.c.State(), p.a.c.Err(), have, a, b)
	}
}

func messages(from, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("message %d", from+i)
	}
	return out
}

func (p *pair) send(s *side, from, n int) {
	p.t.Helper()
	for i, m := range messages(from, n) {
		if err := s.c.Send(p.now, uint64(from+i), []byte(m)); err != nil {
			p.t.Fatal(err)
		}
	}
}
