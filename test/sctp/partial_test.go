//go:build linux

package sctp

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"ipfixsuite/test/harness"
	"ipfixsuite/test/uml"
	"ipfixsuite/transport"
	"ipfixsuite/transport/sctp"
)

// givenUpName marks captures in which messages are given up.
const givenUpName = "given-up"

// givenUp: what may be given up is, under DTLS too, and told by authenticated
// FORWARD-TSNs (RFC 3758, Section 3.5; RFC 6083, Section 4.5). It is missing at
// the collector, and nothing else is: reliable messages come, all streams keep
// their order and the session goes on.
func givenUp(t *testing.T, n *harness.Network, pair [2]stack, cfg sides) {
	defer encapsulate(n, pair)()
	defer n.Record(t, uml.Shared(fmt.Sprintf("dtls-%s-%s-%s.pcap", givenUpName, pair[0].name[:4], pair[1].name[:4])))()
	const lifetime = 100 * time.Millisecond
	cfg.exporter.Lifetime = lifetime
	c := sctp.Config{OutStreams: 3, InStreams: 3}
	l := serve(t, n, pair[1], cfg, c)
	s := dial(t, n, pair[0], cfg, c)
	in := receive(t, l.sessions, "session")
	taken := 0
	hand := func(messages int, unreliable bool) {
		for range messages {
			// Stream 0 is reliable, as Templates are; the others need not be.
			stream := uint16(taken % 3)
			send(t, s, transport.Outgoing{Stream: stream, Unreliable: unreliable && stream != 0, Data: numbered(taken, 1000)})
			taken++
		}
	}
	have := map[int]bool{}
	last := [3]int{-1, -1, -1}
	take := func(until ...int) {
		for slices.ContainsFunc(until, func(i int) bool { return !have[i] }) {
			m := in.next(t)
			i := number(m.Data)
			if i < 0 || int(m.Stream) != i%3 || len(m.Data) != 1000 || i <= last[m.Stream] {
				t.Fatalf("message %d of %d octets on stream %d behind %d", i, len(m.Data), m.Stream, last[m.Stream])
			}
			have[i], last[m.Stream] = true, i
		}
	}
	hand(3, false)
	take(0, 1, 2)
	n.Run(n.A, "tc qdisc add dev va root netem loss 100%")
	hand(60, true) // more than the congestion window lets out
	<-time.After(2 * lifetime)
	n.Run(n.A, "tc qdisc del dev va root")
	began := time.Now()
	take(60) // the last one of stream 0
	if err := s.Probe(within(t)); err != nil {
		t.Errorf("probe: %v", err)
	}
	hand(3, false)
	take(63, 64, 65)
	t.Logf("goes on after %v", time.Since(began).Round(time.Millisecond))
	if err := s.Close(within(t)); err != nil {
		t.Errorf("close: %v", err)
	}
	if err := receive(t, in.closed, "end"); err != nil {
		t.Errorf("the collector's end: %v", err)
	}
	arrived, lost := known(s, taken)
	gone, told := 0, 0
	for i := range taken {
		missing := !have[i]
		switch {
		case missing && (i%3 == 0 || i < 3 || i > 62):
			t.Errorf("message %d, a reliable one, did not come", i)
		case missing && !lost[i], !missing && !arrived[i]:
			t.Errorf("message %d: missing %v, said to have arrived %v, to be lost %v", i, missing, arrived[i], lost[i])
		}
		if missing {
			gone++
		}
		if lost[i] {
			told++
		}
	}
	if gone == 0 || told != gone {
		t.Errorf("%d of %d messages are missing, %d told", gone, taken, told)
	}
	t.Logf("%d of %d messages given up, %d told by name", gone, taken, told)
}
