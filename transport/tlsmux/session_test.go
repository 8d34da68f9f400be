package tlsmux

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net/netip"
	"sync"
	"testing"
	"time"

	"ipfixsuite/transport"
	"ipfixsuite/transport/credentials"
	"ipfixsuite/transport/tcp"
	"ipfixsuite/transport/tlsmux/core"
	"ipfixsuite/transport/tlsmux/wire"
	"ipfixsuite/transport/transporttest"
)

func wait[T any](t testing.TB, c <-chan T, what string) T {
	t.Helper()
	return transporttest.Wait(t, c, what)
}

func message(n, number int) transport.Outgoing {
	return transport.Outgoing{Data: transporttest.Message(n, number)}
}

type pair struct {
	*transporttest.Sink
	listener transport.Listener
	dialer   *Dialer
	stop     func()
}

// start serves a collector; mux tells whether it knows MTA-TLS.
func start(t testing.TB, mux bool, cfg CollectorConfig) *pair {
	t.Helper()
	ca := transporttest.NewAuthority(t)
	c := tcp.Config{Credentials: ca.Credentials(t, "collector")}
	if mux {
		cfg.Names = func() []string { return []string{"collector"} }
		c.NextProtos, c.Upgrade = []string{Protocol}, map[string]tcp.Upgrade{Protocol: Upgrade(cfg)}
	}
	return startWith(t, c, ca.Credentials(t, "exporter"))
}

func startWith(t testing.TB, c tcp.Config, exporter *credentials.Credentials) *pair {
	t.Helper()
	c.Scheme = "mta+tls+tcp"
	l, err := tcp.Listen(netip.MustParseAddrPort("127.0.0.1:0"), c)
	if err != nil {
		t.Fatal(err)
	}
	p := &pair{Sink: transporttest.NewSink(), listener: l, dialer: &Dialer{TCP: &tcp.Dialer{
		Remote: l.Addr(), Config: tcp.Config{Credentials: exporter, ServerName: "collector", Scheme: "mta+tls+tcp"},
	}}}
	ctx, stop := context.WithCancel(context.Background())
	over := make(chan error, 1)
	go func() { over <- l.Serve(ctx, p.Sink) }() // ended by stop
	var once sync.Once
	p.stop = func() {
		once.Do(func() {
			stop()
			if err := wait(t, over, "end of Serve"); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(p.stop)
	return p
}

func (p *pair) dial(t testing.TB) transport.Session {
	t.Helper()
	s, err := p.dialer.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = s.Close(ctx)
	})
	return s
}

func send(t testing.TB, s transport.Session, batch ...transport.Outgoing) {
	t.Helper()
	transporttest.Send(t, s, batch...)
}

// Each stream is a Transport Session of its own, over one handshake.
func TestSession_ChannelPerStream(t *testing.T) {
	p := start(t, true, CollectorConfig{})
	s := p.dial(t)
	const n = 50
	for i := range n {
		m := message(20+i*1000, i)
		m.Stream = uint16(i % 3)
		send(t, s, m)
	}
	var sessions []*transporttest.Received
	numbers := map[uint64]bool{}
	for range 3 {
		in := wait(t, p.Opened, "session")
		sessions = append(sessions, in)
		numbers[in.Peer.Session] = true
		if in.Peer.Identity != "exporter" || in.Peer.Scheme != "mta+tls+tcp" || !in.Properties.Secure || in.Properties.Confirms != transport.ConfirmProcess {
			t.Errorf("peer %+v, %+v", in.Peer, in.Properties)
		}
	}
	if len(numbers) != 3 {
		t.Errorf("sessions %v", numbers)
	}
	if err := s.Probe(t.Context()); err != nil {
		t.Fatal(err)
	}
	total := 0
	for _, in := range sessions {
		got := in.Messages(t, 1)
		i := int(got[0][11]) // its first message's number: the channels have no order
		for j, m := range got {
			if want := message(20+(i+3*j)*1000, i+3*j); !bytes.Equal(m, want.Data) {
				t.Errorf("stream %d, message %d: another", i, j)
			}
			total++
		}
	}
	if total != n {
		t.Errorf("%d of %d messages were there when the probe was answered", total, n)
	}
	if err := s.Close(t.Context()); err != nil || s.Err() != nil {
		t.Errorf("Close: %v, %v", err, s.Err())
	}
	for _, in := range sessions {
		if err := wait(t, in.Over, "Closed"); err != nil {
			t.Errorf("closed: %v", err)
		}
	}
	if s := p.dial(t); !s.Peer().Resumed {
		t.Error("the second session did not resume")
	}
}

// All streams at once, in one batch: none is refused for having come with so
// many others.
func TestSession_AllStreamsAtOnce(t *testing.T) {
	p := start(t, true, CollectorConfig{})
	s := p.dial(t)
	batch := make([]transport.Outgoing, streams)
	for i := range batch {
		batch[i] = message(100, i)
		batch[i].Stream = uint16(i)
	}
	send(t, s, batch...)
	if err := s.Probe(t.Context()); err != nil {
		t.Fatal(err)
	}
	seen := map[uint32]bool{}
	for range streams {
		got := wait(t, p.Opened, "session").Messages(t, 1)
		number := binary.BigEndian.Uint32(got[0][8:])
		if len(got) != 1 || seen[number] {
			t.Errorf("%d messages, or one again", len(got))
		}
		seen[number] = true
	}
}

// An Acknowledgment is a durability barrier: a probe is answered when what
// came before it is written, and a stalled sink stalls its channel alone.
func TestSession_CreditIsTheBarrier(t *testing.T) {
	p := start(t, true, CollectorConfig{Core: core.Config{Window: 300_000}})
	s := p.dial(t)
	first := wait(t, p.Opened, "session")
	first.Stall(true)
	send(t, s, message(1000, 1))
	first.Messages(t, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 400*time.Millisecond)
	if err := s.Probe(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Probe with a stalled sink: %v", err)
	}
	cancel()
	// The stalled channel takes what its window and the buffer here hold.
	busy := false
	for range 100 {
		if _, err := s.Send(t.Context(), []transport.Outgoing{message(60_000, 2)}); err != nil {
			busy = errors.Is(err, transport.ErrBusy)
			break
		}
	}
	if !busy {
		t.Error("a stalled channel takes all there is")
	}
	other := message(1000, 3)
	other.Stream = 1
	send(t, s, other)
	wait(t, p.Opened, "second session").Messages(t, 1)
	first.Stall(false)
	if err := s.Probe(t.Context()); err != nil {
		t.Errorf("Probe: %v", err)
	}
}

// What is acknowledged when does not hang on a timer: a probe makes every
// channel place a barrier.
func TestSession_ProbeAsksForCredit(t *testing.T) {
	p := start(t, true, CollectorConfig{CreditAfter: time.Hour})
	s := p.dial(t)
	for round := range 20 {
		for stream := range 8 {
			m := message(100+round, round)
			m.Stream = uint16(stream)
			send(t, s, m)
		}
		if err := s.Probe(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for range 8 {
		in := wait(t, p.Opened, "session")
		if got := len(in.Messages(t, 0)); got != 20 {
			t.Errorf("%d messages when the last probe was answered", got)
		}
	}
	// And so does the use of the window: nothing asks here.
	window := core.DefaultWindow
	for i := range 3 * window / 1000 {
		send(t, s, message(1000, i))
	}
}

// However long the sinks take, a channel has two barriers with them at most: a
// third might be dropped, and its credit with it.
func TestSession_BarriersAreFew(t *testing.T) {
	p := start(t, true, CollectorConfig{})
	s := p.dial(t)
	in := wait(t, p.Opened, "session")
	in.Stall(true)
	const n = 12
	for i := range n {
		send(t, s, message(60_000, i)) // nearly a part of the window
	}
	in.Messages(t, n)
	answered := make(chan error, 1)
	go func() { answered <- s.Probe(t.Context()) }() // ended by its answer
	for range 100 {
		in.Messages(t, n)
		if n := in.Waiting(); n > underWay {
			t.Fatalf("%d barriers wait", n)
		}
	}
	in.Stall(false)
	if err := wait(t, answered, "answer"); err != nil {
		t.Error(err)
	}
}

// transport.Laned: who asks before it sends loses no time with a stream that
// has no room, and hears when it has some again.
func TestSession_Lanes(t *testing.T) {
	p := start(t, true, CollectorConfig{Core: core.Config{Window: 300_000}})
	s := p.dial(t)
	l := s.(transport.Laned)
	stalled := wait(t, p.Opened, "session")
	stalled.Stall(true)
	var err error
	for err == nil {
		_, err = s.Send(t.Context(), []transport.Outgoing{message(60_000, 1)})
	}
	if !errors.Is(err, transport.ErrBusy) || l.Room(0) >= maxMessage || l.Confirmed(0) != 0 {
		t.Errorf("%v, room for %d octets, %d confirmed", err, l.Room(0), l.Confirmed(0))
	}
	if l.Room(1) < maxMessage || l.Room(1+streams) < maxMessage {
		t.Errorf("room for %d octets on another stream", l.Room(1))
	}
	if n, err := s.Send(t.Context(), []transport.Outgoing{message(60_000, 2)}); n != 0 || !errors.Is(err, transport.ErrBusy) {
		t.Errorf("Send on a full stream: %d, %v", n, err)
	}
	// The other one carries as much as it likes, in the same call as well.
	const n = 500
	for i := range n {
		m := message(10_000, i)
		m.Stream = 1
		send(t, s, m)
	}
	other := wait(t, p.Opened, "second session")
	other.Messages(t, n)
	if len(stalled.Messages(t, 0)) > 300_000/60_000 {
		t.Error("more came than the window holds")
	}
	if l.Confirmed(0) != 0 {
		t.Errorf("%d octets confirmed that nobody wrote", l.Confirmed(0))
	}
	stalled.Stall(false)
	for l.Room(0) < maxMessage || l.Confirmed(0) == 0 || l.Confirmed(1) == 0 {
		wait(t, l.Freed(), "word of room")
	}
	if err := s.Probe(t.Context()); err != nil {
		t.Error(err)
	}
	if l.Confirmed(1) != n*10_000 || l.Confirmed(7) != 0 {
		t.Errorf("%d and %d octets confirmed", l.Confirmed(1), l.Confirmed(7))
	}
}

func TestSession_CollectorStops(t *testing.T) {
	p := start(t, true, CollectorConfig{})
	s := p.dial(t)
	in := wait(t, p.Opened, "session")
	send(t, s, message(1000, 1))
	in.Messages(t, 1)
	p.stop()
	wait(t, s.Done(), "end")
	if err := s.Err(); !errors.Is(err, transport.ErrPeerClosed) {
		t.Errorf("ended with %v", err)
	}
	if err := wait(t, in.Over, "Closed"); !errors.Is(err, transport.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
	if _, err := s.Send(t.Context(), []transport.Outgoing{message(100, 1)}); !errors.Is(err, transport.ErrPeerClosed) {
		t.Errorf("Send: %v", err)
	}
}

// Section 2.1: with a collector that does not know it, plain TLS goes on.
func TestSession_WithoutAgreement(t *testing.T) {
	p := start(t, false, CollectorConfig{})
	s := p.dial(t)
	send(t, s, message(1000, 1))
	in := wait(t, p.Opened, "session")
	in.Messages(t, 1)
	if s.Properties().Confirms != transport.ConfirmTransport {
		t.Errorf("properties %+v", s.Properties())
	}
	p = start(t, true, CollectorConfig{})
	plain := p.dialer.TCP
	ps, err := plain.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer ps.Close(t.Context())
	send(t, ps, message(1000, 1))
	wait(t, p.Opened, "session").Messages(t, 1)
}

// A collector is no proxy (spec.md, D7).
func TestDestinations(t *testing.T) {
	cfg := &CollectorConfig{Names: func() []string { return []string{"Collector.example"} }}
	local := netip.MustParseAddrPort("192.0.2.1:4740")
	for _, row := range []struct {
		host string
		port uint16
		ok   bool
	}{
		{"192.0.2.1", 4740, true}, {"::ffff:192.0.2.1", 4740, true}, {"collector.EXAMPLE", 4740, true},
		{"192.0.2.1", 22, false}, {"192.0.2.2", 4740, false}, {"internal.example", 4740, false}, {"", 4740, false}, {"192.0.2.1", probePort, false},
	} {
		if err := cfg.takes(local, wire.Address{Host: []byte(row.host), Port: row.port}); (err == nil) != row.ok {
			t.Errorf("%s:%d: %v", row.host, row.port, err)
		}
	}
}

func BenchmarkSession(b *testing.B) {
	p := start(b, true, CollectorConfig{})
	s := p.dial(b)
	in := wait(b, p.Opened, "session")
	_ = in
	m := message(1400, 1)
	b.SetBytes(1400)
	b.ReportAllocs()
	batch := make([]transport.Outgoing, 64)
	for i := range batch {
		batch[i] = m
	}
	sent := 0
	for b.Loop() {
		if sent%len(batch) == 0 {
			send(b, s, batch...)
		}
		sent++
	}
}
