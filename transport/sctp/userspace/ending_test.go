package userspace

import (
	"errors"
	"testing"

	"ipfixsuite/transport"
	"ipfixsuite/transport/sctp"
	"ipfixsuite/transport/sctp/wire"
)

func TestAbort(t *testing.T) {
	s, c := pair(t, Config{}, Config{})
	c.send(t, sctp.Message{Data: []byte("before")})
	s.next(t, sctp.EventMessage)
	s.Abort("had enough")
	s.Abort("again")
	_, err := c.over(t)
	if lost, ok := errors.AsType[*sctp.LostError](err); !ok || !lost.Aborted || lost.Reason != "had enough" || lost.Cause != uint16(wire.CauseUserAbort) {
		t.Errorf("the client is told %v", err)
	}
	if _, err := s.over(t); !errors.Is(err, transport.ErrClosed) {
		t.Errorf("the server is told %v", err)
	}
	if _, err := c.Send(t.Context(), []sctp.Message{{Data: []byte("x")}}); err == nil {
		t.Error("Send after the end")
	}
	if err := c.Heartbeat(t.Context()); err == nil {
		t.Error("Heartbeat after the end")
	}
	if err := c.Shutdown(); err != nil {
		t.Errorf("Shutdown after the end: %v", err)
	}
}

// RFC 9260, Section 8.4: a peer that has lost everything says so, and the
// sender knows at once instead of after its timeouts.
func TestAssociation_PeerForgot(t *testing.T) {
	l := listen(t, loopback4, Config{})
	at := UDPAddr(l)
	_, c, r, _ := pairTo(t, l, Config{})
	r.set(none) // the ABORTs of Close get lost
	l.Close()
	listen(t, loopback4, Config{Local: at})
	r.set(nil)
	c.send(t, sctp.Message{Data: []byte("anybody there?")})
	_, err := c.over(t)
	if lost, ok := errors.AsType[*sctp.LostError](err); !ok || !lost.Aborted {
		t.Errorf("the client is told %v", err)
	}
}

// RFC 9260, Section 9.2: when the last word of an orderly end is lost it is
// asked for again; both sides learn of an orderly end.
func TestShutdown_CompleteIsLost(t *testing.T) {
	s, c, r, _ := pairBy(t, patient(), patient())
	lost := 0
	r.set(func(p []byte, _ bool) int {
		if has(p, wire.ShutdownComplete) && lost < 2 {
			lost++
			return 0
		}
		return 1
	})
	if err := c.Shutdown(); err != nil {
		t.Fatal(err)
	}
	before, err := s.over(t)
	if !errors.Is(err, transport.ErrPeerClosed) || len(before) == 0 || before[0].Kind != sctp.EventPeerShutdown {
		t.Errorf("the server is told %v, then %v", before, err)
	}
	if _, err := c.over(t); !errors.Is(err, transport.ErrClosed) {
		t.Errorf("the client is told %v", err)
	}
}

func TestShutdown_Crossing(t *testing.T) {
	s, c := pair(t, Config{}, Config{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Shutdown()
	}()
	_ = c.Shutdown()
	<-done
	for _, e := range []*end{s, c} {
		if _, err := e.over(t); !errors.Is(err, transport.ErrClosed) {
			t.Errorf("told %v", err)
		}
	}
}

// DATA on a stream never used before still arrives while this side shuts down.
func TestShutdown_PeerStillSends(t *testing.T) {
	s, c, r, _ := pairBy(t, patient(), patient())
	// The server cannot finish: its own message stays unacknowledged.
	r.set(func(p []byte, toServer bool) int {
		if !toServer && holds(p, "stuck") {
			return 0
		}
		return 1
	})
	s.send(t, sctp.Message{Data: []byte("stuck")})
	if err := s.Shutdown(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Send(t.Context(), []sctp.Message{{Data: []byte("x")}}); !errors.Is(err, transport.ErrClosed) {
		t.Errorf("Send after Shutdown: %v", err)
	}
	for i := range 40 {
		c.send(t, sctp.Message{Stream: uint16(i), Data: numbered(i, 100)})
	}
	for range 40 {
		s.next(t, sctp.EventMessage)
	}
	r.set(nil)
	if _, err := s.over(t); !errors.Is(err, transport.ErrClosed) {
		t.Errorf("the server is told %v", err)
	}
	if _, err := c.over(t); !errors.Is(err, transport.ErrPeerClosed) {
		t.Errorf("the client is told %v", err)
	}
}
