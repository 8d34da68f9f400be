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
