package core

import (
	"testing"
	"time"

	"ipfixsuite/transport/dccp/wire"
)

func TestStep8DuplicatesHaveNoEffect(t *testing.T) {
	p := opened(t, plainConfig(), plainConfig())
	p.send(&p.a, 0, 1)
	q := p.a.packets(p.now)[0]
	for range 3 {
		p.b.handle(p.now, q)
	}
	if len(p.b.got) != 1 || p.b.c.Stats().Duplicates != 2 {
		t.Errorf("got %v, %+v", p.b.got, p.b.c.Stats())
	}
}

func TestStep8PacketsTooOldToTell(t *testing.T) {
	cfg := plainConfig()
	cfg.SequenceWindow = 200_000 // more than the history holds
	p := opened(t, cfg, cfg)
	s := &p.b
	for range 2 {
		q := forge(s, wire.Data)
		q.Seq, q.Data = q.Seq.Add(5000), []byte("new")
		s.handle(p.now, q)
	}
	old := forge(s, wire.Data)
	old.Seq, old.Data = s.c.gsr.Add(-maxHistory), []byte("old")
	s.handle(p.now, old)
	old.Seq = old.Seq.Add(1)
	s.handle(p.now, old)
	if len(s.got) != 3 || s.c.Stats().Stale != 1 || len(s.c.in.ring) > maxHistory {
		t.Errorf("got %v, %+v, history of %d", s.got, s.c.Stats().Stale, len(s.c.in.ring))
	}
}

// Section 5.8.2: what is Mandatory and not understood resets the connection.
func TestStep8MandatoryOptions(t *testing.T) {
	tests := []struct {
		name    string
		options []byte
		kind    wire.Type
		code    wire.ResetCode // 0: none
		data    [3]byte
	}{
		{"unknown option", []byte{45, 4, 1, 2}, wire.Ack, 0, [3]byte{}},
		{"Mandatory unknown option", []byte{1, 45, 4, 1, 2}, wire.Ack, wire.ResetMandatoryError, [3]byte{45, 1, 2}},
		{"Mandatory unknown option without data", []byte{1, 31}, wire.Ack, wire.ResetMandatoryError, [3]byte{31}},
		{"Mandatory known option of a wrong length", []byte{1, 41, 3, 9}, wire.Ack, wire.ResetMandatoryError, [3]byte{41, 9}},
		{"known option of a wrong length", []byte{41, 3, 9}, wire.Ack, 0, [3]byte{}},
		{"Mandatory Slow Receiver", []byte{1, 2}, wire.Ack, 0, [3]byte{}},
		{"Mandatory at the end", []byte{0, 0, 0, 1}, wire.Ack, wire.ResetOptionError, [3]byte{1}},
		{"Mandatory Mandatory", []byte{1, 1, 2}, wire.Ack, wire.ResetOptionError, [3]byte{1}},
		{"Mandatory Padding", []byte{1, 0, 2}, wire.Ack, 0, [3]byte{}},
		{"Mandatory CCID option of another CCID", []byte{1, 192, 6, 0, 0, 0, 0}, wire.Ack, wire.ResetMandatoryError, [3]byte{192}},
		// A Data packet is easily forged: there nothing of it counts.
		{"on Data, unknown", []byte{1, 45, 4, 1, 2}, wire.Data, 0, [3]byte{}},
		{"on Data, at the end", []byte{0, 0, 0, 1}, wire.Data, 0, [3]byte{}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := opened(t, plainConfig(), plainConfig())
			q := forge(&p.b, test.kind)
			q.Options = test.options
			out := p.replies(&p.b, q)
			if test.kind == wire.Data {
				if len(out) != 1 || out[0].Type != wire.Ack || p.b.c.State() != StateOpen {
					t.Fatalf("%v, %v", summary(out), p.b.c.Err())
				}
				return
			}
			if test.code == 0 {
				wantNone(t, out)
				if p.b.c.State() != StateOpen {
					t.Error(p.b.c.Err())
				}
				return
			}
			r := want(t, out, wire.Reset, q.Seq)
			if r.Code != test.code || r.ResetData != test.data || p.b.c.State() != StateClosed {
				t.Errorf("%v %v, want %v %v", r.Code, r.ResetData, test.code, test.data)
			}
			// The peer, had it sent that, takes it: its number is valid there.
			p.a.c.nextSeq()
			p.a.handle(p.now, r)
			if p.a.c.State() != StateTimeWait || p.a.c.Err().Code != test.code {
				t.Errorf("peer: %v %v", p.a.c.State(), p.a.c.Err())
			}
		})
	}
}

func TestStep9Reset(t *testing.T) {
	for _, state := range []State{StateRespond, StatePartOpen, StateOpen, StateCloseReq, StateClosing} {
		t.Run(state.String(), func(t *testing.T) {
			p, s := inState(t, state)
			q := forge(s, wire.Reset)
			q.Code, q.Data = wire.ResetAborted, []byte("gone \xff")
			wantNone(t, p.replies(s, q))
			e := s.c.Err()
			if s.c.State() != StateTimeWait || e.Code != wire.ResetAborted || !e.Remote || e.Text != "gone " {
				t.Errorf("%v: %v", s.c.State(), e)
			}
			if s.count(EventClosed) != 1 || s.events[len(s.events)-1].Kind != EventClosed {
				t.Errorf("events %v", s.events)
			}
			if e.Error() != `dccp: reset by peer: aborted "gone "` || e.Clean() {
				t.Error(e)
			}
		})
	}
}

func TestStep10RequestToPartOpen(t *testing.T) {
	p, s := inState(t, StatePartOpen)
	if s.count(EventOpened) != 0 {
		t.Error("opened before the server is known to have heard of it")
	}
	// Data goes as DataAck (Section 8.1.5, MUST).
	p.send(s, 0, 3)
	for _, q := range s.packets(p.now) {
		if q.Type != wire.DataAck {
			t.Errorf("%v in PARTOPEN", q.Type)
		}
	}
}

func TestStep11Respond(t *testing.T) {
	t.Run("each Request elicits a new Response", func(t *testing.T) {
		p := responding(t)
		iss := p.b.c.iss
		for i := range 3 {
			q := forge(&p.b, wire.Request)
			q.Service = service
			r := want(t, p.replies(&p.b, q), wire.Response, q.Seq)
			if r.Seq != iss.Add(int64(i)+1) || r.Service != service {
				t.Errorf("%+v", r)
			}
		}
		if p.b.c.State() != StateRespond || p.b.count(EventOpened) != 0 {
			t.Error(p.b.c.State())
		}
	})
	for _, kind := range []wire.Type{wire.Ack, wire.DataAck, wire.Sync} {
		t.Run(kind.String()+" opens", func(t *testing.T) {
			p := responding(t)
			p.b.handle(p.now, forge(&p.b, kind))
			if p.b.c.State() != StateOpen || p.b.c.osr != p.b.c.gsr || p.b.count(EventOpened) != 1 {
				t.Errorf("%v, OSR %d", p.b.c.State(), p.b.c.osr)
			}
		})
	}
	t.Run("the timeout", func(t *testing.T) {
		p := responding(t)
		p.now = p.now.Add(8*time.Minute - time.Second)
		p.b.c.HandleTimer(p.now)
		wantNone(t, p.b.packets(p.now))
		p.now = p.now.Add(time.Second)
		p.b.c.HandleTimer(p.now)
		r := want(t, p.b.packets(p.now), wire.Reset, 1000)
		if r.Code != wire.ResetAborted || p.b.c.State() != StateClosed {
			t.Errorf("%+v", r)
		}
	})
}

func TestStep12PartOpen(t *testing.T) {
	t.Run("Response elicits an Ack", func(t *testing.T) {
		p, s := inState(t, StatePartOpen)
		q := forge(s, wire.Response)
		q.Service = service
		want(t, p.replies(s, q), wire.Ack, q.Seq)
		if s.c.State() != StatePartOpen {
			t.Error(s.c.State())
		}
	})
	t.Run("Sync does not open", func(t *testing.T) {
		p, s := inState(t, StatePartOpen)
		q := forge(s, wire.Sync)
		want(t, p.replies(s, q), wire.SyncAck, q.Seq)
		if s.c.State() != StatePartOpen {
			t.Error(s.c.State())
		}
	})
	for _, kind := range []wire.Type{wire.Data, wire.Ack, wire.DataAck, wire.SyncAck} {
		t.Run(kind.String()+" opens", func(t *testing.T) {
			p, s := inState(t, StatePartOpen)
			s.handle(p.now, forge(s, kind))
			if s.c.State() != StateOpen || s.c.osr != s.c.gsr || s.count(EventOpened) != 1 {
				t.Errorf("%v, OSR %d", s.c.State(), s.c.osr)
			}
		})
	}
	t.Run("the timer", func(t *testing.T) {
		// About 200 ms, backing off; a server that has nothing to say answers
		// a Sync.
		p, s := inState(t, StatePartOpen)
		from := p.now
		var at []time.Duration
		for len(at) < 5 {
			p.now = s.c.NextTimer()
			s.c.HandleTimer(p.now)
			if len(s.packets(p.now)) > 0 {
				at = append(at, p.now.Sub(from).Round(time.Millisecond))
			}
		}
		for i, d := range []time.Duration{200, 600, 1400, 3000, 6200} {
			if at[i] != d*time.Millisecond {
				t.Errorf("sent at %v", at)
				break
			}
		}
	})
	t.Run("the limit", func(t *testing.T) {
		p, s := inState(t, StatePartOpen)
		p.lose = func(bool, *wire.Packet) bool { return true }
		p.pass(8*time.Minute + time.Second)
		r := s.sent[len(s.sent)-1]
		if s.c.State() != StateClosed || r.Type != wire.Reset || r.Code != wire.ResetAborted {
			t.Errorf("%v after 4 MSL, %+v", s.c.State(), r)
		}
	})
}

func TestStep13CloseReq(t *testing.T) {
	for _, state := range []State{StatePartOpen, StateOpen} {
		t.Run(state.String(), func(t *testing.T) {
			p, s := inState(t, state)
			q := forge(s, wire.CloseReq)
			out := p.replies(s, q)
			if len(out) == 0 || out[0].Type != wire.Close || out[0].Ack != q.Seq || s.c.State() != StateClosing {
				t.Fatalf("%v, %v", summary(out), s.c.State())
			}
		})
	}
	t.Run("in CLOSING", func(t *testing.T) {
		p, s := inState(t, StateClosing)
		wantNone(t, p.replies(s, forge(s, wire.CloseReq)))
		if s.c.State() != StateClosing {
			t.Error(s.c.State())
		}
	})
}

func TestStep14Close(t *testing.T) {
	for _, state := range []State{StateRespond, StatePartOpen, StateOpen, StateCloseReq, StateClosing} {
		t.Run(state.String(), func(t *testing.T) {
			p, s := inState(t, state)
			q := forge(s, wire.Close)
			r := want(t, p.replies(s, q), wire.Reset, q.Seq)
			if r.Code != wire.ResetClosed || r.Seq != s.c.gss || s.c.State() != StateClosed || !s.c.Err().Clean() {
				t.Errorf("%+v, %v, %v", r, s.c.State(), s.c.Err())
			}
			if !s.c.NextTimer().IsZero() {
				t.Error("a closed connection has a timer")
			}
		})
	}
}

func TestStep15Sync(t *testing.T) {
	for _, state := range []State{StateRespond, StatePartOpen, StateOpen, StateCloseReq, StateClosing} {
		t.Run(state.String(), func(t *testing.T) {
			p, s := inState(t, state)
			q := forge(s, wire.Sync)
			out := p.replies(s, q)
			if len(out) == 0 || out[0].Type != wire.SyncAck || out[0].Ack != q.Seq {
				t.Errorf("%v", summary(out))
			}
		})
	}
}

func TestStep16Data(t *testing.T) {
	t.Run("an empty message is one", func(t *testing.T) {
		p := opened(t, plainConfig(), plainConfig())
		if err := p.a.c.Send(p.now, 1, nil); err != nil {
			t.Fatal(err)
		}
		p.exchange()
		if len(p.b.got) != 1 || p.b.got[0] != "" || p.a.count(EventDelivered) != 1 {
			t.Errorf("got %q", p.b.got)
		}
	})
	t.Run("padding of other types is not", func(t *testing.T) {
		for _, kind := range []wire.Type{wire.Ack, wire.Sync, wire.SyncAck} {
			p := opened(t, plainConfig(), plainConfig())
			q := forge(&p.b, kind)
			q.Data = []byte("padding")
			p.b.handle(p.now, q)
			if len(p.b.got) != 0 {
				t.Errorf("%v: got %q", kind, p.b.got)
			}
		}
	})
	t.Run("Request data is refused", func(t *testing.T) {
		// Section 8.1.3: and the Response says so.
		p := newPair(t, plainConfig(), plainConfig())
		q := p.a.packets(p.now)[0]
		q.Data = []byte("early")
		p.toServer(q)
		r := want(t, p.b.packets(p.now), wire.Response, 1000)
		blocks := option(r, wire.OptDataDropped)
		if len(blocks) != 1 || blocks[0] != 0x80 || len(p.b.got) != 0 {
			t.Errorf("Data Dropped %x, got %q", blocks, p.b.got)
		}
		p.a.handle(p.now, r)
		p.exchange()
		p.wantStates(StateOpen, StateOpen)
	})
	t.Run("after Close nobody listens", func(t *testing.T) {
		p, s := inState(t, StateClosing)
		q := forge(s, wire.Data)
		q.Data = []byte("late")
		s.handle(p.now, q)
		if len(s.got) != 0 || s.c.Stats().DataRefused != 1 {
			t.Errorf("got %q", s.got)
		}
	})
}
