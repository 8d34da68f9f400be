package core

import (
	"testing"
	"time"

	"ipfixsuite/transport/dccp/wire"
)

func TestStep2NoConnection(t *testing.T) {
	l, err := NewListener(ListenerConfig{Rand: testRand(1)})
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name     string
		in       wire.Packet
		seq, ack wire.Seq
		answered bool
	}{
		{"Data has no number to follow", wire.Packet{Type: wire.Data, Seq: 9}, 0, 9, true},
		{"Ack", wire.Packet{Type: wire.Ack, Seq: 9, Ack: 77}, 78, 9, true},
		{"Ack at the circle's end", wire.Packet{Type: wire.Ack, Seq: 9, Ack: 1<<48 - 1}, 0, 9, true},
		{"24 bits", wire.Packet{Type: wire.Ack, Short: true, Seq: 0xfffffe, Ack: 0xffffff}, 0, 0xfffffe, true},
		{"Request", wire.Packet{Type: wire.Request, Seq: 9}, 0, 9, true},
		{"Sync", wire.Packet{Type: wire.Sync, Seq: 9, Ack: 5}, 6, 9, true},
		{"Reset", wire.Packet{Type: wire.Reset, Seq: 9, Ack: 5}, 0, 0, false},
		{"Listen", wire.Packet{Type: wire.Listen, Seq: 9}, 0, 0, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.in.SrcPort, test.in.DstPort = 10, 20
			b, c := l.HandlePacket(start, Tuple{}, &test.in, nil)
			if c != nil || len(b) > 0 != test.answered {
				t.Fatalf("%x, %v", b, c)
			}
			if !test.answered {
				return
			}
			var r wire.Packet
			if err := r.Parse(b); err != nil {
				t.Fatal(err)
			}
			// Section 8.3.1.
			if r.Type != wire.Reset || r.Code != wire.ResetNoConnection || r.Seq != test.seq || r.Ack != test.ack ||
				r.SrcPort != 20 || r.DstPort != 10 {
				t.Errorf("%+v", r)
			}
		})
	}
}

func TestStep2TimeWait(t *testing.T) {
	p := opened(t, plainConfig(), plainConfig())
	p.a.c.Close(p.now)
	p.exchange()
	p.wantStates(StateTimeWait, StateClosed)
	q := &wire.Packet{SrcPort: 5001, DstPort: 40000, Type: wire.Ack, Seq: 5, Ack: 7}
	r := want(t, p.replies(&p.a, q), wire.Reset, 5)
	if r.Code != wire.ResetNoConnection || r.Seq != 8 || r.SrcPort != 40000 || r.DstPort != 5001 {
		t.Errorf("%+v", r)
	}
	wantNone(t, p.replies(&p.a, &wire.Packet{Type: wire.Reset, Seq: 5, Ack: 7}))
	// The timer of 2 MSL ends it.
	if at := p.a.c.NextTimer(); at.Sub(p.now) > 4*time.Minute {
		t.Errorf("TIMEWAIT until %v from now", at.Sub(p.now))
	}
	p.now = p.now.Add(4*time.Minute - time.Second)
	p.a.c.HandleTimer(p.now)
	if p.a.c.State() != StateTimeWait {
		t.Errorf("%v before 2 MSL", p.a.c.State())
	}
	p.now = p.now.Add(time.Second)
	p.a.c.HandleTimer(p.now)
	if p.a.c.State() != StateClosed || !p.a.c.NextTimer().IsZero() {
		t.Errorf("%v after 2 MSL", p.a.c.State())
	}
}

func TestStep3Listen(t *testing.T) {
	p := newPair(t, plainConfig(), plainConfig())
	for _, kind := range []wire.Type{wire.Response, wire.Data, wire.Ack, wire.DataAck, wire.CloseReq, wire.Close, wire.Sync, wire.SyncAck} {
		b, c := p.listener.HandlePacket(p.now, p.tuple, &wire.Packet{Type: kind, Seq: 1, Ack: 2}, nil)
		var r wire.Packet
		if err := r.Parse(b); err != nil || c != nil || r.Code != wire.ResetNoConnection {
			t.Errorf("%v: %x, %v", kind, b, c)
		}
	}
	if b, c := p.listener.HandlePacket(p.now, p.tuple, &wire.Packet{Type: wire.Reset}, nil); len(b) > 0 || c != nil {
		t.Errorf("a Reset is answered with %x", b)
	}
	for _, q := range p.a.packets(p.now) {
		p.toServer(q)
	}
	c := p.b.c
	if c == nil || c.State() != StateRespond || c.isr != 1000 || c.gsr != 1000 || c.gar != c.iss {
		t.Fatalf("%+v", c)
	}
	if p.listener.Stats().HalfOpen != 1 {
		t.Error("not counted as half-open")
	}
}

func TestStep4Request(t *testing.T) {
	response := func(s *side) *wire.Packet {
		q := forge(s, wire.Response)
		q.Seq, q.Service = 5000, service
		return q
	}
	t.Run("Response to the Request", func(t *testing.T) {
		p := newPair(t, plainConfig(), plainConfig())
		p.a.packets(p.now)
		out := p.replies(&p.a, response(&p.a))
		if p.a.c.State() != StatePartOpen || p.a.c.isr != 5000 || p.a.c.gsr != 5000 {
			t.Errorf("%v, ISR %d", p.a.c.State(), p.a.c.isr)
		}
		want(t, out, wire.Ack, 5000)
	})
	t.Run("Response to what was never sent", func(t *testing.T) {
		p := newPair(t, plainConfig(), plainConfig())
		p.a.packets(p.now)
		for _, ack := range []wire.Seq{999, 1010, 0} {
			q := response(&p.a)
			q.Ack = ack
			r := want(t, p.replies(&p.a, q), wire.Reset, 5000)
			// As if there were no connection (Section 8.3.1).
			if r.Seq != ack+1 || r.Code != wire.ResetPacketError || r.ResetData[0] != byte(wire.Response) || p.a.c.State() != StateRequest {
				t.Errorf("%+v in %v", r, p.a.c.State())
			}
		}
	})
	t.Run("Response to a repeated Request", func(t *testing.T) {
		p := newPair(t, plainConfig(), plainConfig())
		p.a.packets(p.now)
		p.now = p.now.Add(time.Second)
		p.a.c.HandleTimer(p.now)
		p.a.packets(p.now)
		q := response(&p.a)
		q.Ack = 1000 // the first
		p.a.handle(p.now, q)
		if p.a.c.State() != StatePartOpen {
			t.Error(p.a.c.State())
		}
	})
	t.Run("other types", func(t *testing.T) {
		for _, kind := range []wire.Type{wire.Request, wire.Data, wire.Ack, wire.DataAck, wire.CloseReq, wire.Close, wire.Sync, wire.SyncAck} {
			p := newPair(t, plainConfig(), plainConfig())
			p.a.packets(p.now)
			q := forge(&p.a, kind)
			q.Seq = 5000
			r := want(t, p.replies(&p.a, q), wire.Reset, 5000)
			// "Send packet" uses the next number.
			if r.Seq != 1001 || r.Code != wire.ResetPacketError || r.ResetData[0] != byte(kind) || p.a.c.State() != StateRequest {
				t.Errorf("%v: %+v in %v", kind, r, p.a.c.State())
			}
		}
	})
	t.Run("Reset", func(t *testing.T) {
		p := newPair(t, plainConfig(), plainConfig())
		p.a.packets(p.now)
		q := forge(&p.a, wire.Reset)
		q.Seq, q.Code = 0, wire.ResetBadServiceCode
		wantNone(t, p.replies(&p.a, q))
		if p.a.c.State() != StateTimeWait || p.a.c.Err().Code != wire.ResetBadServiceCode || !p.a.c.Err().Remote {
			t.Errorf("%v, %v", p.a.c.State(), p.a.c.Err())
		}
	})
	t.Run("forged Reset", func(t *testing.T) {
		p := newPair(t, plainConfig(), plainConfig())
		p.a.packets(p.now)
		q := forge(&p.a, wire.Reset)
		q.Ack = 2000
		wantNone(t, p.replies(&p.a, q))
		if p.a.c.State() != StateRequest {
			t.Error(p.a.c.State())
		}
	})
	t.Run("Response for another service", func(t *testing.T) {
		p := newPair(t, plainConfig(), plainConfig())
		p.a.packets(p.now)
		q := response(&p.a)
		q.Service++ // Section 5.3
		wantNone(t, p.replies(&p.a, q))
		if p.a.c.State() != StateRequest {
			t.Error(p.a.c.State())
		}
	})
}

func TestStep5Sync(t *testing.T) {
	const far = 100_000
	tests := []struct {
		name   string
		idle   bool
		kind   wire.Type
		change func(*side, *wire.Packet)
		valid  bool
	}{
		{"in the window", false, wire.Sync, func(*side, *wire.Packet) {}, true},
		{"SyncAck in the window", false, wire.SyncAck, func(*side, *wire.Packet) {}, true},
		// Section 7.5.3: more lenient when nothing else comes.
		{"beyond the window, active", false, wire.Sync, func(_ *side, q *wire.Packet) { q.Seq += far }, false},
		{"beyond the window, idle", true, wire.Sync, func(_ *side, q *wire.Packet) { q.Seq += far }, true},
		{"before the window, idle", true, wire.Sync, func(_ *side, q *wire.Packet) { q.Seq -= far }, false},
		{"acknowledges what was not sent", true, wire.Sync, func(s *side, q *wire.Packet) { q.Ack = s.c.gss + 1 }, false},
		{"acknowledges before the window", true, wire.Sync, func(s *side, q *wire.Packet) { q.Ack = s.c.iss - 1 }, false},
		{"SyncAck acknowledges what was not sent", true, wire.SyncAck, func(s *side, q *wire.Packet) { q.Ack = s.c.gss + 1 }, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := opened(t, plainConfig(), plainConfig())
			if test.idle {
				p.idle()
			}
			s := &p.b
			gsr := s.c.gsr
			q := forge(s, test.kind)
			test.change(s, q)
			out := p.replies(s, q)
			if !test.valid {
				// Section 7.5.4: ignored, without an answer.
				wantNone(t, out)
				if s.c.gsr != gsr || s.c.Stats().SyncInvalid != 1 {
					t.Errorf("GSR %d, was %d", s.c.gsr, gsr)
				}
				return
			}
			if s.c.gsr != q.Seq {
				t.Errorf("GSR %d, want %d", s.c.gsr, q.Seq)
			}
			if test.kind == wire.Sync { // Step 15
				want(t, out, wire.SyncAck, q.Seq)
			} else {
				wantNone(t, out)
			}
		})
	}
}
