package userspace

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"ipfixsuite/transport"
	"ipfixsuite/transport/sctp"
)

// RFC 3758: a message that cannot be delivered in time is given up, alone; the
// peer gets everything else, also on the same stream, and the sender knows which
// it was.
func TestAssociation_PartialReliability(t *testing.T) {
	s, c, r, _ := pairBy(t, patient(), patient())
	if !c.PartialReliability() {
		t.Fatal("not negotiated")
	}
	r.set(func(p []byte, toServer bool) int {
		if toServer && holds(p, "lost ") {
			return 0
		}
		return 1
	})
	texts := []string{"first", "lost ordered", "second", "lost unordered", "third"}
	for i, text := range texts {
		m := sctp.Message{Stream: 1, Tag: uint32(i), Data: []byte(text), Unordered: i == 3}
		if i == 1 || i == 3 {
			m.Lifetime = 50 * time.Millisecond
		}
		c.send(t, m)
		// A packet each: the relay loses what is bundled with them.
		if i%2 == 0 {
			if g := s.next(t, sctp.EventMessage); string(g.data) != text {
				t.Fatalf("%q", g.data)
			}
		}
	}
	failed := map[uint32]bool{}
	for range 2 {
		failed[c.next(t, sctp.EventSendFailed).Message.Tag] = true
	}
	if !failed[1] || !failed[3] {
		t.Errorf("failed %v", failed)
	}
	if err := c.Drain(withPatience(t)); err != nil {
		t.Fatal(err)
	}
	if c.Acknowledged() != 5 || c.Stats().Abandoned != 2 {
		t.Errorf("%d known, %d abandoned", c.Acknowledged(), c.Stats().Abandoned)
	}
	c.send(t, sctp.Message{Stream: 1, Data: []byte("after")})
	for {
		if g := s.next(t, sctp.EventMessage); string(g.data) == "after" {
			break
		} else if bytes.HasPrefix(g.data, []byte("lost")) {
			t.Errorf("delivered %q", g.data)
		}
	}
}

// At the end the sender knows of each message whether the peer has it: what is
// not told as failed was received.
func TestAssociation_FateOfEachMessage(t *testing.T) {
	s, c, r, _ := pairBy(t, hasty(), hasty())
	dropping := false
	r.set(func(_ []byte, toServer bool) int {
		if toServer && dropping {
			return 0
		}
		return 1
	})
	for i := range 20 {
		c.send(t, sctp.Message{Tag: uint32(i), Data: numbered(i, 800)})
	}
	if err := c.Drain(withPatience(t)); err != nil {
		t.Fatal(err)
	}
	r.mu.Lock()
	dropping = true
	r.mu.Unlock()
	for i := 20; i < 30; i++ {
		c.send(t, sctp.Message{Tag: uint32(i), Data: numbered(i, 800)})
	}
	before, err := c.over(t)
	if lost, ok := errors.AsType[*sctp.LostError](err); !ok || lost.Aborted {
		t.Errorf("the client is told %v", err)
	}
	next, down := uint32(20), false
	for _, ev := range before {
		switch ev.Kind {
		case sctp.EventPathDown:
			down = true
			if next != 20 {
				t.Error("suspected after the end")
			}
		case sctp.EventSendFailed:
			if ev.Message.Tag != next {
				t.Errorf("message %d failed, want %d", ev.Message.Tag, next)
			}
			next++
		}
	}
	if !down || next != 30 || c.Acknowledged() != 30 {
		t.Errorf("path down told %v; failed up to %d; %d known", down, next, c.Acknowledged())
	}
	for i := range 20 {
		if g := s.next(t, sctp.EventMessage); !bytes.Equal(g.data, numbered(i, 800)) {
			t.Fatalf("message %d: %.8q", i, g.data)
		}
	}
	// The server hears nothing any more and gives up as well.
	if _, err := s.over(t); err == nil {
		t.Error("no end")
	}
}

// Acknowledged does not run ahead of failures that Receive has not told, nor of
// the one that it has just returned: whoever receives may not have come to it,
// and another goroutine that asks would take the message for one that arrived.
func TestAcknowledged_WaitsForReceive(t *testing.T) {
	l := listen(t, loopback4, hasty())
	r := newRelay(t, UDPAddr(l))
	ca, err := r.dial(t, l, patient())
	if err != nil {
		t.Fatal(err)
	}
	r.set(none)
	if _, err := ca.Send(withPatience(t), []sctp.Message{{Data: []byte("a")}, {Data: []byte("b")}}); err != nil {
		t.Fatal(err)
	}
	ca.Abort("")
	if n := ca.Acknowledged(); n != 0 {
		t.Errorf("%d known before Receive", n)
	}
	var ev sctp.Event
	for told := range uint64(2) {
		if err := ca.Receive(&ev); err != nil || ev.Kind != sctp.EventSendFailed {
			t.Fatalf("%+v, %v", ev, err)
		}
		if n := ca.Acknowledged(); n != told {
			t.Errorf("%d known while the failure of message %d is being told", n, told+1)
		}
	}
	if err := ca.Receive(&ev); !errors.Is(err, transport.ErrClosed) {
		t.Errorf("%v", err)
	}
	if n := ca.Acknowledged(); n != 2 {
		t.Errorf("%d known at the end", n)
	}
}
