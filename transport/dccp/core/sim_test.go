package core

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"ipfixsuite/transport/dccp/ccid"
	"ipfixsuite/transport/dccp/ccid2"
	"ipfixsuite/transport/dccp/ccid3"
	"ipfixsuite/transport/dccp/sim"
	"ipfixsuite/transport/dccp/wire"
)

// simEnd is one end of a simulated connection, its application and its judge:
// each packet that it sends is held against what it can know.
type simEnd struct {
	seed     uint64
	name     string
	cfg      Config
	c        *Conn
	listener *Listener // for what has no connection
	tuple    Tuple
	peer     *simEnd
	node     *sim.Node
	replies  [][]byte

	toSend, sent int // messages of the application
	size         func() int
	closes       bool // this end ends the connection
	aborts       bool
	opened       bool
	closed       bool
	refuse       func() bool

	fates   []EventKind // by message id
	arrived map[uint64]bool
	wired   map[uint64]bool   // transmitted
	came    map[wire.Seq]bool // packets that the network brought
	next    wire.Seq          // number of the next packet it sends
	began   bool
	faults  []string
}

func (e *simEnd) fault(format string, args ...any) {
	if len(e.faults) < 10 {
		e.faults = append(e.faults, e.name+": "+fmt.Sprintf(format, args...))
	}
}

func (e *simEnd) Receive(now time.Time, p sim.Packet) {
	var q wire.Packet
	if err := q.Parse(p.Data); err != nil {
		e.fault("unreadable packet: %v", err)
		return
	}
	e.came[q.Seq] = true
	if e.c == nil || e.c.State() == StateClosed {
		reply, c := e.listener.HandlePacket(now, e.tuple, &q, nil)
		if len(reply) > 0 {
			e.replies = append(e.replies, reply)
		}
		if c == nil {
			return
		}
		if e.c != nil {
			// An old Request that was on its way for long: not this test's.
			e.listener.Settled(e.tuple)
			return
		}
		e.c = c
	} else {
		e.c.HandlePacket(now, &q)
	}
	e.events(now)
	e.application(now)
}

func (e *simEnd) Transmit(now time.Time, b []byte) ([]byte, bool, bool) {
	if n := len(e.replies); n > 0 {
		b = append(b, e.replies[n-1]...)
		e.replies = e.replies[:n-1]
		return b, false, true
	}
	if e.c == nil {
		return b, false, false
	}
	e.application(now)
	out, s, ok := e.c.AppendPacket(now, b)
	e.events(now)
	if ok {
		e.judge(out[len(b):], s)
	}
	return out, false, ok
}

func (e *simEnd) Advance(now time.Time) {
	if e.c != nil {
		e.c.HandleTimer(now)
		e.events(now)
		e.application(now)
	}
}

func (e *simEnd) Next() time.Time {
	if e.c == nil {
		return time.Time{}
	}
	return e.c.NextTimer()
}

// application queues its messages, and closes when they are gone.
func (e *simEnd) application(now time.Time) {
	for e.sent < e.toSend && !e.closed && e.c.State() <= StateOpen {
		n := max(9, min(e.size(), e.c.MPS()))
		msg := make([]byte, n)
		binary.BigEndian.PutUint64(msg, uint64(e.sent))
		msg[8] = byte(e.sent)
		err := e.c.Send(now, uint64(e.sent), msg)
		if err != nil {
			return
		}
		e.sent++
	}
	if e.opened && !e.closed && e.sent == e.toSend && e.peer.sent == e.peer.toSend &&
		e.c.queue.n == 0 && e.peer.c.queue.n == 0 {
		if e.aborts {
			e.c.Abort(now, wire.ResetAborted)
		} else if e.closes {
			e.c.Close(now)
		}
		e.events(now)
	}
}

func (e *simEnd) events(now time.Time) {
	for {
		ev, ok := e.c.Event()
		if !ok {
			return
		}
		switch ev.Kind {
		case EventOpened:
			e.opened = true
		case EventClosed:
			e.closed = true
		case EventData:
			if e.refuse() {
				e.c.Refuse(wire.DropReceiveBuffer)
				continue
			}
			id := binary.BigEndian.Uint64(ev.Data)
			if ev.Data[8] != byte(id) {
				e.fault("message %d is not what was sent", id)
			}
			if e.arrived[id] {
				e.fault("message %d came twice", id)
			}
			e.arrived[id] = true
		case EventTransmitted:
			if e.wired[ev.Message] {
				e.fault("message %d transmitted twice", ev.Message)
			}
			e.wired[ev.Message] = true
		case EventDelivered, EventLost, EventUnconfirmed, EventDropped:
			if have := e.fates[ev.Message]; have != 0 {
				e.fault("message %d is %v after it was %v", ev.Message, ev.Kind, have)
			}
			e.fates[ev.Message] = ev.Kind
			if ev.Kind != EventDropped && !e.wired[ev.Message] {
				e.fault("message %d is %v but never was transmitted", ev.Message, ev.Kind)
			}
			if ev.Kind == EventDelivered && !e.peer.arrived[ev.Message] {
				e.fault("message %d is Delivered but did not arrive", ev.Message)
			}
		}
	}
}

// judge holds a packet of ours against the rules.
func (e *simEnd) judge(b []byte, s Sent) {
	var p wire.Packet
	if err := p.Parse(b); err != nil {
		e.fault("sends what cannot be read: %v", err)
		return
	}
	if !s.MayFragment && len(b) > max(e.c.path.mtu, e.c.path.size) && e.c.path.mtu > 0 {
		e.fault("%v of %d octets, packet size is %d", p.Type, len(b), e.c.path.mtu)
	}
	if s.HasMessage && s.MayFragment && len(p.Data) <= e.c.MPS() {
		e.fault("%v of %d octets with a message of %d, MPS %d", p.Type, len(b), len(p.Data), e.c.MPS())
	}
	stray := e.c.State() == StateTimeWait
	if !stray {
		// Each packet takes the next number (RFC 4340, Section 7).
		if e.began && p.Seq != e.next {
			e.fault("%v numbered %d after %d", p.Type, p.Seq, e.next-1)
		}
		e.began, e.next = true, p.Seq.Add(1)
	}
	if p.Type == wire.Data && !e.opened {
		e.fault("Data before OPEN")
	}
	if !p.Type.HasAck() || p.Type == wire.Reset && p.Ack == 0 {
		return
	}
	// What is acknowledged has come.
	if !e.came[p.Ack] {
		e.fault("%v acknowledges %d, which never came", p.Type, p.Ack)
	}
	runs := wire.NewAckRuns(p.Ack)
	for r := wire.ReadOptions(p.Options); r.Next(); {
		if r.Option.Type != wire.OptAckVector0 {
			continue
		}
		for runs.Feed(r.Option.Data); runs.Next(); {
			for i := range int64(runs.Run.Len) {
				seq := runs.Run.Last.Add(-i)
				if runs.Run.State != wire.AckMissing && !e.came[seq] {
					e.fault("Ack Vector reports %d, which never came", seq)
				}
			}
		}
	}
}

// scenario draws a path, two applications and two configurations.
func scenario(seed uint64) (*sim.Net, *simEnd, *simEnd, []*sim.Link) {
	n := sim.New(seed, start)
	rnd := rand.New(rand.NewPCG(seed, 77))
	some := func(p float64, f func() float64) float64 {
		if rnd.Float64() < p {
			return f()
		}
		return 0
	}
	link := func() *sim.Link {
		cfg := sim.LinkConfig{
			Delay:     time.Duration(rnd.IntN(150)) * time.Millisecond,
			Jitter:    time.Duration(rnd.IntN(20)) * time.Millisecond,
			Loss:      some(0.6, func() float64 { return rnd.Float64() * 0.3 }),
			Duplicate: some(0.4, func() float64 { return rnd.Float64() * 0.2 }),
			Reorder:   some(0.4, func() float64 { return rnd.Float64() * 0.2 }),
			ReorderBy: time.Duration(rnd.IntN(200)) * time.Millisecond,
		}
		if rnd.IntN(3) == 0 {
			cfg.BurstStart, cfg.BurstEnd = rnd.Float64()*0.02, 0.05+rnd.Float64()*0.3
		}
		if rnd.IntN(3) == 0 {
			cfg.Rate, cfg.Queue = int64(100_000+rnd.IntN(5_000_000)), 5000+rnd.IntN(50_000)
		}
		l := n.Link(cfg)
		if rnd.IntN(4) == 0 { // a path that large packets do not pass
			most := 600 + rnd.IntN(900)
			l.Filter = func(_ time.Time, b []byte) bool { return len(b) <= most }
		}
		return l
	}
	lists := [][]ccid.CCID{{ccid2.New()}, {ccid3.New()}, {ccid2.New(), ccid3.New()}, {ccid3.New(), ccid2.New()}}
	// Lists that have something in common.
	both := rnd.IntN(2)
	pick := func() []ccid.CCID {
		if k := rnd.IntN(3); k < 2 {
			return lists[2+k]
		}
		return lists[both]
	}
	end := func(name string) *simEnd {
		cfg := Config{CCIDs: pick(), MTU: 576, QueueMessages: 1 + rnd.IntN(50), Policy: QueuePolicy(max(0, rnd.IntN(8)-5)),
			HoldTimeWait: rnd.IntN(2) == 0, DataChecksum: rnd.IntN(4) == 0}
		if rnd.IntN(2) == 0 {
			cfg.MaxMTU = 1460
		}
		if rnd.IntN(4) == 0 {
			cfg.SequenceWindow = 32 + rnd.Uint64N(100)
		}
		most := 20 + rnd.IntN(500)
		e := &simEnd{seed: seed, name: name, cfg: cfg, arrived: map[uint64]bool{}, wired: map[uint64]bool{},
			came: map[wire.Seq]bool{}, size: func() int { return 9 + rnd.IntN(most) }}
		if rnd.IntN(4) > 0 {
			e.toSend = 1 + rnd.IntN(200)
		}
		e.refuse = func() bool { return false }
		if rnd.IntN(5) == 0 {
			e.refuse = func() bool { return rnd.IntN(10) == 0 }
		}
		e.fates = make([]EventKind, e.toSend)
		return e
	}
	a, b := end("client"), end("server")
	a.peer, b.peer = b, a
	switch rnd.IntN(4) {
	case 0:
		a.closes = true
	case 1:
		b.closes = true
	case 2:
		a.closes, b.closes = true, true
	case 3:
		a.closes, b.aborts = true, rnd.IntN(2) == 0
	}
	a.tuple, b.tuple = Tuple{LocalPort: 40000, RemotePort: 5001}, Tuple{LocalPort: 5001, RemotePort: 40000}
	lc := ListenerConfig{Config: b.cfg, Services: []wire.ServiceCode{service}, Rand: testRand(seed)}
	if rnd.IntN(4) == 0 {
		lc.MaxHalfOpen = -1 // cookies for everybody
	}
	a.listener, _ = NewListener(ListenerConfig{Rand: testRand(seed + 1)})
	b.listener, _ = NewListener(lc)
	a.c = NewClient(n.Now(), a.cfg, Ports{Local: 40000, Remote: 5001, Service: service}, wire.MakeSeq(rnd.Uint64()))
	links := []*sim.Link{link(), link()}
	a.node, b.node = n.Connect(a, b, links[:1], links[1:])
	return n, a, b, links
}

// simSeeds is how many runs there are: DCCP_SEEDS asks for more.
func simSeeds(t *testing.T, usual int) (from, to uint64) {
	if s := os.Getenv("DCCP_SEED"); s != "" {
		v, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return v, v + 1
	}
	if s := os.Getenv("DCCP_SEEDS"); s != "" {
		v, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return 0, v
	}
	return 0, uint64(usual)
}

// TestSimulation lets connections of all kinds live their lives over paths of
// all kinds.
func TestSimulation(t *testing.T) {
	from, to := simSeeds(t, 2000)
	var delivered, lost, unopened, unconfirmed, dropped, fails int
	for seed := from; seed < to; seed++ {
		n, a, b, links := scenario(seed)
		if err := n.Run(10 * time.Minute); err != nil {
			t.Errorf("seed %d: %v", seed, err)
			continue
		}
		mid := fmt.Sprintf("%v %v", a.c.State(), stateOf(b))
		// From now on nothing is lost: what has not ended, ends.
		for _, l := range links {
			l.Set(sim.LinkConfig{Delay: 10 * time.Millisecond})
			l.Filter = nil
		}
		err := n.Run(40 * time.Minute)
		for _, e := range []*simEnd{a, b} {
			if err != nil {
				e.fault("%v", err)
			}
			if e.c == nil {
				unopened++
				continue
			}
			if s := e.c.State(); s != StateClosed {
				e.fault("still %v, %d of %d messages sent (after 10 minutes: %s)", s, e.sent, e.toSend, mid)
			}
			unknown := 0
			for _, k := range e.fates[:e.sent] {
				switch k {
				case 0:
					unknown++
				case EventDelivered:
					delivered++
				case EventLost:
					lost++
				case EventUnconfirmed:
					unconfirmed++
				case EventDropped:
					dropped++
				}
			}
			if unknown > 0 {
				e.fault("nothing known of %d messages", unknown)
			}
			if e.listener.halfOpen > 1 {
				e.fault("%d half-open connections", e.listener.halfOpen)
			}
			for _, f := range e.faults {
				t.Errorf("seed %d: %s", seed, f)
			}
		}
		if t.Failed() {
			fails++
		}
		if fails > 20000 {
			break
		}
	}
	t.Logf("%d delivered, %d lost, %d unconfirmed, %d dropped, %d ends without a connection",
		delivered, lost, unconfirmed, dropped, unopened)
	if delivered < 10*int(to-from) {
		t.Error("hardly anything was delivered: the test proves little")
	}
}

func stateOf(e *simEnd) State {
	if e.c == nil {
		return StateClosed
	}
	return e.c.State()
}
