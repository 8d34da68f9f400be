package core

import (
	"slices"
	"testing"
	"time"

	"ipfixsuite/transport/dccp/wire"
)

func TestHandshakeDataClose(t *testing.T) {
	p := opened(t, plainConfig(), plainConfig())
	if p.a.count(EventOpened) != 1 || p.b.count(EventOpened) != 1 {
		t.Fatalf("opened %d and %d times", p.a.count(EventOpened), p.b.count(EventOpened))
	}
	p.send(&p.a, 0, 100)
	p.send(&p.b, 1000, 50)
	p.exchange()
	if !slices.Equal(p.b.got, messages(0, 100)) || !slices.Equal(p.a.got, messages(1000, 50)) {
		t.Fatalf("server got %d, client %d messages", len(p.b.got), len(p.a.got))
	}
	if n := p.a.count(EventDelivered); n != 100 {
		t.Errorf("client knows of %d deliveries", n)
	}
	if n := p.b.count(EventDelivered); n != 50 {
		t.Errorf("server knows of %d deliveries", n)
	}
	p.a.c.Close(p.now)
	p.exchange()
	p.wantStates(StateTimeWait, StateClosed)
	if !p.a.c.Err().Clean() || !p.b.c.Err().Clean() {
		t.Errorf("ended by %v and %v", p.a.c.Err(), p.b.c.Err())
	}
	p.pass(5 * time.Minute)
	p.wantStates(StateClosed, StateClosed)
}

func TestServerClosesByCloseReq(t *testing.T) {
	p := opened(t, plainConfig(), plainConfig())
	p.b.c.Close(p.now)
	p.exchange()
	p.wantStates(StateTimeWait, StateClosed)
	var types []wire.Type
	for _, q := range p.b.sent {
		types = append(types, q.Type)
	}
	if !slices.Contains(types, wire.CloseReq) || types[len(types)-1] != wire.Reset {
		t.Errorf("server sent %v", types)
	}
}
