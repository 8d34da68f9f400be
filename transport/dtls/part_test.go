package dtls

import (
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"ipfixsuite/transport"
	"ipfixsuite/transport/dtls/record"
)

// What had arrived when the listener is told to end is taken, and the probe
// before it is answered, by sinks that need their time.
func TestListenerEnd_TakesWhatArrived(t *testing.T) {
	collector, exporter := mutual(t)
	n := newMemNetwork()
	l := serve(t, n.listen(collectorAddr), collector)
	reading, slow, written := make(chan struct{}), make(chan struct{}), make(chan func(), 1)
	l.sink.barrier = func(_ *sunk, done func()) {
		close(reading)
		<-slow // the socket is not read
		written <- done
	}
	s := dial(t, memDialer(n, collectorAddr, exporter, addrN(1)))
	got := l.session(t)
	probed := make(chan error, 1)
	go func() { probed <- s.Probe(t.Context()) }()
	wait(t, reading, "the barrier")
	const many = 500
	for i := range many {
		send(t, s, fmt.Sprint(i))
	}
	ended := make(chan error, 1)
	go func() { ended <- l.stop() }()
	close(slow)
	for i := range many {
		expect(t, got, fmt.Sprint(i))
	}
	(<-written)()
	if err := <-probed; err != nil {
		t.Errorf("probe: %v", err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	wait(t, got.closed, "the end")
	wait(t, s.Done(), "the peer's end")
	if got.reason != nil || s.Err() != transport.ErrPeerClosed { //nolint:errorlint // as it is made
		t.Errorf("%v, %v", got.reason, s.Err())
	}
}

// Nor is what the peer sent before it could know of the end.
func TestListenerEnd_TakesWhatIsUnderWay(t *testing.T) {
	collector, exporter := mutual(t)
	n := newMemNetwork()
	l := serve(t, n.listen(collectorAddr), collector)
	s := dial(t, memDialer(n, collectorAddr, exporter, addrN(1)))
	got := l.session(t)
	probe(t, s)
	at, farewell := netip.MustParseAddrPort(collectorAddr), make(chan []byte, 1)
	n.setFilter(func(from, _ netip.AddrPort, b []byte) [][]byte {
		if from == at && record.Type(b[0]) == record.Alert {
			farewell <- append([]byte(nil), b...)
			return nil
		}
		return [][]byte{b}
	})
	ended := make(chan error, 1)
	go func() { ended <- l.stop() }()
	b := <-farewell
	send(t, s, "one", "two")
	expect(t, got, "one", "two")
	n.setFilter(nil)
	n.send(at, s.conn.LocalAddr(), b)
	if err := <-ended; err != nil {
		t.Error(err)
	}
	wait(t, s.Done(), "the peer's end")
	wait(t, got.closed, "the end")
	if got.reason != nil {
		t.Error(got.reason)
	}
	if st := l.Stats(); st.SessionsClosed != 1 || st.Dropped["stale"] != 0 {
		t.Errorf("%+v", st)
	}
}

// A peer that does not answer is not waited for long, and one that comes now is
// not let in.
func TestListenerEnd_Bounded(t *testing.T) {
	collector, exporter := mutual(t)
	n := newMemNetwork()
	l := serve(t, n.listen(collectorAddr), collector)
	dial(t, memDialer(n, collectorAddr, exporter, addrN(1)))
	got := l.session(t)
	n.setFilter(func(_, to netip.AddrPort, b []byte) [][]byte {
		if to.String() == collectorAddr {
			return [][]byte{b}
		}
		return nil
	})
	if err := l.stop(); err != nil {
		t.Error(err)
	}
	wait(t, got.closed, "the end")
	if got.reason != transport.ErrClosed { //nolint:errorlint // as it is made
		t.Error(got.reason)
	}
}

// The farewell comes right behind the answer to the peer's next request:
// everything sent before it is confirmed, and the answer counts though the
// session is over by then.
func TestListenerEnd_ConfirmsFirst(t *testing.T) {
	collector, exporter := mutual(t)
	for range 20 { // what comes first must not be left to chance
		synctest.Test(t, func(t *testing.T) {
			n := newMemNetwork()
			l := serve(t, n.listen(collectorAddr), collector)
			s := dial(t, memDialer(n, collectorAddr, exporter, addrN(1)))
			got := l.session(t)
			probe(t, s)
			send(t, s, "one", "two")
			synctest.Wait()
			ended := make(chan error, 1)
			go func() { ended <- l.stop() }()
			time.Sleep(time.Second) // its next request is due then
			if err := s.Probe(t.Context()); err != nil {
				t.Errorf("probe: %v", err)
			}
			<-s.Done()
			if err := <-ended; err != nil || s.Err() != transport.ErrPeerClosed { //nolint:errorlint // as it is made
				t.Errorf("%v, %v", err, s.Err())
			}
			wait(t, got.closed, "the end")
			if got.reason != nil || len(got.messages) != 2 {
				t.Errorf("%v, %q", got.reason, got.messages)
			}
		})
	}
}

// Who has nothing to be confirmed, or never asks, is told at once; who does
// not ask any more is not waited for long.
func TestListenerEnd_WaitsForThoseWhoAsk(t *testing.T) {
	collector, exporter := mutual(t)
	for _, row := range []struct {
		name      string
		asks      bool
		sends     bool
		took, max time.Duration
	}{
		{"all confirmed", true, false, 0, 100 * time.Millisecond},
		{"never asks", false, true, 0, 100 * time.Millisecond},
		{"asks no more", true, true, askMost, askMost + 100*time.Millisecond},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newMemNetwork()
				l := serve(t, n.listen(collectorAddr), collector)
				s := dial(t, memDialer(n, collectorAddr, exporter, addrN(1)))
				if row.asks {
					probe(t, s)
				}
				if row.sends {
					send(t, s, "one")
				}
				synctest.Wait()
				began := time.Now()
				if err := l.stop(); err != nil {
					t.Error(err)
				}
				if took := time.Since(began); took < row.took || took > row.max {
					t.Errorf("it took %v", took)
				}
			})
		})
	}
}

// A close_notify that the network lost is said again.
func TestListenerEnd_FarewellLost(t *testing.T) {
	collector, exporter := mutual(t)
	synctest.Test(t, func(t *testing.T) {
		n := newMemNetwork()
		l := serve(t, n.listen(collectorAddr), collector)
		s := dial(t, memDialer(n, collectorAddr, exporter, addrN(1)))
		got := l.session(t)
		synctest.Wait() // until it is installed
		at, lost := netip.MustParseAddrPort(collectorAddr), 0
		n.setFilter(func(from, _ netip.AddrPort, b []byte) [][]byte {
			if from == at && record.Type(b[0]) == record.Alert && lost < 2 {
				lost++
				return nil
			}
			return [][]byte{b}
		})
		if err := l.stop(); err != nil {
			t.Error(err)
		}
		<-s.Done()
		if s.Err() != transport.ErrPeerClosed || lost != 2 { //nolint:errorlint // as it is made
			t.Errorf("%v, %d lost", s.Err(), lost)
		}
		if wait(t, got.closed, "the end"); got.reason != nil {
			t.Error(got.reason)
		}
	})
}
