package core

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"ipfixsuite/transport/dccp/wire"
)

// The history against a plain map of what came.
func TestHistoryAgainstModel(t *testing.T) {
	for seed := range uint64(30) {
		r := rand.New(rand.NewPCG(seed, 1))
		var h history
		base := wire.MakeSeq(r.Uint64())
		h.start(base)
		model := map[wire.Seq]bool{}
		codes := map[wire.Seq]wire.DropCode{}
		next, tail := base, base
		loss := r.Float64() * 0.5
		for range 2000 {
			switch r.IntN(12) {
			case 0: // an acknowledgement of ours was acknowledged
				to := h.head.Add(-int64(r.IntN(20)))
				h.acknowledged(to)
				if !to.Less(tail) {
					tail = to.Add(1)
				}
			case 1: // late or twice
				seq := next.Add(-1 - int64(r.IntN(40)))
				if seq.Less(base) {
					continue
				}
				switch h.look(seq) {
				case fresh:
					if model[seq] {
						t.Fatalf("seed %d: %d is fresh twice", seq, seed)
					}
					h.add(seq, 64)
					model[seq] = true
				case duplicate:
					if !model[seq] {
						t.Fatalf("seed %d: %d never came", seed, seq)
					}
				}
			case 2:
				seq := next.Add(-1 - int64(r.IntN(5)))
				if model[seq] && h.look(seq) == duplicate {
					code := wire.DropCode(r.IntN(4))
					h.drop(seq, code)
					codes[seq] = code
				}
			default:
				if r.Float64() < loss {
					next = next.Add(int64(r.IntN(1 + r.IntN(100))))
				}
				h.add(next, 64)
				model[next] = true
				next = next.Add(1)
			}
			if h.n == 0 {
				continue
			}
			vector, whole := h.appendVector(nil, 4000)
			if !whole {
				t.Fatalf("seed %d: vector does not fit", seed)
			}
			n := 0
			runs := wire.NewAckRuns(h.head)
			for runs.Feed(vector); runs.Next(); {
				for i := range int64(runs.Run.Len) {
					seq := runs.Run.Last.Add(-i)
					if (runs.Run.State == wire.AckReceived) != model[seq] {
						t.Fatalf("seed %d: %d is %v, came %v", seed, seq, runs.Run.State, model[seq])
					}
					n++
				}
			}
			if w := h.head.Sub(tail) + 1; n != int(max(w, 1)) && n != h.n {
				t.Fatalf("seed %d: vector of %d, window of %d, %d known", seed, n, w, h.n)
			}
			blocks, _ := h.appendDropped(nil, 4000)
			drops := wire.NewDropRuns(h.head)
			told := map[wire.Seq]wire.DropCode{}
			for drops.Feed(blocks); drops.Next(); {
				for i := range int64(drops.Run.Len) {
					if drops.Run.Code != wire.NotDropped {
						told[drops.Run.Last.Add(-i)] = drops.Run.Code
					}
				}
			}
			for seq, c := range told {
				if codes[seq] != c {
					t.Fatalf("seed %d: %d dropped with %d", seed, seq, c)
				}
			}
			for seq, c := range codes {
				if d := h.head.Sub(seq); d < int64(n) && !seq.Less(tail) {
					if got, ok := told[seq]; !ok || got != c {
						t.Fatalf("seed %d: %d is not told as dropped", seed, seq)
					}
				}
			}
		}
	}
}

func TestVectorThatDoesNotFit(t *testing.T) {
	var h history
	h.start(0)
	for seq := wire.Seq(0); seq < 400; seq += 2 {
		h.add(seq, 64)
	}
	v, whole := h.appendVector(nil, 100)
	if whole || len(v) != 100 {
		t.Errorf("%d octets, whole %v", len(v), whole)
	}
	for seq := wire.Seq(0); seq < 400; seq += 4 {
		h.drop(seq, wire.DropReceiveBuffer)
	}
	b, whole := h.appendDropped(nil, 50)
	if whole || len(b) != 50 {
		t.Errorf("%d octets, whole %v", len(b), whole)
	}
}

// RFC 4340, Section 11.4: a vector that reports what was never sent.
func TestVectorBeforeTheBeginning(t *testing.T) {
	p := opened(t, plainConfig(), plainConfig())
	p.send(&p.a, 0, 3)
	p.a.packets(p.now)
	sent := p.a.c.gss.Sub(p.a.c.iss) + 1
	p.acknowledge(byte(sent)) // one packet more than there are
	if p.a.c.Stats().VectorsInvalid != 1 || p.a.count(EventDelivered) != 1 {
		t.Errorf("%v, %+v", p.a.ids, p.a.c.Stats().VectorsInvalid)
	}
	p.acknowledge(byte(sent - 1))
	if p.a.c.Stats().VectorsInvalid != 1 || p.a.count(EventDelivered) != 3 {
		t.Errorf("%v, %+v", p.a.ids, p.a.c.Stats().VectorsInvalid)
	}
}

// Sections 11.4.2 and 11.1: what the peer has acknowledged of our
// acknowledgements is not repeated for ever.
func TestAcksOfAcksShortenVectors(t *testing.T) {
	p := opened(t, plainConfig(), plainConfig())
	longest := 0
	for i := range 100 {
		p.send(&p.a, 20*i, 20)
		p.exchange()
	}
	for _, q := range p.b.sent {
		longest = max(longest, wire.AckVectorLen(option(&q, wire.OptAckVector0)))
	}
	if longest == 0 || longest > 100 {
		t.Errorf("a vector of %d packets", longest)
	}
	if n := len(p.a.c.out.ring); n > 128 {
		t.Errorf("%d packets remembered", n)
	}
	if p.a.count(EventDelivered) != 2000 {
		t.Errorf("%d delivered", p.a.count(EventDelivered))
	}
}

// Section 11.7: refused data is told until the peer has heard of it.
func TestDataDroppedIsReliable(t *testing.T) {
	p := opened(t, plainConfig(), plainConfig())
	p.send(&p.a, 0, 1)
	for _, q := range p.a.packets(p.now) {
		r := *q
		p.b.c.HandlePacket(p.now, &r)
		if e, ok := p.b.c.Event(); !ok || e.Kind != EventData {
			t.Fatal(e)
		}
		p.b.c.Refuse(wire.DropReceiveBuffer)
	}
	for range 3 { // lost ones
		for _, q := range p.b.packets(p.now) {
			if d := option(q, wire.OptDataDropped); !bytes.Equal(d, []byte{0xa0}) && len(d) != 2 {
				t.Errorf("Data Dropped %x", d)
			}
		}
		p.b.c.due.ack = true
	}
	p.exchange()
	if len(p.a.ids[EventLost]) != 1 || p.a.count(EventDelivered) != 0 {
		t.Errorf("%v", p.a.ids)
	}
	// Once the acknowledgement is acknowledged, no more of it.
	for i := range 5 {
		p.send(&p.a, 10+20*i, 20)
		p.exchange()
	}
	last := p.b.sent[len(p.b.sent)-1]
	if d := option(&last, wire.OptDataDropped); d != nil {
		t.Errorf("still %x", d)
	}
}

// Section 11.7.2: Drop Code 1.
func TestNotListening(t *testing.T) {
	p := opened(t, plainConfig(), plainConfig())
	p.send(&p.a, 0, 1)
	for _, q := range p.a.packets(p.now) {
		r := *q
		p.b.c.HandlePacket(p.now, &r)
		p.b.c.Event()
		p.b.c.Refuse(wire.DropNotListening)
	}
	p.exchange()
	if p.a.count(EventNotListening) != 1 {
		t.Errorf("%v", p.a.events)
	}
}

// Section 11.6.
func TestSlowReceiver(t *testing.T) {
	p := opened(t, plainConfig(), plainConfig())
	p.b.c.SetSlow(true)
	p.send(&p.a, 0, 1)
	p.exchange()
	if p.a.c.Stats().SlowReceiverSeen == 0 {
		t.Error("not told")
	}
	p.b.c.SetSlow(false)
	n := p.a.c.Stats().SlowReceiverSeen
	p.send(&p.a, 1, 1)
	p.exchange()
	if p.a.c.Stats().SlowReceiverSeen != n {
		t.Error("still told")
	}
}

// No more goes than what the peer can still speak of in its next Ack Vector.
func TestNoMoreThanAckVectorsTell(t *testing.T) {
	p := opened(t, plainConfig(), plainConfig())
	p.a.c.feat.at(local, wire.FeatSequenceWindow).value = 1 << 20
	p.send(&p.a, 0, 1)
	p.exchange()
	for p.a.c.queue.n == 0 {
		p.send(&p.a, p.a.count(EventTransmitted), 100)
		p.a.packets(p.now)
	}
	if n := p.a.c.gss.Sub(p.a.c.vectored); n > maxHistory {
		t.Errorf("%d packets under way", n)
	}
}

// A receiver's acknowledgements, which nobody acknowledges, cost little.
func TestUnreadAcksAreForgotten(t *testing.T) {
	p := opened(t, plainConfig(), plainConfig())
	for range 5000 {
		p.b.c.due.ack = true
		p.b.packets(p.now)
	}
	if n := len(p.b.c.out.ring); n > maxUnread {
		t.Errorf("%d packets remembered", n)
	}
}

// With data both ways every acknowledgement travels with a message, and is
// acknowledged by one.
func TestAcksOfAcksOnDataAcks(t *testing.T) {
	p := opened(t, plainConfig(), plainConfig())
	for i := range 300 {
		p.send(&p.a, 2*i, 2)
		p.send(&p.b, 2*i, 2)
		a, b := p.a.packets(p.now), p.b.packets(p.now)
		for _, q := range a {
			p.b.handle(p.now, q)
		}
		for _, q := range b {
			p.a.handle(p.now, q)
		}
	}
	acks := 0
	for _, s := range []*side{&p.a, &p.b} {
		for _, q := range s.sent[100:] {
			if q.Type == wire.Ack {
				acks++
			}
			if n := wire.AckVectorLen(option(&q, wire.OptAckVector0)); n > 12 {
				t.Fatalf("a vector of %d packets", n)
			}
		}
	}
	if acks > 0 {
		t.Errorf("%d acknowledgements without a message", acks)
	}
}

// Section 5.7: the number on a SyncAck need not be the greatest that came, from
// which its sender's vector starts.
func TestVectorOnSyncAck(t *testing.T) {
	p := opened(t, plainConfig(), plainConfig())
	p.send(&p.a, 0, 3)
	p.a.packets(p.now)
	p.a.c.due.sync, p.a.c.syncAck = true, p.a.c.in.head
	sync := p.a.packets(p.now)[0]
	p.send(&p.a, 3, 1)
	p.a.packets(p.now)
	q := forge(&p.a, wire.SyncAck)
	q.Ack, q.Options = sync.Seq, wire.AppendAckVector(nil, []byte{3})
	p.a.handle(p.now, q)
	if p.a.count(EventDelivered) != 0 || p.a.c.out.messages != 4 {
		t.Errorf("%v", p.a.ids)
	}
	acks := p.a.c.sender.(*plainSender).acks
	// It counts if we have sent nothing since.
	p.a.c.due.sync = true
	sync = p.a.packets(p.now)[0]
	q = forge(&p.a, wire.SyncAck)
	q.Ack, q.Options = sync.Seq, wire.AppendAckVector(nil, []byte{5})
	p.a.handle(p.now, q)
	if p.a.count(EventDelivered) != 4 || p.a.c.sender.(*plainSender).acks != acks+1 {
		t.Errorf("%v", p.a.ids)
	}
}
