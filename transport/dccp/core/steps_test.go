package core

import (
	"testing"
	"time"

	"ipfixsuite/transport/dccp/wire"
)

// The steps of RFC 4340, Section 8.5, one by one. Step 1 is package wire's.

// forge is a packet to s as its peer might send it: the next number, and an
// acknowledgement of the last packet that s sent.
func forge(s *side, t wire.Type) *wire.Packet {
	p := &wire.Packet{SrcPort: s.c.ports.Remote, DstPort: s.c.ports.Local, Type: t, Seq: s.c.gsr.Add(1)}
	if t.HasAck() {
		p.Ack = s.c.gss
	}
	return p
}

// replies is what s answers to the packet.
func (p *pair) replies(s *side, q *wire.Packet) []*wire.Packet {
	s.packets(p.now)
	s.handle(p.now, q)
	return s.packets(p.now)
}

// want checks a single packet; nil: none at all.
func want(t *testing.T, got []*wire.Packet, kind wire.Type, ack wire.Seq) *wire.Packet {
	t.Helper()
	if len(got) != 1 || got[0].Type != kind || got[0].Ack != ack {
		t.Fatalf("answered %v; want one %v that acknowledges %d", summary(got), kind, ack)
	}
	return got[0]
}

func wantNone(t *testing.T, got []*wire.Packet) {
	t.Helper()
	if len(got) != 0 {
		t.Fatalf("answered %v; want nothing", summary(got))
	}
}

func summary(ps []*wire.Packet) []string {
	var s []string
	for _, p := range ps {
		s = append(s, p.Type.String()+" "+p.Code.String())
	}
	return s
}

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

// idle lets so much time pass that the connection no longer counts as active.
func (p *pair) idle() { p.now = p.now.Add(time.Minute) }

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

func TestStep6SequenceValidity(t *testing.T) {
	// Windows of 1000: a quarter behind GSR, the rest before it.
	behind := func(s *side) wire.Seq { return s.c.gsr.Add(1 - 1000/4) }
	ahead := func(s *side) wire.Seq { return s.c.gsr.Add(750) }
	tests := []struct {
		name  string
		kind  wire.Type
		seq   func(*side) wire.Seq
		ack   func(*side) wire.Seq
		valid bool
	}{
		{"Data, SWH", wire.Data, ahead, nil, true},
		{"Data, SWH+1", wire.Data, func(s *side) wire.Seq { return ahead(s) + 1 }, nil, false},
		{"Data, SWL", wire.Data, behind, nil, true},
		{"Data, SWL-1", wire.Data, func(s *side) wire.Seq { return behind(s) - 1 }, nil, false},
		{"Ack, AWH", wire.Ack, nil, func(s *side) wire.Seq { return s.c.gss }, true},
		{"Ack, AWH+1", wire.Ack, nil, func(s *side) wire.Seq { return s.c.gss + 1 }, false},
		{"Ack, AWL", wire.Ack, nil, func(s *side) wire.Seq { return s.c.gss.Add(1 - 1000) }, true},
		{"Ack, AWL-1", wire.Ack, nil, func(s *side) wire.Seq { return s.c.gss.Add(-1000) }, false},
		{"DataAck, SWH+1", wire.DataAck, func(s *side) wire.Seq { return ahead(s) + 1 }, nil, false},
		// What ends a connection is newer than all before, and acknowledges
		// nothing older (Section 7.5.3).
		{"Close, GSR+1", wire.Close, nil, nil, true},
		{"Close, GSR", wire.Close, func(s *side) wire.Seq { return s.c.gsr }, nil, false},
		{"Close, SWH+1", wire.Close, func(s *side) wire.Seq { return ahead(s) + 1 }, nil, false},
		{"Close, GAR", wire.Close, nil, func(s *side) wire.Seq { return s.c.gar }, true},
		{"Close, GAR-1", wire.Close, nil, func(s *side) wire.Seq { return s.c.gar - 1 }, false},
		{"Reset, GSR", wire.Reset, func(s *side) wire.Seq { return s.c.gsr }, nil, false},
		{"Reset, GAR-1", wire.Reset, nil, func(s *side) wire.Seq { return s.c.gar - 1 }, false},
		{"Reset, SWH+1", wire.Reset, func(s *side) wire.Seq { return ahead(s) + 1 }, nil, false},
		{"Reset, number 0", wire.Reset, func(*side) wire.Seq { return 0 }, nil, false},
		{"Reset, GSR+1 and GAR", wire.Reset, nil, func(s *side) wire.Seq { return s.c.gar }, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := opened(t, plainConfig(), plainConfig())
			// Far from the beginning, where nothing is clamped.
			s := &p.b
			for from := 0; from < 3000; from += 100 {
				p.send(&p.a, from, 100)
				p.send(&p.b, from, 100)
				p.exchange()
			}
			if w := s.c.feat.value(remote, wire.FeatSequenceWindow); w != 1000 {
				t.Fatalf("sequence window %d", w)
			}
			p.now = p.now.Add(time.Second)
			gsr, gar := s.c.gsr, s.c.gar
			q := forge(s, test.kind)
			if test.seq != nil {
				q.Seq = test.seq(s)
			}
			if test.ack != nil {
				q.Ack = test.ack(s)
			}
			q.Data = []byte("x")
			out := p.replies(s, q)
			if !test.valid {
				ack := q.Seq
				if test.kind == wire.Reset {
					ack = gsr // Section 7.5.4
				}
				r := want(t, out, wire.Sync, ack)
				if r.Seq != s.c.gss || s.c.gsr != gsr || s.c.gar != gar || s.c.State() != StateOpen {
					t.Errorf("%+v, GSR %d was %d", r, s.c.gsr, gsr)
				}
				return
			}
			if s.c.Stats().SequenceInvalid != 0 {
				t.Error("not taken for valid")
			}
			if test.name == "Data, SWL" {
				if s.c.gsr != gsr {
					t.Error("GSR went back")
				}
			} else if s.c.gsr != q.Seq {
				t.Errorf("GSR %d, want %d", s.c.gsr, q.Seq)
			}
			if q.Type.HasAck() && s.c.gar != wire.MaxSeq(gar, q.Ack) {
				t.Errorf("GAR %d, want %d", s.c.gar, q.Ack)
			}
		})
	}
}

// Section 7.5.1: at the beginning the windows do not reach before ISR and ISS.
func TestStep6WindowsBegin(t *testing.T) {
	p := opened(t, plainConfig(), plainConfig())
	s := &p.b
	for _, q := range []*wire.Packet{
		{Type: wire.Data, Seq: s.c.isr - 1},
		{Type: wire.Ack, Seq: s.c.gsr + 1, Ack: s.c.iss - 1},
	} {
		p.now = p.now.Add(time.Second)
		want(t, p.replies(s, q), wire.Sync, q.Seq)
	}
	// Much later the same numbers are ordinary again: around the circle.
	s.c.gsr, s.c.isrWrapped = s.c.isr.Add(5), true
	if low, _ := s.c.seqWindow(); low != s.c.gsr.Add(1-250) {
		t.Errorf("window from %d, GSR %d", low, s.c.gsr)
	}
}

func TestStep6ShortNumbersNotAgreed(t *testing.T) {
	p := opened(t, plainConfig(), plainConfig())
	q := forge(&p.b, wire.Data)
	q.Short, q.Seq, q.Data = true, q.Seq&0xffffff, []byte("x")
	wantNone(t, p.replies(&p.b, q))
	if len(p.b.got) != 0 || p.b.c.Stats().ShortInvalid != 1 {
		t.Error("taken")
	}
}

// Section 7.6: were they agreed to, they would be understood.
func TestStep6ShortNumbersExtended(t *testing.T) {
	p := opened(t, plainConfig(), plainConfig())
	p.b.c.feat.at(remote, wire.FeatShortSeqnos).value = 1
	q := forge(&p.b, wire.DataAck)
	full := q.Seq
	q.Short, q.Seq, q.Ack, q.Data = true, q.Seq&0xffffff, q.Ack&0xffffff, []byte("x")
	p.b.handle(p.now, q)
	if len(p.b.got) != 1 || p.b.c.gsr != full || p.b.c.gar != p.b.c.gss {
		t.Errorf("got %v, GSR %d want %d", p.b.got, p.b.c.gsr, full)
	}
}

// Section 7.5.4, SHOULD: at most eight Syncs a second for invalid packets.
func TestStep6SyncsAreLimited(t *testing.T) {
	p := opened(t, plainConfig(), plainConfig())
	syncs := 0
	for i := range 1000 {
		q := forge(&p.b, wire.Ack)
		q.Seq += wire.Seq(100_000 + i)
		syncs += len(p.replies(&p.b, q))
		p.now = p.now.Add(time.Millisecond)
	}
	st := p.b.c.Stats()
	if syncs < 8 || syncs > 17 || st.SyncsLimited != uint64(1000-syncs) || st.SequenceInvalid != 1000 {
		t.Errorf("%d Syncs in a second, %+v", syncs, st)
	}
	p.send(&p.a, 0, 10)
	p.exchange()
	if len(p.b.got) != 10 {
		t.Error("the connection is disturbed")
	}
}

func TestStep7UnexpectedTypes(t *testing.T) {
	tests := []struct {
		name   string
		server bool
		kind   wire.Type
		seq    func(*side) wire.Seq
		sync   bool
	}{
		{"CloseReq at a server", true, wire.CloseReq, nil, true},
		{"Response at a server", true, wire.Response, nil, true},
		{"Request at a client", false, wire.Request, nil, true},
		{"late Request", true, wire.Request, nil, true},
		{"late Response", false, wire.Response, nil, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := opened(t, plainConfig(), plainConfig())
			s := &p.a
			if test.server {
				s = &p.b
			}
			q := forge(s, test.kind)
			q.Service = service
			want(t, p.replies(s, q), wire.Sync, q.Seq)
			if s.c.State() != StateOpen || s.c.Stats().Unexpected != 1 {
				t.Errorf("%v", s.c.State())
			}
		})
	}
	t.Run("Data in RESPOND", func(t *testing.T) {
		p := responding(t)
		q := forge(&p.b, wire.Data)
		want(t, p.replies(&p.b, q), wire.Sync, q.Seq)
		if p.b.c.State() != StateRespond {
			t.Error(p.b.c.State())
		}
	})
	t.Run("old Request after OPEN", func(t *testing.T) {
		// It was overtaken by the Ack: before OSR, so not worth a Sync.
		p := newPair(t, plainConfig(), plainConfig())
		first := p.a.packets(p.now)[0]
		p.now = p.now.Add(time.Second)
		p.a.c.HandleTimer(p.now)
		p.exchange() // the second makes the connection
		p.wantStates(StateOpen, StateOpen)
		wantNone(t, p.replies(&p.b, first)[:0])
		if p.b.c.State() != StateOpen {
			t.Error(p.b.c.State())
		}
	})
}

// responding is a pair whose server has sent its Response, which is lost.
func responding(t *testing.T) *pair {
	t.Helper()
	p := newPair(t, plainConfig(), plainConfig())
	p.lose = func(toServer bool, _ *wire.Packet) bool { return !toServer }
	p.exchange()
	p.wantStates(StateRequest, StateRespond)
	p.lose = nil
	return p
}

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

// inState is a pair with one side in the state.
func inState(t *testing.T, state State) (*pair, *side) {
	t.Helper()
	silent := func(bool, *wire.Packet) bool { return true }
	switch state {
	case StateRespond:
		p := responding(t)
		return p, &p.b
	case StatePartOpen:
		p := newPair(t, plainConfig(), plainConfig())
		p.lose = func(toServer bool, q *wire.Packet) bool { return toServer && q.Type != wire.Request }
		p.exchange()
		p.lose = nil
		return p, &p.a
	}
	p := opened(t, plainConfig(), plainConfig())
	s := &p.a
	p.lose = silent
	switch state {
	case StateCloseReq:
		s = &p.b
		s.c.Close(p.now)
	case StateClosing:
		s.c.Close(p.now)
	}
	p.exchange()
	p.lose = nil
	if s.c.State() != state {
		t.Fatalf("%v, want %v", s.c.State(), state)
	}
	return p, s
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

// option is the data of the packet's first option of a type, nil without.
func option(p *wire.Packet, t wire.OptionType) []byte {
	for r := wire.ReadOptions(p.Options); r.Next(); {
		if r.Option.Type == t {
			return r.Option.Data
		}
	}
	return nil
}
