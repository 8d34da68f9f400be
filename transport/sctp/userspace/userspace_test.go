package userspace

import (
	"bytes"
	"errors"
	"testing"

	"ipfixsuite/transport"
	"ipfixsuite/transport/sctp"
)

func TestAssociation_MessagesBothWays(t *testing.T) {
	s, c := pair(t, Config{}, Config{})
	sizes := []int{1, 3, 100, 1452, 1500, 9000, 65535}
	for i, size := range sizes {
		m := sctp.Message{Stream: uint16(i), PPID: uint32(i) * 7, Unordered: i%2 == 1, Data: numbered(i, max(size, 8))[:size]}
		c.send(t, m)
		g := s.next(t, sctp.EventMessage)
		if g.Message.Stream != m.Stream || g.Message.PPID != m.PPID || g.Message.Unordered != m.Unordered || !bytes.Equal(g.data, m.Data) {
			t.Fatalf("message of %d octets came as stream %d, PPID %d, unordered %v, %d octets", size, g.Message.Stream, g.Message.PPID, g.Message.Unordered, len(g.data))
		}
		s.send(t, m)
		if g := c.next(t, sctp.EventMessage); !bytes.Equal(g.data, m.Data) {
			t.Fatal("not echoed as it was")
		}
	}
	if err := c.Drain(withPatience(t)); err != nil {
		t.Fatal(err)
	}
	if n := c.Acknowledged(); n != uint64(len(sizes)) {
		t.Errorf("%d of %d messages acknowledged after Drain", n, len(sizes))
	}
	if err := c.Shutdown(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.over(t); !errors.Is(err, transport.ErrPeerClosed) {
		t.Errorf("the server is told %v", err)
	}
	if _, err := c.over(t); !errors.Is(err, transport.ErrClosed) {
		t.Errorf("the client is told %v", err)
	}
}
