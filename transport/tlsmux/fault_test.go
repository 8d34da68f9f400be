package tlsmux

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"ipfixsuite/transport"
	"ipfixsuite/transport/credentials"
	"ipfixsuite/transport/tcp"
	"ipfixsuite/transport/transporttest"
)

// Section 3: a session of which a channel failed is not resumed: not by a
// collector whose peer would, nor by an exporter.
func TestFaultEndsResumption(t *testing.T) {
	t.Run("collector", func(t *testing.T) {
		p := start(t, true, CollectorConfig{})
		p.dialer.TCP.Config.NextProtos = []string{Protocol}
		// visit is a peer that keeps its ticket whatever happens.
		visit := func(fault bool) (resumed bool) {
			c, err := p.dialer.TCP.Connect(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			s := speaker{t, c}
			s.send(establish(5, 1000, 1000, "x", 1, "collector", int(p.listener.Addr().Port())))
			answer := make([]byte, 15)
			if _, err := io.ReadFull(c, answer); err != nil || answer[0] != 2 {
				t.Fatalf("% x, %v", answer, err)
			}
			in := wait(t, p.Opened, "session")
			if fault {
				id := answer[3:7]
				// Several packets in one TLS record: two whole messages, the fault.
				m := message(20, 7).Data
				s.send(plaintext(id, string(m)), plaintext(id, string(m)), []byte{7, 0, 11}, id, u32(0))
				in.Messages(t, 2)
				if err := wait(t, in.Over, "Closed"); err == nil {
					t.Error("nobody is told of the fault")
				}
				// The session goes on.
				s.expect(append([]byte{4, 0, 7}, id...)...)
				s.send(establish(6, 1000, 1000, "x", 1, "elsewhere", 1))
				got := make([]byte, 3)
				if _, err := io.ReadFull(c, got); err != nil || got[0] != 3 {
					t.Errorf("% x, %v", got, err)
				}
				st := p.listener.Stats()
				if st.Dropped["channel-violation"] != 1 || st.Dropped["channel-refused"] != 1 || st.SessionsOpened == 0 {
					t.Errorf("stats of a session that lives %+v", st)
				}
			}
			return c.Peer.Resumed
		}
		if visit(false) || !visit(false) {
			t.Fatal("a session without faults was not resumed")
		}
		if !visit(true) {
			t.Error("the one that is to fail was not resumed")
		}
		if visit(false) {
			t.Error("resumed after a fault")
		}
		if !visit(false) {
			t.Error("the next session without faults was not resumed")
		}
	})
	t.Run("exporter", func(t *testing.T) {
		ca := transporttest.NewAuthority(t)
		faults := make(chan bool, 10)
		serve := func(_ context.Context, c *tcp.Conn, _ transport.Handler) {
			b := make([]byte, 1<<10)
			n, err := c.Read(b)
			if err != nil || n < 5 || b[0] != 1 {
				t.Errorf("% x, %v", b[:n], err)
				return
			}
			id := []byte{b[3], b[4], 0x80, 1}
			answer := append([]byte{2, 0, 15}, append(id, 0, 0, 0, 100, 0, 0, 0, 100)...)
			if <-faults {
				answer = append(answer, append([]byte{7, 0, 11}, append(id, 0, 0, 0, 0)...)...)
			}
			_, _ = c.Write(answer)
			_, _ = io.Copy(io.Discard, c)
		}
		p := startWith(t, tcp.Config{Credentials: ca.Credentials(t, "collector"), NextProtos: []string{Protocol}, Upgrade: map[string]tcp.Upgrade{Protocol: serve}}, ca.Credentials(t, "exporter"))
		for i, row := range []struct{ fault, resumed bool }{{false, false}, {false, true}, {true, true}, {false, false}, {false, true}} {
			faults <- row.fault
			s, err := p.dialer.Dial(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if s.Peer().Resumed != row.resumed {
				t.Errorf("session %d: resumed %v", i, s.Peer().Resumed)
			}
			if row.fault {
				for err == nil {
					_, err = s.Send(t.Context(), []transport.Outgoing{message(100, 1)})
				}
			}
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			_ = s.Close(ctx)
		}
	})
}

// A channel that leaves a message unfinished, and a session that brings nothing,
// are ended, with a reason.
func TestSession_StalledAndIdle(t *testing.T) {
	p := start(t, true, CollectorConfig{StallTimeout: 50 * time.Millisecond})
	s := p.dial(t)
	in := wait(t, p.Opened, "session")
	send(t, s, message(100, 1), transport.Outgoing{Data: message(100, 2).Data[:50]})
	if err := wait(t, in.Over, "Closed"); err == nil || err.Error() != "a message was left unfinished for 50ms" {
		t.Errorf("closed: %v", err)
	}
	p = start(t, true, CollectorConfig{IdleTimeout: 100 * time.Millisecond})
	s, err := p.dialer.Dial(t.Context())
	for late := time.Now().Add(20 * time.Second); err != nil; s, err = p.dialer.Dial(t.Context()) {
		if time.Now().After(late) { // one that was kept waiting for a processor was idle as well
			t.Fatal(err)
		}
	}
	in = wait(t, p.Opened, "session")
	if err := wait(t, in.Over, "Closed"); err == nil || err.Error() != "nothing came for 100ms" {
		t.Errorf("closed: %v", err)
	}
	wait(t, s.Done(), "end at the exporter")
}

// A certificate that is not let in any more ends its sessions, and their
// channels say why; one that is has them go on.
func TestSession_CredentialsEndSessions(t *testing.T) {
	ca := transporttest.NewAuthority(t)
	holder := new(credentials.Holder)
	if _, err := holder.Reload(ca.Config("collector")); err != nil {
		t.Fatal(err)
	}
	p := startWith(t, tcp.Config{Credentials: holder, NextProtos: []string{Protocol}, Upgrade: map[string]tcp.Upgrade{
		Protocol: Upgrade(CollectorConfig{Names: func() []string { return []string{"collector"} }}),
	}}, ca.Credentials(t, "exporter"))
	s := p.dial(t)
	in := wait(t, p.Opened, "session")
	if _, err := holder.Reload(ca.Config("collector", "exp*")); err != nil {
		t.Fatal(err)
	}
	send(t, s, message(100, 1))
	if err := s.Probe(t.Context()); err != nil {
		t.Errorf("the session of a certificate that is let in still: %v", err)
	}
	if _, err := holder.Reload(ca.Config("collector", "other")); err != nil {
		t.Fatal(err)
	}
	if err := wait(t, in.Over, "Closed"); err == nil || len(err.Error()) < 23 || err.Error()[:23] != "not let in any more: ex" {
		t.Errorf("closed: %v", err)
	}
	wait(t, s.Done(), "end at the exporter")
	if _, err := p.dialer.Dial(t.Context()); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a new session: %v", err)
	}
}
