//go:build linux && !386

package kernel

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"ipfixsuite/test/harness"
	"ipfixsuite/transport/sctp"
)

// Messages whose lifetime is over are given up and told, each by name, whether
// they had been sent or not (RFC 3758, Section 4.1); a reliable one behind them
// comes.
func testLifetime(t *testing.T) {
	c, s := pair(t, sctp.Config{MTU: 1400, RTOMax: 200 * time.Millisecond, RTOMin: 50 * time.Millisecond, MaxRetransmits: 1000, PathRetransmits: 1000}, sctp.Config{})
	if !c.PartialReliability() {
		t.Fatal("no partial reliability")
	}
	next := uint64(0)
	for _, size := range []int{60_000, 2000, 300} { // more than the congestion window, in part sent, and less
		abandoned, off := c.Stats().Abandoned, lose(t)
		const count = 10
		first := next
		for range count {
			c.send(t, sctp.Message{Stream: 1, Tag: uint32(next), Lifetime: 50 * time.Millisecond, Data: fmt.Appendf(make([]byte, 0, size), "%d", next)[:size]})
			next++
		}
		c.send(t, sctp.Message{Stream: 2, Tag: uint32(next), Data: []byte("here")})
		next++
		<-time.After(200 * time.Millisecond)
		off()
		missing := map[uint32]bool{}
		for i := range uint32(count) {
			missing[uint32(first)+i] = true
		}
		for {
			m := s.next(t, sctp.EventMessage).Message
			if string(m.Data) == "here" {
				break
			}
			var i uint32
			if _, err := fmt.Sscanf(string(m.Data), "%d", &i); err != nil || !missing[i] {
				t.Fatalf("%.20q, %v", m.Data, err)
			}
			delete(missing, i)
		}
		if len(missing) == 0 {
			t.Error("nothing was given up")
		}
		gone := len(missing)
		for len(missing) > 0 {
			ev := c.next(t, sctp.EventSendFailed)
			if ev.Message.Stream != 1 || ev.Message.Tag >= uint32(first)+count { // a piece of an earlier one may be late
				t.Errorf("failed: %+v", ev)
			}
			delete(missing, ev.Message.Tag)
		}
		c.drain(t)
		c.acknowledged(t, next)
		if n := c.Stats().Abandoned; n != abandoned+uint64(gone) {
			t.Errorf("%d given up, %d counted", gone, n-abandoned)
		}
		t.Logf("%d of %d octets given up; %d abandoned in all", gone, size, c.Stats().Abandoned)
	}
}

// A peer that does not answer is lost, and what it did not acknowledge is told
// message by message.
func testSilence(t *testing.T) {
	c, s := pair(t, quick, quick)
	c.send(t, sctp.Message{Tag: 1, Data: []byte("arrives")})
	s.next(t, sctp.EventMessage)
	c.drain(t)
	c.acknowledged(t, 1)
	lose(t)
	began := time.Now()
	c.send(t, sctp.Message{Tag: 2, Data: []byte("lost")}, sctp.Message{Tag: 3, Stream: 4, Data: []byte("lost")})
	if n := c.Acknowledged(); n != 1 {
		t.Errorf("%d acknowledged, want 1", n)
	}
	failed, err := c.over(t)
	if lost, ok := errors.AsType[*sctp.LostError](err); !ok || lost.Aborted {
		t.Errorf("%v", err)
	}
	slices.Sort(failed)
	if n := c.Acknowledged(); !slices.Equal(failed, []uint32{2, 3}) || n != 3 {
		t.Errorf("failed %v, want 2 and 3; fate of %d is known, want 3", failed, n)
	}
	t.Logf("noticed after %v", time.Since(began).Round(time.Millisecond))
	if _, err := s.over(t); err == nil {
		t.Error("the other side did not notice")
	}
}

// A peer of two addresses loses one: a hint, and the data goes on.
func testAddresses(t *testing.T) {
	harness.Run(t, "ip", "addr", "add", "127.0.0.2/8", "dev", "lo")
	defer harness.Try(t, "ip", "addr", "del", "127.0.0.2/8", "dev", "lo")
	cfg := quick
	cfg.MaxRetransmits = 100
	l := listen(t, cfg, "127.0.0.1:0", "127.0.0.2:0")
	harness.Run(t, "ip", "addr", "add", "127.0.0.3/8", "dev", "lo")
	defer harness.Try(t, "ip", "addr", "del", "127.0.0.3/8", "dev", "lo")
	from = ends("127.0.0.3:0") // its own is not to be cut
	defer func() { from = nil }()
	c, s := connect(t, cfg, l, "127.0.0.2")
	c.send(t, sctp.Message{Data: []byte("first")})
	s.next(t, sctp.EventMessage)
	harness.Run(t, "tc", "qdisc", "add", "dev", "lo", "clsact")
	defer harness.Try(t, "tc", "qdisc", "del", "dev", "lo", "clsact")
	harness.Run(t, "tc", "filter", "add", "dev", "lo", "egress", "protocol", "ip", "u32", "match", "ip", "dst", "127.0.0.1/32", "action", "drop")
	c.send(t, sctp.Message{Data: []byte("second")})
	if got := s.next(t, sctp.EventMessage); string(got.Message.Data) != "second" {
		t.Errorf("got %q", got.Message.Data)
	}
	if ev := c.path(t); ev.Kind != sctp.EventPathDown || ev.Path.Addr() != netip.MustParseAddr("127.0.0.1") {
		t.Errorf("event %+v", ev)
	}
	harness.Run(t, "tc", "qdisc", "del", "dev", "lo", "clsact")
	if ev := c.path(t); ev.Kind != sctp.EventPathUp || ev.Path.Addr() != netip.MustParseAddr("127.0.0.1") {
		t.Errorf("event %+v", ev)
	}
}
