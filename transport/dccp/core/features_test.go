package core

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"ipfixsuite/transport/dccp/ccid"
	"ipfixsuite/transport/dccp/wire"
)

// featureOptions are a packet's feature options, with Mandatory as a prefix.
func featureOptions(p *wire.Packet) [][]byte {
	var out [][]byte
	for r := wire.ReadOptions(p.Options); r.Next(); {
		if o := r.Option; o.Type.IsFeature() {
			b := []byte(nil)
			if o.Mandatory {
				b = append(b, 1)
			}
			out = append(out, wire.AppendOption(b, o.Type, o.Data...))
		}
	}
	return out
}

func has(p *wire.Packet, o ...byte) bool {
	return slices.ContainsFunc(featureOptions(p), func(b []byte) bool { return bytes.Equal(b, o) })
}

func (p *pair) wantValue(pl place, f wire.Feature, client, server uint64) {
	p.t.Helper()
	a, b := p.a.c.feat.value(pl, f), p.b.c.feat.value(pl, f)
	if a != client || b != server {
		p.t.Errorf("feature %d: client %d, server %d; want %d, %d", f, a, b, client, server)
	}
}

func TestInitialValues(t *testing.T) {
	// RFC 4340, Table 4.
	var n negotiation
	cfg := plainConfig()
	cfg = cfg.withDefaults()
	n.start(&cfg, true)
	want := map[wire.Feature]uint64{1: 2, 2: 0, 3: 100, 4: 0, 5: 2, 6: 0, 7: 0, 8: 0, 9: 0, 192: 0}
	for f, v := range want {
		for _, p := range []place{local, remote} {
			if n.value(p, f) != v {
				t.Errorf("feature %d starts with %d, want %d", f, n.value(p, f), v)
			}
		}
	}
}

func TestHandshakeNegotiates(t *testing.T) {
	p := opened(t, plainConfig(), plainConfig())
	for _, pl := range []place{local, remote} {
		p.wantValue(pl, wire.FeatCCID, 2, 2)
		p.wantValue(pl, wire.FeatECNIncapable, 1, 1)
		p.wantValue(pl, wire.FeatSendAckVector, 1, 1)
		p.wantValue(pl, wire.FeatSequenceWindow, 1000, 1000)
	}
	// RFC 4340, Section 12.1, MUST: Mandatory Change L(ECN Incapable, 1).
	if !has(&p.a.sent[0], 1, 32, 4, 4, 1) || !has(&p.b.sent[0], 1, 32, 4, 4, 1) {
		t.Errorf("%x, %x", featureOptions(&p.a.sent[0]), featureOptions(&p.b.sent[0]))
	}
	if p.a.c.feat.retry != (time.Time{}) || p.b.c.feat.retry != (time.Time{}) {
		t.Error("something is still being negotiated")
	}
	// The Request has no Confirms: there was nothing to confirm.
	for _, o := range featureOptions(&p.a.sent[0]) {
		if slices.Contains(o[:2], byte(wire.OptConfirmL)) || slices.Contains(o[:2], byte(wire.OptConfirmR)) {
			t.Errorf("Confirm on a Request: %x", o)
		}
	}
}

// fakeCCID is a CCID 3 without its congestion control.
func fakeTFRC(mandatory bool) ccid.CCID {
	d := plain()
	d.ID = ccid.TFRC
	d.Needs = []ccid.Need{{Feature: wire.FeatSendLossEventRate, Remote: true, Values: []byte{1}, Mandatory: mandatory}}
	return d
}

// RFC 4340, Section 6.3.1: the first of the server's list that the client's
// also has.
func TestCCIDByServerPriority(t *testing.T) {
	two, three := plain(), fakeTFRC(false)
	tests := []struct {
		name           string
		client, server []ccid.CCID
		want           ccid.ID
	}{
		{"the server's first", []ccid.CCID{two, three}, []ccid.CCID{three, two}, 3},
		{"the only common one", []ccid.CCID{two}, []ccid.CCID{three, two}, 2},
		{"only 3", []ccid.CCID{three}, []ccid.CCID{three}, 3},
		{"a client of 3 alone", []ccid.CCID{three}, []ccid.CCID{two, three}, 3},
		{"a server of 3 alone", []ccid.CCID{two, three}, []ccid.CCID{three}, 3},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := opened(t, Config{CCIDs: test.client}, Config{CCIDs: test.server})
			for _, s := range []*side{&p.a, &p.b} {
				if send, recv := s.c.CCIDs(); send != test.want || recv != test.want || s.c.sendCCID != test.want || s.c.recvCCID != test.want {
					t.Errorf("%d and %d, want %d", send, recv, test.want)
				}
			}
			if test.want == 3 {
				// A feature of that CCID comes after it (Section 10.3).
				p.wantValue(remote, wire.FeatSendLossEventRate, 1, 1)
				p.wantValue(local, wire.FeatSendLossEventRate, 1, 1)
			}
		})
	}
	t.Run("nothing in common", func(t *testing.T) {
		// Section 10, MUST: who cannot use the default says so with Mandatory.
		p := newPair(t, Config{CCIDs: []ccid.CCID{three}}, Config{CCIDs: []ccid.CCID{two}})
		p.exchange()
		p.wantStates(StateTimeWait, StateClosed)
		if e := p.a.c.Err(); e.Code != wire.ResetMandatoryError || !e.Remote {
			t.Error(e)
		}
	})
	t.Run("the other way round", func(t *testing.T) {
		p := newPair(t, Config{CCIDs: []ccid.CCID{two}}, Config{CCIDs: []ccid.CCID{three}})
		p.exchange()
		if p.a.c.State() != StateClosed || p.b.c.State() != StateTimeWait || p.a.c.Err().Code != wire.ResetMandatoryError {
			t.Errorf("%v %v", p.a.c.Err(), p.b.c.Err())
		}
	})
}

// The choice of CCIDs ends with the handshake: a peer cannot make congestion
// control start afresh.
func TestCCIDStays(t *testing.T) {
	both := Config{CCIDs: []ccid.CCID{plain(), fakeTFRC(false)}}
	p := opened(t, both, both)
	half := p.b.c.sender
	for _, o := range [][]byte{{34, 4, 1, 3}, {34, 5, 1, 3, 2}} {
		q := forge(&p.b, wire.Ack)
		q.Options = o
		r := want(t, p.replies(&p.b, q), wire.Ack, q.Seq)
		if !has(r, 33, 5, 1, 2, 2) {
			t.Errorf("answered %v", featureOptions(r))
		}
	}
	if p.b.c.sender != half || p.b.c.State() != StateOpen {
		t.Error("the sender was replaced")
	}
}

// Section 6.6.2 and its subsections, option by option, at an open server.
func TestReceivedFeatureOptions(t *testing.T) {
	tests := []struct {
		name   string
		in     []byte
		answer []byte // the only feature option of the answer; nil: no answer
		reset  wire.ResetCode
	}{
		// Section 6.3.1: the value, then the own list.
		{"Change L(CCID, 2 3)", []byte{32, 5, 1, 2, 3}, []byte{35, 5, 1, 2, 2}, 0},
		{"Change R(CCID, 3 2)", []byte{34, 5, 1, 3, 2}, []byte{33, 5, 1, 2, 2}, 0},
		{"Change R(Send NDP Count, 1)", []byte{34, 4, 7, 1}, []byte{33, 6, 7, 1, 0, 1}, 0},
		{"Change R(Check Data Checksum, 1)", []byte{1, 34, 4, 9, 1}, []byte{33, 6, 9, 1, 1, 0}, 0},
		{"Change L(Minimum Checksum Coverage, 5)", []byte{32, 4, 8, 5}, append([]byte{35, 20, 8, 5}, anyCsCov...), 0},
		// Nothing in common: the old value is confirmed.
		{"Change L(CCID, 9)", []byte{32, 4, 1, 9}, []byte{35, 5, 1, 2, 2}, 0},
		{"Change L(Allow Short Seqnos, 1)", []byte{32, 4, 2, 1}, []byte{35, 5, 2, 0, 0}, 0},
		{"Mandatory Change L(CCID, 9)", []byte{1, 32, 4, 1, 9}, nil, wire.ResetMandatoryError},
		// Section 6.3.2: non-negotiable, the location alone decides.
		{"Change L(Ack Ratio, 7)", []byte{32, 5, 5, 0, 7}, []byte{35, 5, 5, 0, 7}, 0},
		{"Change L(Sequence Window, 1024)", []byte{32, 9, 3, 0, 0, 0, 0, 4, 0}, []byte{35, 9, 3, 0, 0, 0, 0, 4, 0}, 0},
		{"Change R(Ack Ratio, 7)", []byte{34, 5, 5, 0, 7}, []byte{33, 3, 5}, 0},
		{"Mandatory Change R(Ack Ratio, 7)", []byte{1, 34, 5, 5, 0, 7}, nil, wire.ResetMandatoryError},
		// Section 6.6.8: invalid values.
		{"Change L(Ack Ratio, 0)", []byte{32, 5, 5, 0, 0}, []byte{35, 3, 5}, 0},
		{"Change L(Sequence Window, 31)", []byte{32, 9, 3, 0, 0, 0, 0, 0, 31}, []byte{35, 3, 3}, 0},
		{"Change L(Sequence Window) of five octets", []byte{32, 8, 3, 0, 0, 0, 4, 0}, []byte{35, 3, 3}, 0},
		{"Change L(CCID) without a value", []byte{32, 3, 1}, []byte{35, 3, 1}, 0},
		{"Mandatory Change L(Ack Ratio, 0)", []byte{1, 32, 5, 5, 0, 0}, nil, wire.ResetMandatoryError},
		// Section 6.6.7: unknown features.
		{"Change L(126)", []byte{32, 4, 126, 1}, []byte{35, 3, 126}, 0},
		{"Change R(10)", []byte{34, 4, 10, 1}, []byte{33, 3, 10}, 0},
		{"Change R(192) without CCID 3", []byte{34, 4, 192, 1}, []byte{33, 3, 192}, 0},
		{"Mandatory Change L(126)", []byte{1, 32, 4, 126, 1}, nil, wire.ResetMandatoryError},
		{"Confirm R(126)", []byte{35, 3, 126}, nil, 0},
		// No number at all.
		{"Change L()", []byte{32, 2}, nil, 0},
		{"Mandatory Change L()", []byte{1, 32, 2}, nil, wire.ResetMandatoryError},
		// Section 6.6.8: Confirms that nobody asked for.
		{"unexpected Confirm R(CCID, 3)", []byte{35, 5, 1, 3, 3}, nil, 0},
		{"unexpected Confirm R(Ack Ratio, 9)", []byte{35, 5, 5, 0, 9}, nil, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := opened(t, plainConfig(), plainConfig())
			q := forge(&p.b, wire.Ack)
			q.Options = test.in
			out := p.replies(&p.b, q)
			switch {
			case test.reset != 0:
				r := want(t, out, wire.Reset, q.Seq)
				if r.Code != test.reset || r.ResetData[0] != test.in[1] {
					t.Errorf("%+v", r)
				}
			case test.answer == nil:
				wantNone(t, out)
			default:
				r := want(t, out, wire.Ack, q.Seq)
				if got := featureOptions(r); len(got) != 1 || !bytes.Equal(got[0], test.answer) {
					t.Errorf("answered %v, want %v", got, test.answer)
				}
			}
		})
	}
	t.Run("several, in order", func(t *testing.T) {
		p := opened(t, plainConfig(), plainConfig())
		q := forge(&p.b, wire.Ack)
		q.Options = []byte{32, 5, 5, 0, 7, 32, 5, 5, 0, 8, 34, 4, 7, 1}
		r := want(t, p.replies(&p.b, q), wire.Ack, q.Seq)
		got := featureOptions(r)
		if len(got) != 3 || got[0][4] != 7 || got[1][4] != 8 || got[2][2] != 7 {
			t.Errorf("%v", got)
		}
		if v := p.b.c.feat.value(remote, wire.FeatAckRatio); v != 8 {
			t.Errorf("Ack Ratio %d", v)
		}
	})
	t.Run("ignored on Data", func(t *testing.T) {
		p := opened(t, plainConfig(), plainConfig())
		q := forge(&p.b, wire.Data)
		q.Options = []byte{32, 5, 5, 0, 7}
		r := want(t, p.replies(&p.b, q), wire.Ack, q.Seq)
		if len(featureOptions(r)) != 0 || p.b.c.feat.value(remote, wire.FeatAckRatio) != 2 {
			t.Error("taken")
		}
	})
	t.Run("more than can be answered", func(t *testing.T) {
		p := opened(t, plainConfig(), plainConfig())
		q := forge(&p.b, wire.Ack)
		for range 200 {
			q.Options = append(q.Options, 32, 4, 126, 1)
		}
		for range 50 {
			p.b.handle(p.now, q)
			q.Seq++
		}
		if n := len(p.b.c.feat.confirms); n > maxConfirms {
			t.Errorf("%d octets of Confirms wait", n)
		}
		for _, r := range p.b.packets(p.now) {
			if len(r.Options) > maxConfirms+64 {
				t.Errorf("%d octets of options", len(r.Options))
			}
		}
	})
}

// changing is an open server with a Change L(Ack Ratio, 5) under way.
func changing(t *testing.T) (*pair, *wire.Packet) {
	t.Helper()
	p := opened(t, plainConfig(), plainConfig())
	p.b.c.feat.wish(wire.FeatAckRatio, 5)
	out := p.b.packets(p.now)
	if len(out) != 1 || !has(out[0], 32, 5, 5, 0, 5) {
		t.Fatalf("%v", summary(out))
	}
	return p, out[0]
}

func TestConfirmEndsChange(t *testing.T) {
	p, change := changing(t)
	p.a.handle(p.now, change)
	out := p.a.packets(p.now)
	if r := want(t, out, wire.Ack, change.Seq); !has(r, 35, 5, 5, 0, 5) {
		t.Errorf("%v", featureOptions(r))
	}
	// The confirming end has it at once, the other with the Confirm (Section
	// 6.6.1).
	p.wantValue(remote, wire.FeatAckRatio, 5, 2)
	p.b.handle(p.now, out[0])
	if v := p.b.c.feat.value(local, wire.FeatAckRatio); v != 5 {
		t.Errorf("Ack Ratio %d", v)
	}
	// Both halves learn it.
	if v := p.b.c.sender.(*plainSender).values[wire.FeatAckRatio]; v != 5 {
		t.Errorf("the sender was told %d", v)
	}
}

// Section 6.6.3: repeated with exactly the same contents, backing off to 64 s,
// on Syncs.
func TestChangeIsRepeated(t *testing.T) {
	p, change := changing(t)
	from := p.now
	var at []time.Duration
	for p.now.Sub(from) < 10*time.Minute {
		next := p.b.c.feat.retry
		if next.IsZero() {
			t.Fatal("no longer repeated")
		}
		p.now = next
		p.b.c.HandleTimer(p.now)
		for _, q := range p.b.packets(p.now) {
			if got := featureOptions(q); len(got) > 0 {
				if !slices.EqualFunc(got, featureOptions(change), bytes.Equal) {
					t.Fatalf("now %v", got)
				}
				// The peer may confirm on what it sends anyway; a Sync it has
				// to answer.
				if q.Type != wire.Sync {
					t.Errorf("repeated on %v", q.Type)
				}
				at = append(at, p.now.Sub(from))
			}
		}
	}
	var gaps []time.Duration
	for i := 1; i < len(at); i++ {
		gaps = append(gaps, (at[i] - at[i-1]).Round(time.Millisecond))
	}
	want := []time.Duration{400, 800, 1600, 3200, 6400, 12800, 25600, 51200, 64000, 64000}
	for i := range want {
		if i >= len(gaps) || gaps[i] != want[i]*time.Millisecond {
			t.Fatalf("gaps %v, want %v", gaps, want)
		}
	}
	if p.b.c.feat.fgss != change.Seq {
		t.Error("FGSS moved with a repetition")
	}
}

// Section 6.6.4: the two conditions.
func TestFeatureReordering(t *testing.T) {
	t.Run("FGSR", func(t *testing.T) {
		p := opened(t, plainConfig(), plainConfig())
		late, early := forge(&p.b, wire.Ack), forge(&p.b, wire.Ack)
		late.Options = []byte{32, 5, 5, 0, 7}
		early.Seq += 5
		early.Options = []byte{32, 5, 5, 0, 9}
		p.b.handle(p.now, early)
		p.b.handle(p.now, late)
		if v := p.b.c.feat.value(remote, wire.FeatAckRatio); v != 9 {
			t.Errorf("Ack Ratio %d", v)
		}
		out := p.b.packets(p.now)
		if len(out) != 1 || len(featureOptions(out[0])) != 1 {
			t.Errorf("%v", summary(out))
		}
	})
	t.Run("FGSR and Mandatory", func(t *testing.T) {
		// Section 6.6.9: reordering resets nothing.
		p := opened(t, plainConfig(), plainConfig())
		late, early := forge(&p.b, wire.Ack), forge(&p.b, wire.Ack)
		late.Options = []byte{1, 32, 4, 1, 9}
		early.Seq += 5
		early.Options = []byte{32, 5, 5, 0, 9}
		p.b.handle(p.now, early)
		p.b.handle(p.now, late)
		if p.b.c.State() != StateOpen {
			t.Error(p.b.c.Err())
		}
	})
	t.Run("FGSS", func(t *testing.T) {
		p, change := changing(t)
		q := forge(&p.b, wire.Ack)
		q.Ack = change.Seq - 1 // from before the Change
		q.Options = []byte{35, 5, 5, 0, 5}
		p.b.handle(p.now, q)
		if v := p.b.c.feat.value(local, wire.FeatAckRatio); v != 2 {
			t.Errorf("Ack Ratio %d", v)
		}
	})
}

// Section 6.6.6: each Change answers the other.
func TestSimultaneousNegotiation(t *testing.T) {
	p := opened(t, plainConfig(), plainConfig())
	p.a.c.feat.ask(remote, wire.FeatSendNDPCount, []byte{1}, false)
	p.b.c.feat.ask(local, wire.FeatSendNDPCount, []byte{1, 0}, false)
	a, b := p.a.packets(p.now), p.b.packets(p.now)
	for _, q := range a {
		p.b.handle(p.now, q)
	}
	for _, q := range b {
		p.a.handle(p.now, q)
	}
	p.wantValue(remote, wire.FeatSendNDPCount, 1, 0)
	if p.b.c.feat.value(local, wire.FeatSendNDPCount) != 1 {
		t.Error("no agreement at the server")
	}
	if p.a.c.feat.at(remote, wire.FeatSendNDPCount).changing || p.b.c.feat.at(local, wire.FeatSendNDPCount).changing {
		t.Error("still changing")
	}
	p.exchange()
	p.wantStates(StateOpen, StateOpen)
}

// Sections 6.6.7 and 6.6.8: what a Confirm may be.
func TestConfirms(t *testing.T) {
	tests := []struct {
		name  string
		in    []byte
		value uint64
		reset wire.ResetCode
	}{
		{"as asked", []byte{35, 5, 5, 0, 5}, 5, 0},
		{"not understood", []byte{35, 3, 5}, 2, 0},
		{"another value", []byte{35, 5, 5, 0, 6}, 2, wire.ResetOptionError},
		{"a wrong length", []byte{35, 4, 5, 5}, 2, wire.ResetOptionError},
		// Linux may answer what was repeated twice, the second time in a
		// packet that acknowledges the next Change.
		{"the value before", []byte{35, 5, 5, 0, 2}, 2, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p, _ := changing(t)
			q := forge(&p.b, wire.Ack)
			q.Options = test.in
			out := p.replies(&p.b, q)
			if test.reset != 0 {
				if r := want(t, out, wire.Reset, q.Seq); r.Code != test.reset {
					t.Errorf("%+v", r)
				}
				return
			}
			if v := p.b.c.feat.value(local, wire.FeatAckRatio); v != test.value || p.b.c.State() != StateOpen {
				t.Errorf("Ack Ratio %d, %v", v, p.b.c.Err())
			}
		})
	}
	confirm := func(ask, in []byte, f wire.Feature) (*pair, []*wire.Packet) {
		p := opened(t, plainConfig(), plainConfig())
		p.b.c.feat.ask(local, f, ask, false)
		p.b.packets(p.now)
		q := forge(&p.b, wire.Ack)
		q.Options = in
		return p, p.replies(&p.b, q)
	}
	t.Run("not understood, required", func(t *testing.T) {
		_, out := confirm([]byte{3, 2}, []byte{35, 3, 1}, wire.FeatCCID)
		if len(out) != 1 || out[0].Code != wire.ResetOptionError {
			t.Errorf("%v", summary(out))
		}
	})
	t.Run("wrong choice", func(t *testing.T) {
		// Our list, a server's, is 1 0, theirs 1 0: that gives 1.
		_, out := confirm([]byte{1, 0}, []byte{35, 6, 7, 0, 1, 0}, wire.FeatSendNDPCount)
		if len(out) != 1 || out[0].Code != wire.ResetOptionError {
			t.Errorf("%v", summary(out))
		}
	})
	t.Run("right choice", func(t *testing.T) {
		p, out := confirm([]byte{1, 0}, []byte{35, 6, 7, 1, 0, 1}, wire.FeatSendNDPCount)
		wantNone(t, out)
		if p.b.c.feat.value(local, wire.FeatSendNDPCount) != 1 {
			t.Error("not taken")
		}
	})
	t.Run("nothing in common keeps the value", func(t *testing.T) {
		p, out := confirm([]byte{1}, []byte{35, 5, 7, 0, 0}, wire.FeatSendNDPCount)
		wantNone(t, out)
		if p.b.c.feat.value(local, wire.FeatSendNDPCount) != 0 || p.b.c.State() != StateOpen {
			t.Error("not kept")
		}
	})
}

// A wish made while another is under way waits: agreement is always on the
// present preferences, so that RFC 4340's UNSTABLE state never arises.
func TestWishWaitsForConfirm(t *testing.T) {
	p, change := changing(t)
	p.b.c.feat.wish(wire.FeatAckRatio, 9)
	wantNone(t, p.b.packets(p.now))
	p.a.handle(p.now, change)
	p.exchange()
	if v := p.b.c.feat.value(local, wire.FeatAckRatio); v != 5 {
		t.Errorf("Ack Ratio %d", v)
	}
	p.b.c.feat.wish(wire.FeatAckRatio, 9)
	p.exchange()
	p.wantValue(remote, wire.FeatAckRatio, 9, 2)
}

// Every Change is confirmed in the end, and both ends agree, whatever is lost.
func TestNegotiationOverLoss(t *testing.T) {
	r := testRand(5)
	p := opened(t, plainConfig(), plainConfig())
	p.lose = func(bool, *wire.Packet) bool { return r.Uint64()%10 < 3 }
	for i := range 300 {
		v := 1 + r.Uint64()%1000
		p.a.c.feat.wish(wire.FeatAckRatio, v)
		p.b.c.feat.wish(wire.FeatSequenceWindow, 200+v)
		if i%50 == 0 {
			p.a.c.feat.ask(remote, wire.FeatSendNDPCount, []byte{byte(i / 50 % 2)}, false)
		}
		p.send(&p.a, i, 1)
		p.send(&p.b, i, 1)
		p.pass(300 * time.Millisecond)
	}
	p.lose = nil
	p.pass(3 * time.Minute)
	p.wantStates(StateOpen, StateOpen)
	for _, f := range []wire.Feature{1, 2, 3, 4, 5, 6, 7, 8, 9} {
		if a, b := p.a.c.feat.value(local, f), p.b.c.feat.value(remote, f); a != b {
			t.Errorf("feature %d/client is %d at the client, %d at the server", f, a, b)
		}
		if a, b := p.a.c.feat.value(remote, f), p.b.c.feat.value(local, f); a != b {
			t.Errorf("feature %d/server is %d at the client, %d at the server", f, a, b)
		}
	}
	if v := p.a.c.feat.value(local, wire.FeatAckRatio); v == 2 {
		t.Error("nothing ever changed")
	}
}

// Section 12.1, MUST: no data before the peer has confirmed ECN Incapable.
func TestNoDataBeforeECNIncapable(t *testing.T) {
	p := responding(t)
	q := forge(&p.b, wire.DataAck) // without any Confirm
	q.Data = []byte("early")
	p.b.handle(p.now, q)
	if len(p.b.got) != 0 || p.b.c.State() != StateOpen {
		t.Fatalf("got %q in %v", p.b.got, p.b.c.State())
	}
	for _, r := range p.b.packets(p.now) {
		if blocks := option(r, wire.OptDataDropped); len(blocks) == 1 && blocks[0] == 0x80 {
			return
		}
	}
	t.Error("not reported as dropped for protocol constraints")
}

// Section 9.2.1.
func TestChecksumCoverage(t *testing.T) {
	a, b := plainConfig(), plainConfig()
	a.Coverage, b.MinCoverage = 3, 2
	p := opened(t, a, b)
	// The server's list is 2 0; the client asked for 3 or 0: 0 it is.
	p.wantValue(remote, wire.FeatMinCsCov, 0, 0)
	b.MinCoverage = 3
	p = opened(t, a, b)
	if err := p.a.c.Send(p.now, 1, make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	if err := p.a.c.Send(p.now, 2, make([]byte, 7)); err != nil {
		t.Fatal(err)
	}
	out := p.a.packets(p.now)
	if out[0].CsCov != 3 || out[1].CsCov != 0 {
		t.Errorf("coverage %d, then %d", out[0].CsCov, out[1].CsCov)
	}
	for _, q := range out {
		p.b.handle(p.now, q)
	}
	q := forge(&p.b, wire.Data)
	q.CsCov, q.Data = 2, make([]byte, 100)
	p.b.handle(p.now, q)
	if len(p.b.got) != 2 || p.b.c.Stats().DataRefused != 1 {
		t.Errorf("%d messages, %+v", len(p.b.got), p.b.c.Stats().DataRefused)
	}
}

// Section 9.3.
func TestDataChecksum(t *testing.T) {
	cfg := plainConfig()
	cfg.DataChecksum = true
	p := opened(t, cfg, cfg)
	p.send(&p.a, 0, 2)
	out := p.a.packets(p.now)
	out[1].Data = []byte("something else")
	for _, q := range out {
		p.b.handle(p.now, q)
	}
	if len(p.b.got) != 1 || p.b.c.Stats().DataCorrupt != 1 {
		t.Errorf("got %q", p.b.got)
	}
	p.exchange()
	corrupt := Event{Kind: EventLost, Drop: wire.DropCorrupt, Message: 1}
	isCorrupt := func(e Event) bool {
		return e.Kind == corrupt.Kind && e.Drop == corrupt.Drop && e.Message == corrupt.Message
	}
	if p.a.count(EventDelivered) != 1 || !slices.ContainsFunc(p.a.events, isCorrupt) {
		t.Errorf("%+v", p.a.events)
	}
}

// Section 7.7: the count of packets without data before this one.
func TestNDPCount(t *testing.T) {
	p := opened(t, plainConfig(), plainConfig())
	p.b.c.feat.ask(remote, wire.FeatSendNDPCount, []byte{1}, false)
	p.exchange()
	count := func(q *wire.Packet) int64 {
		d := option(q, wire.OptNDPCount)
		if d == nil {
			return -1
		}
		n, _ := wire.NDPCount(d)
		return int64(n)
	}
	p.send(&p.a, 0, 3)
	p.exchange()
	p.a.packets(p.now)
	first := len(p.a.sent) - 3
	for range 2 {
		p.a.c.due.ack = true
		p.a.packets(p.now)
	}
	p.send(&p.a, 3, 2)
	p.exchange()
	run := int64(0)
	checked := 0
	for i := range p.a.sent {
		q := &p.a.sent[i]
		if n := count(q); i >= first {
			checked++
			if n != run && (run != 0 || n != -1) {
				t.Errorf("packet %d, %v: NDP Count %d, want %d", i, q.Type, n, run)
			}
		}
		run++
		if q.Type.HasData() {
			run = 0
		}
	}
	if checked < 4 {
		t.Errorf("only %d packets looked at", checked)
	}
}

// Confirms are repeated in PARTOPEN while they acknowledge what they answer,
// and not beyond: to the server they would seem to answer its next Change.
func TestConfirmsInPartOpen(t *testing.T) {
	p, s := inState(t, StatePartOpen)
	s.c.due.ack = true
	if q := s.packets(p.now); len(q) != 1 || len(featureOptions(q[0])) == 0 {
		t.Fatalf("%v", summary(q))
	}
	for _, q := range p.replies(s, forge(s, wire.Sync)) {
		if len(featureOptions(q)) > 0 {
			t.Errorf("%v: %v", q.Type, featureOptions(q))
		}
	}
	s.c.due.ack = true
	for _, q := range s.packets(p.now) {
		if len(featureOptions(q)) > 0 {
			t.Errorf("%v: %v", q.Type, featureOptions(q))
		}
	}
}
