package core

import (
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
