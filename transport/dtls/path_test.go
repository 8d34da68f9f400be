package dtls

import (
	"context"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"ipfixsuite/transport/dtls/record"
)

// A path that drops large datagrams without a word costs no probe its answer,
// and messages get small enough for it.
func TestPathProbe_RFC6520_5_1(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		collector, exporter := mutual(t)
		n := newMemNetwork()
		l := serve(t, n.listen(collectorAddr), collector)
		s := dial(t, memDialer(n, collectorAddr, exporter, addrN(1)))
		overhead := record.HeaderLen + 24
		beat := func(d time.Duration) {
			t.Helper()
			for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(time.Second) {
				start := time.Now()
				probe(t, s)
				if took := time.Since(start); took > 120*time.Millisecond {
					t.Errorf("a probe took %v", took)
				}
			}
		}
		largest := 0
		mtu := 1452
		n.setFilter(func(_, to netip.AddrPort, b []byte) [][]byte {
			if to.String() == collectorAddr {
				if len(b) > mtu {
					return nil
				}
				largest = max(largest, len(b))
			}
			return [][]byte{b}
		})
		beat(time.Minute)
		if largest != 1452 || s.MaxMessage() != 1452-overhead {
			t.Errorf("largest datagram %d, MaxMessage %d", largest, s.MaxMessage())
		}
		if st := s.Stats(); st.ProbesSent != st.ProbesAnswered {
			t.Errorf("stats %+v", st)
		}
		mtu, largest = 1300, 0
		beat(2 * time.Minute)
		if got := s.MaxMessage() + overhead; got < 1284 || got > 1300 {
			t.Errorf("datagrams up to %d on a path of 1300", got)
		}
		mtu = 1452
		beat(11 * time.Minute)
		if got := s.MaxMessage() + overhead; got != 1452 {
			t.Errorf("datagrams up to %d on a path of 1452", got)
		}
		_ = s.Close(t.Context())
		_ = l.stop()
	})
}

// A peer that is gone says nothing of the path.
func TestPathProbe_SilenceIsNoLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		collector, exporter := mutual(t)
		n := newMemNetwork()
		l := serve(t, n.listen(collectorAddr), collector)
		s := dial(t, memDialer(n, collectorAddr, exporter, addrN(1)))
		before := s.MaxMessage()
		n.setFilter(func(_, _ netip.AddrPort, _ []byte) [][]byte { return nil })
		for range 20 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			_ = s.Probe(ctx)
			cancel()
		}
		if got := s.MaxMessage(); got != before {
			t.Errorf("MaxMessage %d, was %d", got, before)
		}
		_ = s.Close(t.Context())
		_ = l.stop()
	})
}

// The first handshake with a peer waits a second for what is lost, the next as
// long as a handshake takes.
func TestRetransmitFollowsPath_RFC6347_4_2_4_1(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		collector, exporter := mutual(t)
		n := newMemNetwork()
		l := serve(t, n.listen(collectorAddr), collector)
		d := memDialer(n, collectorAddr, exporter, addrN(1))
		lose := false
		n.setFilter(func(_, _ netip.AddrPort, b []byte) [][]byte {
			if lose {
				lose = false
				return nil
			}
			return [][]byte{b}
		})
		for _, c := range []struct {
			lose     bool
			min, max time.Duration
		}{
			{true, time.Second, 2100 * time.Millisecond},
			{false, 0, 10 * time.Millisecond},
			{true, minRetransmit, 2*minRetransmit + 10*time.Millisecond},
		} {
			synctest.Wait() // the session before has said its last word
			lose = c.lose
			start := time.Now()
			_ = dial(t, d).Close(t.Context())
			if took := time.Since(start); took < c.min || took > c.max {
				t.Errorf("first datagram lost %v: handshake took %v, want %v to %v", c.lose, took, c.min, c.max)
			}
		}
		_ = l.stop()
	})
}
