package dccp

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"ipfixsuite/transport"
	"ipfixsuite/transport/dtls"
	"ipfixsuite/transport/dtls/record"
)

// TestRFC5238_3_4_NothingUnprotected: Section 3.4, MUST NOT: what is not
// protected by DTLS is neither sent on a connection that carries it, nor taken.
func TestRFC5238_3_4_NothingUnprotected(t *testing.T) {
	const secret, forged = "a message of IPFIX", "inserted by somebody else"
	inBubble(t, nil, func(t *testing.T, s *secured) {
		plaintext := append([]byte{23, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, byte(len(forged))}, forged...)
		insert := func(c *Conn) {
			for _, b := range [][]byte{[]byte(forged), plaintext} {
				if _, err := c.tryQueue(b); err != nil {
					t.Fatal(err)
				}
			}
		}
		// Before there is any DTLS.
		early, err := s.lan.dial(t.Context(), t, "192.0.2.3:5", collectorTo, secureService, Config{})
		if err != nil {
			t.Fatal(err)
		}
		insert(early)

		session, a := s.dial(s.dialer())
		for what, write := range map[string]func() error{
			"Write":    func() error { _, err := s.conn.Write([]byte(forged)); return err },
			"Send":     func() error { _, err := s.conn.Send(t.Context(), []byte(forged)); return err },
			"TrySend":  func() error { _, err := s.conn.TrySend([]byte(forged)); return err },
			"Transmit": func() error { _, err := s.conn.Transmit(t.Context(), []byte(forged)); return err },
		} {
			if err := write(); !errors.Is(err, ErrSecured) {
				t.Errorf("%s: %v", what, err)
			}
		}
		s.send(session, secret)
		a.expect(t, secret)
		if sent := s.lan.packets(func(p lanPacket) bool {
			return strings.Contains(string(p.Data), secret) || p.from.Addr() != netipOf("192.0.2.3") && strings.Contains(string(p.Data), forged)
		}); len(sent) > 0 {
			t.Errorf("%d packets went unprotected", len(sent))
		}
		insert(s.conn)
		s.send(session, secret)
		a.expect(t, secret)
		if d := s.listener.Stats().Dropped; d["plaintext"] != 1 || d["malformed"] != 1 || d["stale"] != 2 {
			t.Errorf("dropped: %v", d)
		}
		if len(s.opened) > 0 {
			t.Error("a session without DTLS")
		}
		_ = early.Abort()
		s.part(session, a)
	})
}

// TestRFC5238_3_4_EndTogether: Section 3.4: a DTLS connection does not outlive
// its DCCP connection; here neither does the other way round.
func TestRFC5238_3_4_EndTogether(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, s *secured) {
		d := s.dialer()
		session, a := s.dial(d)
		_ = s.conn.Abort()
		<-session.Done()
		if err := <-a.closed; err == nil || session.Err() == nil {
			t.Errorf("an aborted connection is no orderly end: %v, %v", err, session.Err())
		}
		session, a = s.dial(d)
		s.part(session, a)
		<-s.conn.Done()
		if err := s.conn.Err(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("the connection ended by %v", err)
		}
	})
}

// TestRFC5238_3_4_ResumedOnANewConnection: Section 3.4: each connection may
// resume the session of one before.
func TestRFC5238_3_4_ResumedOnANewConnection(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, s *secured) {
		d := s.dialer()
		var conns []*Conn
		for i := range 3 {
			session, a := s.dial(d)
			if session.Peer().Resumed != (i > 0) || a.peer.Resumed != (i > 0) {
				t.Errorf("session %d resumed: %v, %v", i, session.Peer().Resumed, a.peer.Resumed)
			}
			if slices.Contains(conns, s.conn) {
				t.Error("on a connection that was used before")
			}
			conns = append(conns, s.conn)
			s.send(session, "x")
			a.expect(t, "x")
			s.part(session, a)
		}
	})
}

// reused lets several dials use one connection, one after the other or beside
// each other: Close leaves it open, and what one reads the next gets to see.
type reused struct {
	*Datagrams
	copies  chan transport.Datagram // nil: it reads the connection itself
	to      chan transport.Datagram // nil: nobody wants copies
	swallow func(b []byte) bool
}

func (r *reused) Close() error { return nil }

func (r *reused) ReadBatch(ctx context.Context, dst []transport.Datagram) (n int, err error) {
	if r.copies != nil {
		select {
		case dst[0] = <-r.copies:
			return 1, nil
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	n, err = r.Datagrams.ReadBatch(ctx, dst)
	for _, d := range dst[:n] {
		if r.swallow != nil && r.swallow(d.Data) {
			<-ctx.Done()
			return 0, ctx.Err()
		}
		if r.to != nil {
			r.to <- transport.Datagram{Peer: d.Peer, Data: bytes.Clone(d.Data)}
		}
	}
	return n, err
}

// TestRFC5238_3_4_ASecondBetweenInitiations: Section 3.4, SHOULD: whoever
// begins one handshake after the other on a connection is let do so once a
// second; while there is a session, not at all.
func TestRFC5238_3_4_ASecondBetweenInitiations(t *testing.T) {
	inBubble(t, func(collector, exporter *dtls.Config) {
		collector.HandshakeTimeout, exporter.HandshakeTimeout = time.Hour, 5*time.Second
	}, func(t *testing.T, s *secured) {
		d := s.dialer()
		first, err := s.lan.dial(t.Context(), t, "192.0.2.3:7", collectorTo, secureService, Config{})
		if err != nil {
			t.Fatal(err)
		}
		conn := first.Datagrams()
		r := &reused{Datagrams: conn, to: make(chan transport.Datagram, 100)}
		d.Connect = func(context.Context) (transport.DatagramConn, netip.AddrPort, error) {
			return r, first.remote.AddrPort(), nil
		}

		// Each is abandoned when the collector has spent its signature on it.
		const abandoned = 3
		for range abandoned {
			ctx, cancel := context.WithCancel(t.Context())
			r.swallow = func(b []byte) bool {
				if b[0] != byte(record.Handshake) || b[record.HeaderLen] != 2 {
					return false
				}
				cancel()
				return true
			}
			if s, err := d.Dial(ctx); err == nil {
				t.Fatalf("a session: %v", s.Peer())
			}
		}
		r.swallow = nil
		var session transport.Session
		for tries := 0; session == nil; tries++ {
			// Answers to a handshake before may take the place of ours.
			if session, err = d.Dial(t.Context()); err != nil && tries == 10 {
				t.Fatal(err)
			}
		}
		a := <-s.opened
		var begun []time.Time // by ServerHellos with a random number of their own
		known := map[string]bool{}
		for _, p := range s.lan.packets(func(p lanPacket) bool { return carriesData(p) && p.from == collectorAt }) {
			list, _ := records(p.Data)
			if f, ok := list[0].piece(); ok && f.typ == 2 {
				if random := string(list[0].content[14:46]); !known[random] {
					known[random] = true
					begun = append(begun, p.at)
				}
			}
		}
		for i := 1; i < len(begun); i++ {
			if gap := begun[i].Sub(begun[i-1]); gap < time.Second {
				t.Errorf("handshake %d began %v after the one before", i+1, gap)
			}
		}
		st := s.listener.Stats()
		if len(begun) < 3 || st.HandshakesStarted != uint64(len(begun)) || st.HandshakesLimited == 0 {
			t.Errorf("%d handshakes, %+v", len(begun), st)
		}

		// Beside the session.
		r2 := &reused{Datagrams: conn, copies: r.to}
		for len(r.to) > 0 {
			<-r.to
		}
		second := &dtls.Dialer{Config: s.exporter, Connect: func(context.Context) (transport.DatagramConn, netip.AddrPort, error) {
			return r2, first.remote.AddrPort(), nil
		}}
		if other, err := second.Dial(t.Context()); err == nil {
			t.Errorf("a second session on the connection: %v", other.Peer())
		}
		if again := s.listener.Stats(); again.HandshakesStarted != st.HandshakesStarted || again.Dropped["hello"] == 0 {
			t.Errorf("%+v", again)
		}
		s.send(session, "still there")
		a.expect(t, "still there")
		s.part(session, a)
		_ = first.Shutdown(t.Context())
	})
}
