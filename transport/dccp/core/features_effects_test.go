package core

import (
	"slices"
	"testing"

	"ipfixsuite/transport/dccp/wire"
)

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
