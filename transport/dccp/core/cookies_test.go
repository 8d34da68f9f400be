package core

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"ipfixsuite/transport/dccp/wire"
)

func cookieListener(t *testing.T) *Listener {
	return newListener(t, func(c *ListenerConfig) { c.MaxHalfOpen = -1 })
}

// RFC 4340, Section 8.1.4: the client echoes the cookie on each packet until
// one is acknowledged.
func TestClientEchoesCookies(t *testing.T) {
	l := cookieListener(t)
	client, request := requestOf(t, plainConfig())
	b, c := l.HandlePacket(start, tupleOf(1), &request, nil)
	if c != nil {
		t.Fatal("state was made")
	}
	var response wire.Packet
	if err := response.Parse(b); err != nil {
		t.Fatal(err)
	}
	cookie := option(&response, wire.OptInitCookie)
	s := &side{t: t, c: client}
	s.handle(start, &response)
	out := s.packets(start)
	if err := client.Send(start, 1, []byte("x")); err != nil {
		t.Fatal(err)
	}
	out = append(out, s.packets(start)...)
	s.c.HandleTimer(start.Add(time.Second))
	out = append(out, s.packets(start.Add(time.Second))...)
	if len(out) < 3 {
		t.Fatalf("%v", summary(out))
	}
	for _, q := range out {
		if got := option(q, wire.OptInitCookie); !bytes.Equal(got, cookie) {
			t.Errorf("%v carries cookie %x", q.Type, got)
		}
	}
	// The server has an open connection from the first that comes, be it data.
	_, c = l.HandlePacket(start, tupleOf(1), out[1], nil)
	if c == nil || c.State() != StateOpen || c.isr != request.Seq || c.iss != response.Seq {
		t.Fatal("no connection from a cookie")
	}
	srv := &side{t: t, c: c}
	srv.drain()
	if !slices.Equal(srv.got, []string{"x"}) || srv.count(EventOpened) != 1 {
		t.Errorf("got %q", srv.got)
	}
	for _, q := range srv.packets(start) {
		s.handle(start, q)
	}
	if client.State() != StateOpen {
		t.Fatal(client.State())
	}
	if err := client.Send(start, 2, []byte("y")); err != nil {
		t.Fatal(err)
	}
	for _, q := range s.packets(start) {
		if option(q, wire.OptInitCookie) != nil {
			t.Error("still a cookie after OPEN")
		}
	}
}

// Repeated Requests get Responses numbered as of one connection, and the
// client may complete with the later one.
func TestCookieAfterRepeatedRequest(t *testing.T) {
	p := newPair(t, simConfig(t), simConfig(t))
	p.listener = newListener(t, func(c *ListenerConfig) { c.MaxHalfOpen, c.Config = -1, simConfig(t) })
	lost := 0
	p.lose = func(toServer bool, q *wire.Packet) bool {
		lost++
		return lost <= 4
	}
	p.pass(20 * time.Second)
	p.wantStates(StateOpen, StateOpen)
	p.send(&p.a, 0, 5)
	p.pass(time.Second)
	if len(p.b.got) != 5 {
		t.Errorf("got %q", p.b.got)
	}
}

// A Request that was answered by a cookie is repeated, and by then there is room
// for a connection, while the client goes on from the first Response: the two
// find together, whether or not the second Response comes.
func TestStateAfterACookie(t *testing.T) {
	for seed := range uint64(16) {
		for _, lost := range []bool{false, true} {
			l := newListener(t, func(c *ListenerConfig) { c.MaxHalfOpen, c.Config, c.Rand = -1, simConfig(t), testRand(seed) })
			client, request := requestOf(t, simConfig(t))
			first, none := l.HandlePacket(start, tupleOf(1), &request, nil)
			l.cfg.MaxHalfOpen = 256
			p := &pair{t: t, now: start.Add(requestRetry), listener: l, tuple: tupleOf(1), a: side{t: t, c: client}}
			client.HandleTimer(p.now)
			again := p.a.packets(p.now)
			_, server := l.HandlePacket(p.now, p.tuple, again[0], nil)
			if none != nil || server == nil || again[0].Type != wire.Request {
				t.Fatal("not as the test wants it")
			}
			p.b = side{t: t, c: server}
			var response wire.Packet
			if err := response.Parse(first); err != nil {
				t.Fatal(err)
			}
			p.a.handle(p.now, &response)
			if lost {
				p.b.packets(p.now)
			}
			p.pass(10 * time.Second)
			p.wantStates(StateOpen, StateOpen)
			p.send(&p.a, 0, 5)
			p.send(&p.b, 10, 5)
			p.pass(10 * time.Second)
			if !slices.Equal(p.b.got, messages(0, 5)) || !slices.Equal(p.a.got, messages(10, 5)) {
				t.Errorf("seed %d, second Response lost: %v: got %q and %q", seed, lost, p.b.got, p.a.got)
			}
		}
	}
}

// Section 8.1.4, SHOULD: what was tampered with is answered by Reset 10.
func TestBadCookies(t *testing.T) {
	l := cookieListener(t)
	client, request := requestOf(t, plainConfig())
	b, _ := l.HandlePacket(start, tupleOf(1), &request, nil)
	var response wire.Packet
	if err := response.Parse(b); err != nil {
		t.Fatal(err)
	}
	s := &side{t: t, c: client}
	s.handle(start, &response)
	ack := s.packets(start)[0]
	at := bytes.Index(ack.Options, option(ack, wire.OptInitCookie))
	tests := []struct {
		name   string
		tuple  Tuple
		after  time.Duration
		change func(*wire.Packet)
	}{
		{"another address", tupleOf(2), 0, func(*wire.Packet) {}},
		{"a bit wrong", tupleOf(1), 0, func(q *wire.Packet) { q.Options[at+40] ^= 1 }},
		{"no such key", tupleOf(1), 0, func(q *wire.Packet) { q.Options[at] = 7 }},
		{"the other key", tupleOf(1), 0, func(q *wire.Packet) { q.Options[at] ^= 1 }},
		{"too short", tupleOf(1), 0, func(q *wire.Packet) { q.Options = []byte{36, 5, 1, 2, 3} }},
		{"empty", tupleOf(1), 0, func(q *wire.Packet) { q.Options = []byte{36, 2} }},
		{"acknowledges another Response", tupleOf(1), 0, func(q *wire.Packet) { q.Ack++ }},
		{"too late", tupleOf(1), cookieLife + 2*time.Second, func(*wire.Packet) {}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			q := *ack
			q.Options = bytes.Clone(ack.Options)
			test.change(&q)
			b, c := l.HandlePacket(start.Add(test.after), test.tuple, &q, nil)
			if c != nil || reset(t, b) != wire.ResetBadInitCookie {
				t.Errorf("%x, %v", b, c)
			}
		})
	}
	// On Request and Data cookies do not count.
	for _, kind := range []wire.Type{wire.Data, wire.Request} {
		q := *ack
		q.Type, q.Service = kind, service
		if _, c := l.HandlePacket(start, tupleOf(1), &q, nil); c != nil {
			t.Errorf("a connection from a cookie on %v", kind)
		}
	}
	if _, c := l.HandlePacket(start, tupleOf(1), ack, nil); c == nil {
		t.Error("the true one is refused")
	}
	if st := l.Stats(); st.CookiesBad != uint64(len(tests)) || st.CookiesTaken != 1 {
		t.Errorf("%+v", st)
	}
}

func TestCookieKeysRotate(t *testing.T) {
	l := cookieListener(t)
	issue := func(now time.Time, n int) *wire.Packet {
		client, request := requestOf(t, plainConfig())
		b, _ := l.HandlePacket(now, tupleOf(n), &request, nil)
		var response wire.Packet
		if err := response.Parse(b); err != nil {
			t.Fatal(err)
		}
		s := &side{t: t, c: client}
		s.handle(now, &response)
		return s.packets(now)[0]
	}
	first := issue(start, 1)
	again := issue(start.Add(90*time.Second), 2)
	// The key is replaced after two minutes; the old one still opens.
	third := issue(start.Add(2*time.Minute+time.Second), 3)
	now := start.Add(3 * time.Minute)
	if _, c := l.HandlePacket(now, tupleOf(1), first, nil); c != nil {
		t.Error("a cookie outlived its life")
	}
	for n, q := range map[int]*wire.Packet{2: again, 3: third} {
		if _, c := l.HandlePacket(now, tupleOf(n), q, nil); c == nil {
			t.Errorf("cookie %d is refused", n)
		}
	}
	if option(first, wire.OptInitCookie)[0] == option(third, wire.OptInitCookie)[0] {
		t.Error("the key stayed")
	}
	// After a long rest no key is left that could open anything.
	issue(start.Add(time.Hour), 4)
	if l.cookies.keys[1-l.cookies.present] != nil {
		t.Error("an old key is kept")
	}
}

func TestRequestTooLongForACookie(t *testing.T) {
	l := cookieListener(t)
	_, p := requestOf(t, plainConfig())
	p.Options = make([]byte, maxCookieOptions+1)
	if b, _ := l.HandlePacket(start, tupleOf(1), &p, nil); reset(t, b) != wire.ResetTooBusy {
		t.Errorf("%x", b)
	}
	p.Options = make([]byte, maxCookieOptions)
	b, _ := l.HandlePacket(start, tupleOf(1), &p, nil)
	var r wire.Packet
	if err := r.Parse(b); err != nil || len(option(&r, wire.OptInitCookie)) != wire.MaxOptionData {
		t.Errorf("%x, %v", b, err)
	}
}
