package sctp

import (
	"errors"
	"sync"
	"testing"

	"ipfixsuite/heartbeat"
	"ipfixsuite/transport"
	"ipfixsuite/transport/dtls"
	"ipfixsuite/transport/dtls/record"
)

// An answered probe confirms what went before it on whatever stream: the
// request waits until that has arrived.
func TestSecure_ProbeConfirmsAllStreams(t *testing.T) {
	var mu sync.Mutex
	var waiting []func()
	s, got, l, client, _ := secureOne(t, func(k *sink) {
		k.hold = func(done func()) { mu.Lock(); waiting = append(waiting, done); mu.Unlock() }
	})
	client.w.hold(true)
	send(t, s, out(4, "slow"))
	probed := make(chan error, 1)
	go func() { probed <- s.Probe(t.Context()) }()
	until(t, "drain", func() bool { // the handshake's was the first
		client.w.mu.Lock()
		defer client.w.mu.Unlock()
		return client.drained == 2
	})
	client.w.mu.Lock()
	if last := client.log[len(client.log)-1]; typeOf(last) != record.ApplicationData {
		t.Errorf("record of type %d went before the data arrived", typeOf(last))
	}
	client.w.held = false
	client.move()
	client.w.mu.Unlock()
	expect(t, got, out(4, "slow"))
	until(t, "barrier", func() bool { mu.Lock(); defer mu.Unlock(); return len(waiting) == 1 })
	select {
	case err := <-probed:
		t.Errorf("answered before it was written: %v", err)
	default:
	}
	mu.Lock()
	waiting[0]()
	mu.Unlock()
	if err := receive(t, probed, "answer"); err != nil {
		t.Error(err)
	}
	// On stream 0 alone there is an order already.
	drained := client.drained
	send(t, s, out(0, "x"))
	go func() { probed <- s.Probe(t.Context()) }()
	until(t, "barrier", func() bool { mu.Lock(); defer mu.Unlock(); return len(waiting) == 2 })
	waiting[1]()
	if err := receive(t, probed, "answer"); err != nil || client.drained != drained {
		t.Errorf("%v, drained %d times", err, client.drained-drained)
	}
	if st := l.Stats(); st.ProbesReceived != 2 || st.ProbesAnswered != 2 {
		t.Errorf("stats %+v", st)
	}
	if d := s.Fates(nil); len(d) != 1 || d[0] != (transport.Fate{First: 1, Last: 2, Arrived: true}) {
		t.Errorf("fates %v", d)
	}
}

// The listener's end comes right behind the answer to the probe it waits for,
// and both sides say close_notify.
func TestSecure_StopAnswersFirst(t *testing.T) {
	s, got, l, client, server := secureOne(t)
	if err := ask(t, s); err != nil {
		t.Fatal(err)
	}
	send(t, s, out(1, "unconfirmed"))
	expect(t, got, out(1, "unconfirmed"))
	stopped := make(chan error, 1)
	go func() { stopped <- l.stop() }()
	until(t, "end to begin", func() bool { l.mu.Lock(); defer l.mu.Unlock(); return l.closing })
	if err := ask(t, s); err != nil {
		t.Errorf("probe at the end: %v", err)
	}
	if err := receive(t, stopped, "end"); err != nil {
		t.Error(err)
	}
	receive(t, s.Done(), "end of the session")
	if !errors.Is(s.Err(), transport.ErrPeerClosed) {
		t.Errorf("%v", s.Err())
	}
	for _, end := range []*memory{client, server} {
		if log := end.seen(); typeOf(log[len(log)-1]) != record.Alert {
			t.Errorf("%v: no close_notify", end.addr)
		}
	}
	if err := receive(t, got.closed, "end"); !errors.Is(err, transport.ErrClosed) {
		t.Errorf("%v", err)
	}
}

// An exporter without RFC 6520 is answered by SCTP alone.
func TestSecure_NoHeartbeat(t *testing.T) {
	collector, exporter := mutual(t)
	exporter.DTLS.Heartbeat = dtls.HeartbeatOff
	client, server := memoryPair(listed, listed)
	s := connect(t, serve(t, collector), exporter, client, server)
	if p := s.Properties(); p.Confirms != transport.ConfirmTransport {
		t.Errorf("properties %+v", p)
	}
	if err := ask(t, s); err != nil || client.beats != 1 {
		t.Errorf("%v, %d heartbeats", err, client.beats)
	}
}

// More requests than RFC 6520 allows are not kept.
func TestSecure_Barriers(t *testing.T) {
	var mu sync.Mutex
	var waiting []func()
	s, _, l, _, _ := secureOne(t, func(k *sink) {
		k.hold = func(done func()) { mu.Lock(); waiting = append(waiting, done); mu.Unlock() }
	})
	for i := range maxBarriers + 2 {
		if err := s.ask(t.Context(), []byte{byte(i)}); err != nil {
			t.Fatal(err)
		}
	}
	_ = s.turn.take(t.Context())
	_ = s.sendHeartbeat(t.Context(), heartbeat.Message{Type: heartbeat.Response, Payload: []byte("unasked")})
	s.turn.give()
	until(t, "drops", func() bool {
		d := l.Stats().Dropped
		return d["queue-full"] == 2 && d["heartbeat"] == 1
	})
	mu.Lock()
	for _, done := range waiting {
		done()
	}
	mu.Unlock()
	// Answers that nobody awaits any more are counted.
	until(t, "answers", func() bool { return s.Stats().RecordsDropped == maxBarriers })
}
