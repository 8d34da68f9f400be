package dccp

import (
	"fmt"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"ipfixsuite/transport/dccp/wire"
)

// TestHostilePackets: what is no packet, or no packet of theirs, does nothing
// to living connections, and is counted.
func TestHostilePackets(t *testing.T) {
	l, to := listenLoopback(t, ListenConfig{})
	// The client's socket is known to the attacker, who can send from it.
	e, err := NewUDPEndpoint(loopback, Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	c, err := e.Dial(within(t), to, service, Config{})
	if err != nil {
		t.Fatal(err)
	}
	c.Write([]byte("before"))
	s, err := l.accept(within(t))
	if err != nil {
		t.Fatal(err)
	}
	expect(t, s, "before")

	r := rand.New(rand.NewPCG(1, 2))
	attack := func(b []byte) {
		d := datagram(c, b)
		if _, err := e.io.WriteBatch(d); err != nil {
			t.Fatal(err)
		}
	}
	const each = 300
	ports := c.key
	for i := range each {
		junk := make([]byte, r.IntN(200))
		for k := range junk {
			junk[k] = byte(r.Uint32())
		}
		attack(junk)
		for _, typ := range []wire.Type{wire.Reset, wire.Close, wire.CloseReq, wire.Sync, wire.SyncAck, wire.Request, wire.Response,
			wire.Data, wire.Ack, wire.DataAck} {
			p := wire.Packet{SrcPort: ports.LocalPort, DstPort: ports.RemotePort, Type: typ, Seq: wire.MakeSeq(r.Uint64()),
				Ack: wire.MakeSeq(r.Uint64()), Service: service, Options: junk[:min(len(junk), 40)], Data: junk}
			if b, err := p.AppendBinary(nil); err == nil {
				attack(b)
			}
		}
		if i%10 == 0 { // no more than any receive buffer holds
			fmt.Fprintf(c, "%d", i)
			expect(t, s, fmt.Sprint(i))
		}
	}
	c.Write([]byte("after"))
	expect(t, s, "after")
	s.Write([]byte("and back"))
	expect(t, c, "and back")
	st := s.Stats()
	if st.SequenceInvalid+st.SyncInvalid < each*8 {
		t.Errorf("%+v", st)
	}
	// At most 8 Syncs a second (RFC 4340, Section 7.5.4).
	if st.SyncsLimited < st.SyncsSent {
		t.Errorf("%d Syncs sent, %d not", st.SyncsSent, st.SyncsLimited)
	}
	if es := l.e.Stats(); es.Malformed == 0 || es.Conns != 1 {
		t.Errorf("%+v", es)
	}
}

// TestRequestFlood: Requests that nobody goes on with cost bounded memory, and
// those who mean it still get in.
func TestRequestFlood(t *testing.T) {
	l, to := listenLoopback(t, ListenConfig{MaxHalfOpen: 20, MaxHalfOpenPerSource: 10})
	u, err := net.DialUDP("udp", nil, &net.UDPAddr{IP: to.IP.AsSlice(), Port: int(to.UDP)})
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	// The answers are not read: the socket forgets them.
	for i := range 3000 {
		p := wire.Packet{SrcPort: uint16(i + 1), DstPort: to.Port, Type: wire.Request, Service: service, Seq: wire.Seq(i)}
		b, err := p.AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := u.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	client, server := connect(t, l, to, Config{})
	client.Write([]byte("in"))
	expect(t, server, "in")
	s := l.e.Stats()
	k := s.Listeners[to.Port]
	if s.Conns > 11 || k.HalfOpen > 10 || k.CookiesTaken != 1 || k.Requests < 1000 {
		t.Errorf("%+v", s)
	}
}

// TestStraysAreLimited: no more than 1024 Resets a second answer packets that
// belong to nobody (RFC 4340, Section 8.3.1, SHOULD).
func TestStraysAreLimited(t *testing.T) {
	l, to := listenLoopback(t, ListenConfig{})
	c, s := connect(t, l, to, Config{})
	began := time.Now()
	for i := range 4000 {
		p := wire.Packet{SrcPort: uint16(i + 1), DstPort: to.Port + 1, Type: wire.Ack, Seq: wire.Seq(i)}
		b, err := p.AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.e.io.WriteBatch(datagram(c, b)); err != nil {
			t.Fatal(err)
		}
	}
	c.Write([]byte("done"))
	expect(t, s, "done")
	k := l.e.Stats().Stray
	most := 1024 * (1 + uint64(time.Since(began)/time.Second) + 1) // a bucket's worth at once
	if k.Strays < 2000 || k.ResetsSent+k.ResetsLimited != k.Strays || k.ResetsSent < 1024 || k.ResetsSent > most {
		t.Errorf("at most %d Resets: %+v", most, k)
	}
}

// TestResetFlood: connections that are opened and reset at once leave a bounded
// number in TIMEWAIT, and do not count as living ones.
func TestResetFlood(t *testing.T) {
	const flood = maxRests + 200
	l, to := listenLoopback(t, ListenConfig{MaxConnsPerPrefix: 8, MaxConns: 8})
	living, server := connect(t, l, to, Config{})
	e, err := NewUDPEndpoint(loopback, Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	for range flood {
		c, err := e.Dial(within(t), to, service, Config{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		s, err := l.accept(within(t))
		if err != nil {
			t.Fatal(err)
		}
		c.Abort()
		wait(t, s.Done(), "the server's end")
	}
	if n := l.e.Stats().Conns; n != maxRests+1 {
		t.Errorf("%d connections left", n)
	}
	if all, near := l.e.living(loopback); all != 1 || near != 1 {
		t.Errorf("%d live, %d near", all, near)
	}
	living.Write([]byte("untouched"))
	expect(t, server, "untouched")
}
