package core

import (
	"bytes"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"ipfixsuite/transport/dccp/ccid"
	"ipfixsuite/transport/dccp/ccid2"
	"ipfixsuite/transport/dccp/wire"
)

// simConfig is a Config with real congestion control.
func simConfig(t testing.TB) Config {
	t.Helper()
	return Config{CCIDs: []ccid.CCID{ccid2.New()}}
}

func newListener(t testing.TB, change func(*ListenerConfig)) *Listener {
	t.Helper()
	cfg := ListenerConfig{Config: plainConfig(), Services: []wire.ServiceCode{service, service + 1}, Rand: testRand(1)}
	if change != nil {
		change(&cfg)
	}
	l, err := NewListener(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// tupleOf is the tuple of the n-th client.
func tupleOf(n int) Tuple {
	a := netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)})
	return Tuple{Local: netip.MustParseAddrPort("192.0.2.1:6511"), Remote: netip.AddrPortFrom(a, 50000), LocalPort: 5001, RemotePort: 40000}
}

// requestOf is the Request of a client of ours.
func requestOf(t testing.TB, cfg Config) (*Conn, wire.Packet) {
	t.Helper()
	c := NewClient(start, cfg, Ports{Local: 40000, Remote: 5001, Service: service}, 1000)
	b, _, _ := c.AppendPacket(start, nil)
	var p wire.Packet
	if err := p.Parse(b); err != nil {
		t.Fatal(err)
	}
	return c, p
}

func reset(t testing.TB, b []byte) wire.ResetCode {
	t.Helper()
	var p wire.Packet
	if err := p.Parse(b); err != nil || p.Type != wire.Reset {
		t.Fatalf("%x is no Reset: %v", b, err)
	}
	return p.Code
}

// RFC 4340, Section 8.1.2 and 8.1.3.
func TestRefusals(t *testing.T) {
	l := newListener(t, nil)
	_, p := requestOf(t, plainConfig())
	for _, code := range []wire.ServiceCode{service + 2, 0, wire.InvalidServiceCode} {
		q := p
		q.Service = code
		b, c := l.HandlePacket(start, tupleOf(1), &q, nil)
		if c != nil || reset(t, b) != wire.ResetBadServiceCode {
			t.Errorf("%v: %x", code, b)
		}
	}
	l.SetBusy(true)
	if b, c := l.HandlePacket(start, tupleOf(1), &p, nil); c != nil || reset(t, b) != wire.ResetTooBusy {
		t.Errorf("%x", b)
	}
	l.SetBusy(false)
	q := p
	q.Service = service + 1
	_, c := l.HandlePacket(start, tupleOf(1), &q, []byte("kept"))
	if c == nil || c.Ports() != (Ports{Local: 5001, Remote: 40000, Service: service + 1}) || !c.Server() {
		t.Fatal("the second service is not served")
	}
	if st := l.Stats(); st.BadService != 3 || st.TooBusy != 1 || st.Accepted != 1 || st.HalfOpen != 1 || st.Requests != 5 || st.ResetsSent != 4 {
		t.Errorf("%+v", st)
	}
	if err := l.SetServices([]wire.ServiceCode{service}); err != nil {
		t.Fatal(err)
	}
	if b, c := l.HandlePacket(start, tupleOf(2), &q, nil); c != nil || reset(t, b) != wire.ResetBadServiceCode {
		t.Error("still served")
	}
	if err := l.SetServices(nil); err != nil {
		t.Fatal(err)
	}
	if b, c := l.HandlePacket(start, tupleOf(2), &p, nil); c != nil || reset(t, b) != wire.ResetNoConnection {
		t.Error("still listening")
	}
}

func TestConfigForService(t *testing.T) {
	other := plainConfig()
	other.MTU = 600
	l := newListener(t, func(c *ListenerConfig) { c.Configs = map[wire.ServiceCode]Config{service + 1: other} })
	_, p := requestOf(t, plainConfig())
	_, c := l.HandlePacket(start, tupleOf(1), &p, nil)
	p.Service = service + 1
	_, d := l.HandlePacket(start, tupleOf(2), &p, nil)
	if c.MTU() != DefaultMTU || d.MTU() != 600 {
		t.Errorf("%d and %d", c.MTU(), d.MTU())
	}
}

// Section 8.1.3, SHOULD: Resets are limited, to 1024 a second.
func TestResetsAreLimited(t *testing.T) {
	l := newListener(t, nil)
	answered := 0
	for i := range 10_000 {
		now := start.Add(time.Duration(i) * 100 * time.Microsecond)
		b, _ := l.HandlePacket(now, tupleOf(i), &wire.Packet{Type: wire.Data, Seq: wire.Seq(i)}, nil)
		if len(b) > 0 {
			answered++
		}
	}
	if st := l.Stats(); answered < 1024 || answered > 2050 || st.ResetsLimited != uint64(10_000-answered) {
		t.Errorf("%d answers in a second, %+v", answered, st)
	}
}

// connect lets a client's packets and the listener's answers pass.
func connect(t *testing.T, l *Listener, client *Conn, request *wire.Packet, tuple Tuple) *side {
	t.Helper()
	p := &pair{t: t, now: start, listener: l, tuple: tuple}
	p.a, p.b = side{t: t, c: client}, side{t: t}
	p.toServer(request)
	p.exchange()
	p.wantStates(StateOpen, StateOpen)
	p.send(&p.a, 0, 3)
	p.send(&p.b, 10, 3)
	p.exchange()
	if !slices.Equal(p.b.got, messages(0, 3)) || !slices.Equal(p.a.got, messages(10, 3)) {
		t.Errorf("got %q and %q", p.b.got, p.a.got)
	}
	return &p.b
}

// A flood of Requests from anywhere: bounded state, and then none at all;
// honest clients still get in.
func TestFloodOfRequests(t *testing.T) {
	l := newListener(t, nil)
	_, flood := requestOf(t, plainConfig())
	made, answered := 0, 0
	buf := make([]byte, 0, 1500)
	for i := range 3000 {
		q := flood
		q.Seq = wire.Seq(i)
		b, c := l.HandlePacket(start, tupleOf(i), &q, buf)
		if c != nil {
			made++
		}
		if len(b) > 0 {
			answered++
			var r wire.Packet
			if err := r.Parse(b); err != nil || r.Type != wire.Response || option(&r, wire.OptInitCookie) == nil || r.Ack != q.Seq {
				t.Fatalf("%x, %v", b, err)
			}
		}
	}
	if made != 256 || answered != 3000-256 || l.Stats().HalfOpen != 256 || len(l.sources) != 256 {
		t.Errorf("%d connections, %d cookies, %+v", made, answered, l.Stats())
	}
	client, request := requestOf(t, plainConfig())
	connect(t, l, client, &request, tupleOf(100_000))
	if st := l.Stats(); st.CookiesTaken != 1 || st.CookiesBad != 0 {
		t.Errorf("%+v", st)
	}
	for i := range 256 {
		l.Settled(tupleOf(i))
	}
	l.Settled(tupleOf(100_000))
	l.Settled(tupleOf(5)) // once too often
	if l.Stats().HalfOpen != 0 || len(l.sources) != 0 {
		t.Errorf("%+v", l.Stats())
	}
}

func TestOneSourceIsLimited(t *testing.T) {
	l := newListener(t, nil)
	_, p := requestOf(t, plainConfig())
	made := 0
	for i := range 100 {
		tuple := tupleOf(1)
		tuple.RemotePort = uint16(i)
		if _, c := l.HandlePacket(start, tuple, &p, nil); c != nil {
			made++
		}
	}
	if _, c := l.HandlePacket(start, tupleOf(2), &p, nil); made != 16 || c == nil {
		t.Errorf("%d of one source", made)
	}
}

func TestStatelessResponsesAreLimited(t *testing.T) {
	l := newListener(t, func(c *ListenerConfig) { c.MaxHalfOpen, c.CookiesPerSecond = -1, 100 })
	_, p := requestOf(t, plainConfig())
	n := 0
	for i := range 1000 {
		if b, _ := l.HandlePacket(start, tupleOf(i), &p, nil); len(b) > 0 {
			n++
		}
	}
	if n != 100 || l.Stats().CookiesLimited != 900 {
		t.Errorf("%d answers, %+v", n, l.Stats())
	}
}

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

func TestStatelessRefusal(t *testing.T) {
	// What a connection would be reset for is refused without one, too.
	l := cookieListener(t)
	_, p := requestOf(t, plainConfig())
	p.Options = []byte{1, 32, 4, 1, 9}
	if b, _ := l.HandlePacket(start, tupleOf(1), &p, nil); reset(t, b) != wire.ResetMandatoryError {
		t.Errorf("%x", b)
	}
}

type broken struct{ after int }

func (b *broken) Read(p []byte) (int, error) {
	if b.after -= len(p); b.after < 0 {
		return 0, errors.New("no randomness left")
	}
	return len(p), nil
}

func TestNoRandomness(t *testing.T) {
	if _, err := NewListener(ListenerConfig{}); err == nil {
		t.Error("a listener without randomness")
	}
	if _, err := NewListener(ListenerConfig{Rand: &broken{}}); err == nil {
		t.Error("a listener without randomness")
	}
	l := newListener(t, func(c *ListenerConfig) { c.Rand, c.MaxHalfOpen = &broken{after: 32}, -1 })
	_, p := requestOf(t, plainConfig())
	if b, c := l.HandlePacket(start, tupleOf(1), &p, nil); len(b) > 0 || c != nil || l.Stats().RandFailures != 1 {
		t.Errorf("%x, %+v", b, l.Stats())
	}
}

// RFC 4340, Section 7.2, MUST.
func TestNewISS(t *testing.T) {
	var s, other Secret
	other[0] = 1
	a := NewISS(&s, tupleOf(1), start)
	if NewISS(&s, tupleOf(1), start) != a {
		t.Error("not a function of its arguments")
	}
	// Each tuple, each secret has its own space.
	tuple := tupleOf(1)
	tuple.RemotePort++
	for _, b := range []wire.Seq{NewISS(&s, tupleOf(2), start), NewISS(&other, tupleOf(1), start), NewISS(&s, tuple, start)} {
		if d := b.Sub(a); d > -1<<30 && d < 1<<30 {
			t.Errorf("%d and %d are close", a, b)
		}
	}
	// In it a clock of 4 us goes on.
	if d := NewISS(&s, tupleOf(1), start.Add(time.Second)).Sub(a); d != 250_000 {
		t.Errorf("%d a second", d)
	}
}
