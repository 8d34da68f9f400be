package core

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"ipfixsuite/transport/dccp/ccid"
	"ipfixsuite/transport/dccp/wire"
)

func TestQueueAgainstModel(t *testing.T) {
	for seed := range uint64(100) {
		r := rand.New(rand.NewPCG(seed, 1))
		var q queue
		var model [][]byte
		var ids []uint64
		for id := range uint64(500) {
			if r.IntN(2) == 0 || len(model) == 0 {
				msg := make([]byte, r.IntN(1+r.IntN(400)))
				for i := range msg {
					msg[i] = byte(r.Uint32())
				}
				q.push(id, msg)
				model, ids = append(model, msg), append(ids, id)
			} else {
				id, msg := q.front()
				m := q.pop()
				if id != ids[0] || m.id != id || !bytes.Equal(msg, model[0]) {
					t.Fatalf("seed %d: message %d is %x, want %d %x", seed, id, msg, ids[0], model[0])
				}
				model, ids = model[1:], ids[1:]
			}
			used := 0
			for _, m := range model {
				used += len(m)
			}
			if q.n != len(model) || q.used != used {
				t.Fatalf("seed %d: %d messages, %d octets", seed, q.n, q.used)
			}
		}
	}
}

// A ring that is exactly full, its end where its beginning is.
func TestQueueFullRing(t *testing.T) {
	var q queue
	fill := func(id uint64, n int) { q.push(id, bytes.Repeat([]byte{byte(id)}, n)) }
	fill(0, 1024)
	fill(1, 500)
	fill(2, 524)
	q.pop()
	fill(3, 1024) // where 0 was
	if len(q.octets) != 2048 || q.end != 1024 {
		t.Fatalf("%d octets, end %d", len(q.octets), q.end)
	}
	fill(4, 300)
	for id := uint64(1); id <= 4; id++ {
		got, msg := q.front()
		if got != id || !bytes.Equal(msg, bytes.Repeat([]byte{byte(id)}, q.pop().size)) {
			t.Errorf("message %d is %d: %x", id, got, msg)
		}
	}
}

func held(t *testing.T, cfg Config) (*pair, *plainSender) {
	p := opened(t, cfg, plainConfig())
	s := p.a.c.sender.(*plainSender)
	s.hold = true
	return p, s
}

func TestQueuePolicies(t *testing.T) {
	cfg := plainConfig()
	cfg.QueueMessages = 4
	t.Run("block", func(t *testing.T) {
		p, s := held(t, cfg)
		p.send(&p.a, 0, 4)
		if err := p.a.c.Send(p.now, 4, nil); !errors.Is(err, ErrQueueFull) {
			t.Fatal(err)
		}
		p.exchange()
		if p.a.count(EventWritable) != 0 {
			t.Error("writable while full")
		}
		s.hold = false
		p.exchange()
		if p.a.count(EventWritable) != 1 || len(p.b.got) != 4 {
			t.Errorf("%v", p.a.ids)
		}
	})
	t.Run("drop oldest", func(t *testing.T) {
		cfg := cfg
		cfg.Policy = DropOldest
		p, s := held(t, cfg)
		p.send(&p.a, 0, 10)
		s.hold = false
		p.exchange()
		if !slices.Equal(p.b.got, messages(6, 4)) || !slices.Equal(p.a.ids[EventDropped], []uint64{0, 1, 2, 3, 4, 5}) {
			t.Errorf("got %q, %v", p.b.got, p.a.ids)
		}
		if p.a.c.Stats().QueueDrops != 6 {
			t.Error(p.a.c.Stats().QueueDrops)
		}
	})
	t.Run("drop newest", func(t *testing.T) {
		cfg := cfg
		cfg.Policy = DropNewest
		p, s := held(t, cfg)
		p.send(&p.a, 0, 10)
		s.hold = false
		p.exchange()
		if !slices.Equal(p.b.got, messages(0, 4)) || len(p.a.ids[EventDropped]) != 6 {
			t.Errorf("got %q, %v", p.b.got, p.a.ids)
		}
	})
	t.Run("octets", func(t *testing.T) {
		cfg := plainConfig()
		cfg.QueueBytes = 3000
		p, _ := held(t, cfg)
		for range 3 {
			if err := p.a.c.Send(p.now, 0, make([]byte, 1000)); err != nil {
				t.Fatal(err)
			}
		}
		if err := p.a.c.Send(p.now, 0, make([]byte, 1)); !errors.Is(err, ErrQueueFull) {
			t.Error(err)
		}
		if p.a.c.Stats().Queued != 3 {
			t.Error(p.a.c.Stats().Queued)
		}
	})
}

// Too large a message is refused before it is queued (RFC 4340, Section 14).
func TestTooLarge(t *testing.T) {
	p := opened(t, plainConfig(), plainConfig())
	mps := p.a.c.MPS()
	if mps != DefaultMTU-24-40 {
		t.Errorf("MPS %d", mps)
	}
	if err := p.a.c.Send(p.now, 0, make([]byte, mps+1)); !errors.Is(err, ErrTooLarge) {
		t.Error(err)
	}
	if err := p.a.c.Send(p.now, 1, make([]byte, mps)); err != nil {
		t.Error(err)
	}
	p.exchange()
	if st := p.a.c.Stats(); st.TooLarge != 1 || st.DataSent != 1 || p.a.count(EventDelivered) != 1 {
		t.Errorf("%+v", st)
	}
}

// A client may queue before the connection is there; the first message
// completes the handshake.
func TestSendBeforeResponse(t *testing.T) {
	p := newPair(t, plainConfig(), plainConfig())
	p.send(&p.a, 0, 3)
	p.exchange()
	if len(p.b.got) != 3 || p.a.sent[1].Type != wire.DataAck {
		t.Errorf("got %q, sent %v", p.b.got, types(p.a.sent))
	}
}

// Transmitted is told with the packet that carries the message, not before.
func TestTransmitted(t *testing.T) {
	p, s := held(t, plainConfig())
	p.send(&p.a, 7, 1)
	wantNone(t, p.a.packets(p.now))
	if p.a.count(EventTransmitted) != 0 {
		t.Error("told while it waits")
	}
	s.hold = false
	_, sent, ok := p.a.c.AppendPacket(p.now, nil)
	e, told := p.a.c.Event()
	if !ok || !sent.HasMessage || sent.Message != 7 || !told || e.Kind != EventTransmitted || e.Message != 7 {
		t.Errorf("%+v, %+v", sent, e)
	}
}

// RFC 4340, Section 7.5.2, MUST: no more than the Sequence Window in a round
// trip. When nothing is heard, a Sync asks.
func TestSequenceWindowIsKept(t *testing.T) {
	cfg := plainConfig()
	cfg.SequenceWindow = 100
	p := opened(t, cfg, cfg)
	p.lose = func(bool, *wire.Packet) bool { return true }
	p.send(&p.a, 0, 200)
	p.exchange()
	if n := p.a.c.Stats().DataSent; n < 70 || n > 75 {
		t.Errorf("%d packets without an acknowledgement, window 100", n)
	}
	p.pass(10 * time.Second)
	st := p.a.c.Stats()
	if st.DataSent > 75 || st.SyncsSent < 3 || st.SyncsSent > 8 {
		t.Errorf("%d messages, %d Syncs", st.DataSent, st.SyncsSent)
	}
	p.lose = nil
	p.pass(time.Minute)
	if p.a.c.Stats().DataSent != 200 || len(p.b.got) != 200-int(st.DataSent) {
		t.Errorf("%d messages sent, %d came", p.a.c.Stats().DataSent, len(p.b.got))
	}
}

// RFC 4340, Section 7.5.6, first example: after a burst of loss beyond the
// window a Sync brings the ends back together.
func TestSyncAfterBurst(t *testing.T) {
	cfg := plainConfig()
	p := opened(t, cfg, cfg)
	p.b.c.feat.at(remote, wire.FeatSequenceWindow).value = 100 // the client thinks 1000
	p.send(&p.a, 0, 100)
	p.a.packets(p.now) // all lost
	p.now = p.now.Add(time.Second)
	p.send(&p.a, 100, 2)
	p.exchange()
	if p.b.c.gsr != p.a.c.gss || p.b.c.Stats().SequenceInvalid != 2 {
		t.Errorf("GSR %d, GSS %d, %+v", p.b.c.gsr, p.a.c.gss, p.b.c.Stats())
	}
	p.send(&p.a, 102, 3)
	p.exchange()
	if !slices.Equal(p.b.got, messages(102, 3)) {
		t.Errorf("got %q", p.b.got)
	}
}

// The second one: a half-open connection, its end having forgotten it, is
// cleaned up by the new Request.
func TestHalfOpenConnection(t *testing.T) {
	p := opened(t, plainConfig(), plainConfig())
	p.a = side{t: t, c: NewClient(p.now, plainConfig(), Ports{Local: 40000, Remote: 5001, Service: service}, 777_000)}
	p.exchange()
	if p.b.c.State() != StateTimeWait || p.a.c.State() != StateRequest {
		t.Fatalf("%v %v", p.b.c.State(), p.a.c.State())
	}
	// The driver forgets what is in TIMEWAIT, and the next Request goes through.
	p.b = side{t: t}
	p.pass(2 * time.Second)
	p.wantStates(StateOpen, StateOpen)
}

func TestValidate(t *testing.T) {
	two := plain()
	for name, cfg := range map[string]Config{
		"no CCID":   {},
		"twice":     {CCIDs: []ccid.CCID{two, two}},
		"no halves": {CCIDs: []ccid.CCID{{ID: 2}}},
		"MTU":       {CCIDs: []ccid.CCID{two}, MTU: 100},
		"window":    {CCIDs: []ccid.CCID{two}, SequenceWindow: 31},
		"coverage":  {CCIDs: []ccid.CCID{two}, Coverage: 16},
		"policy":    {CCIDs: []ccid.CCID{two}, Policy: 3},
	} {
		if cfg.Validate() == nil {
			t.Errorf("%s: taken", name)
		}
		if _, err := NewListener(ListenerConfig{Config: cfg, Services: []wire.ServiceCode{1}, Rand: testRand(1)}); err == nil {
			t.Errorf("%s: a listener was made", name)
		}
	}
	cfg := plainConfig()
	if err := cfg.Validate(); err != nil {
		t.Error(err)
	}
}
