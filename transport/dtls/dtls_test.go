package dtls

import (
	"context"
	"testing"

	"ipfixsuite/transport"
)

const collectorAddr = "198.51.100.1:4740"

func TestSession(t *testing.T) {
	collector, exporter := mutual(t)
	n := newMemNetwork()
	l := serve(t, n.listen(collectorAddr), collector)
	s := dial(t, memDialer(n, collectorAddr, exporter, addrN(1)))
	send(t, s, "one", "two", "three")
	got := l.session(t)
	expect(t, got, "one", "two", "three")
	if got.peer.Identity != "exporter.test" || s.Peer().Identity != "collector.test" {
		t.Errorf("identities %q and %q", got.peer.Identity, s.Peer().Identity)
	}
	if p := s.Properties(); !p.Secure || p.Confirms != transport.ConfirmProcess || p.Streams != 1 || p.Reliable {
		t.Errorf("properties %+v", p)
	}
	probe(t, s)
	if st := s.Stats(); st.ProbesSent != 1 || st.ProbesAnswered != 1 || st.MessagesSent != 3 || st.BytesSent != 11 || st.RTT <= 0 {
		t.Errorf("session's stats %+v", st)
	}
	if err := s.Close(context.Background()); err != nil {
		t.Error(err)
	}
	wait(t, got.closed, "close")
	if got.reason != nil {
		t.Errorf("closed with %v", got.reason)
	}
	st := l.Stats()
	if st.SessionsOpened != 1 || st.SessionsClosed != 1 || st.ProbesReceived != 1 || st.ProbesAnswered != 1 || st.HandshakesStarted != 1 || len(st.Dropped) != 0 {
		t.Errorf("listener's stats %+v", st)
	}
}
