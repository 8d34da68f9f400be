package dtls

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"ipfixsuite/heartbeat"
	"ipfixsuite/transport"
	"ipfixsuite/transport/dtls/record"
)

// The answer is the barrier: it comes after the sinks have written, from
// whatever goroutine, and only once for a repeated request.
func TestProbeIsABarrier(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		collector, exporter := mutual(t)
		exporter.NoPathProbe = true
		n := newMemNetwork()
		l := serve(t, n.listen(collectorAddr), collector)
		var barriers []func()
		var before []string
		l.sink.barrier = func(s *sunk, done func()) {
			s.mu.Lock()
			before = append([]string(nil), s.messages...)
			s.mu.Unlock()
			barriers = append(barriers, done)
		}
		s := dial(t, memDialer(n, collectorAddr, exporter, addrN(1)))
		send(t, s, "one", "two")
		result := make(chan error, 1)
		go func() { result <- s.Probe(context.Background()) }()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if len(barriers) != 1 || len(before) != 2 {
			t.Fatalf("%d barriers, %d messages before", len(barriers), len(before))
		}
		select {
		case err := <-result:
			t.Fatalf("answered before the sinks wrote: %v", err)
		default:
		}
		barriers[0]()
		if err := <-result; err != nil {
			t.Fatal(err)
		}
		st, lst := s.Stats(), l.Stats()
		if st.ProbesSent < 4 || st.ProbesAnswered != 1 || st.RTT != 0 {
			t.Errorf("exporter's stats %+v", st)
		}
		if lst.ProbesReceived != st.ProbesSent || lst.ProbesAnswered != 1 {
			t.Errorf("collector's stats %+v", lst)
		}
		_ = s.Close(t.Context())
		_ = l.stop()
	})
}

// Nobody answers: requests are many while it is urgent, then their distance
// doubles (RFC 6347, Section 4.2.4.1), until the context ends.
func TestProbeUnanswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		collector, exporter := mutual(t)
		n := newMemNetwork()
		l := serve(t, n.listen(collectorAddr), collector)
		s := dial(t, memDialer(n, collectorAddr, exporter, addrN(1)))
		var sent []time.Duration
		start := time.Now()
		n.setFilter(func(_, _ netip.AddrPort, _ []byte) [][]byte {
			sent = append(sent, time.Since(start))
			return nil
		})
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		if err := s.Probe(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("probe: %v", err)
		}
		if len(sent) < 30 || len(sent) > 60 || sent[0] != 0 || sent[1] > 300*time.Millisecond {
			t.Fatalf("%d requests, at %v", len(sent), sent)
		}
		for i := 2; i < len(sent); i++ {
			before, gap := sent[i-1]-sent[i-2], sent[i]-sent[i-1]
			if sent[i-1] < heartbeat.DefaultUrgent {
				if i > 2 && gap > 60*time.Millisecond {
					t.Errorf("%v passed between urgent requests", gap)
				}
			} else if gap < before*3/2 {
				t.Errorf("after %v the gap grew from %v to %v only", sent[i-1], before, gap)
			}
		}
		_ = s.Close(t.Context())
		_ = l.stop()
	})
}

// What measures 40 ms is asked for again soon after 40 ms, not after a second:
// a lost heartbeat must not hold up an exporter that waits for room.
func TestProbeLost_RFC6520_3(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		collector, exporter := mutual(t)
		n := newMemNetwork()
		l := serve(t, n.listen(collectorAddr), collector)
		l.sink.barrier = func(_ *sunk, done func()) { time.AfterFunc(40*time.Millisecond, done) }
		s := dial(t, memDialer(n, collectorAddr, exporter, addrN(1)))
		for range 8 {
			probe(t, s)
		}
		if rtt := s.Stats().RTT; rtt != 40*time.Millisecond {
			t.Errorf("RTT %v, want 40ms", rtt)
		}
		sent := s.Stats().ProbesSent
		lose := true
		n.setFilter(func(_, _ netip.AddrPort, b []byte) [][]byte {
			if lose {
				lose = false
				return nil
			}
			return [][]byte{b}
		})
		start := time.Now()
		probe(t, s)
		if took := time.Since(start); took > 160*time.Millisecond {
			t.Errorf("a lost request cost %v", took)
		}
		st := s.Stats()
		if st.ProbesSent != sent+2 || st.RTT != 40*time.Millisecond {
			t.Errorf("stats %+v", st)
		}
		_ = s.Close(t.Context())
		_ = l.stop()
	})
}

// A carrier that repeats what is lost is handed a request once.
func TestProbeReliable_RFC6520_3(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		collector, exporter := mutual(t)
		n := newMemNetwork()
		l := serve(t, n.listen(collectorAddr), collector)
		l.sink.barrier = func(_ *sunk, done func()) { time.AfterFunc(time.Minute, done) }
		d := memDialer(n, collectorAddr, exporter, addrN(1))
		d.Carrier.Reliable = true
		s := dial(t, d)
		if err := s.Probe(t.Context()); err != nil {
			t.Fatal(err)
		}
		if st := s.Stats(); st.ProbesSent != 1 || st.RTT != time.Minute {
			t.Errorf("stats %+v", st)
		}
		_ = s.Close(t.Context())
		_ = l.stop()
	})
}

func TestHeartbeatModes_RFC6520_2(t *testing.T) {
	for _, c := range []struct {
		name                string
		collector, exporter HeartbeatPolicy
		probes              bool // the exporter may
		answers             bool // the exporter would
	}{
		{"both on", HeartbeatOn, HeartbeatOn, true, true},
		{"collector takes no requests", HeartbeatSendOnly, HeartbeatOn, false, true},
		{"exporter takes no requests", HeartbeatOn, HeartbeatSendOnly, true, false},
		{"collector without", HeartbeatOff, HeartbeatOn, false, false},
		{"exporter without", HeartbeatOn, HeartbeatOff, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			collector, exporter := mutual(t)
			collector.Heartbeat, exporter.Heartbeat = c.collector, c.exporter
			n := newMemNetwork()
			l := serve(t, n.listen(collectorAddr), collector)
			s := dial(t, memDialer(n, collectorAddr, exporter, addrN(1)))
			l.session(t)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			err := s.Probe(ctx)
			if c.probes && err != nil || !c.probes && !errors.Is(err, transport.ErrNoProbe) {
				t.Errorf("probe: %v", err)
			}
			if confirms := s.Properties().Confirms == transport.ConfirmProcess; confirms != c.probes {
				t.Errorf("confirms %v", confirms)
			}
			// A request of the collector's to the exporter, whatever was
			// agreed; the other way round as well.
			in := l.inbound(t)
			if err := in.sendHeartbeat(heartbeat.Message{Type: heartbeat.Request, Payload: []byte("ping")}); err != nil {
				t.Fatal(err)
			}
			if c.answers {
				eventually(t, "the answer", func() bool { return s.Stats().ProbeAnswers == 1 })
			} else {
				eventually(t, "the drop", func() bool { return s.drops[dropHeartbeat].Load() == 1 })
			}
			if !c.probes {
				if err := s.sendHeartbeat(heartbeat.Message{Type: heartbeat.Request, Payload: []byte("ping")}); err != nil {
					t.Fatal(err)
				}
				eventually(t, "the drop", func() bool { return l.Stats().Dropped["heartbeat"] > 0 })
				if st := l.Stats(); st.ProbesAnswered != 0 {
					t.Errorf("answered who may not ask")
				}
			}
		})
	}
}

// A payload length beyond the record gets no answer (CVE-2014-0160), nor do
// answers nobody awaits; both are counted.
func TestBadHeartbeats_RFC6520_4(t *testing.T) {
	collector, exporter := mutual(t)
	n := newMemNetwork()
	l := serve(t, n.listen(collectorAddr), collector)
	s := dial(t, memDialer(n, collectorAddr, exporter, addrN(1)))
	got := l.session(t)
	for _, b := range [][]byte{
		append([]byte{1, 0xFF, 0xFF}, make([]byte, 20)...),
		append([]byte{1, 0, 5}, make([]byte, 20)...),
		append([]byte{2, 0, 4}, make([]byte, 20)...),
		append([]byte{9, 0, 4}, make([]byte, 20)...),
		{1},
		nil,
	} {
		if err := s.sendRecord(record.Heartbeat, b); err != nil {
			t.Fatal(err)
		}
	}
	send(t, s, "after")
	expect(t, got, "after")
	if st := l.Stats(); st.Dropped["heartbeat"] != 6 || st.ProbesAnswered != 0 {
		t.Errorf("stats %+v", st)
	}
}

// What is authentic but has no place here ends nothing either.
func TestUnexpectedRecords(t *testing.T) {
	collector, exporter := mutual(t)
	n := newMemNetwork()
	l := serve(t, n.listen(collectorAddr), collector)
	s := dial(t, memDialer(n, collectorAddr, exporter, addrN(1)))
	got := l.session(t)
	for _, r := range []struct {
		t record.Type
		b []byte
	}{
		{record.Handshake, []byte{typeClientHello, 0, 0, 0}},
		{record.ChangeCipherSpec, []byte{1}},
		{99, []byte("x")},
		{record.Alert, []byte{alertWarning, 90}},
		{record.Alert, []byte{1, 2, 3}},
	} {
		if err := s.sendRecord(r.t, r.b); err != nil {
			t.Fatal(err)
		}
	}
	send(t, s, "after")
	expect(t, got, "after")
	if d := l.Stats().Dropped["unexpected"]; d != 3 {
		t.Errorf("%d unexpected records", d)
	}
	// An authentic fatal alert does end it, and forbids resumption.
	if err := s.sendRecord(record.Alert, []byte{alertFatal, 80}); err != nil {
		t.Fatal(err)
	}
	wait(t, got.closed, "end")
	if e, ok := errors.AsType[*AlertError](got.reason); !ok || e.Code != 80 {
		t.Errorf("ended with %v", got.reason)
	}
	if l.l.cache.len() != 0 {
		t.Error("the session may still be resumed")
	}
	wait(t, s.Done(), "the exporter's end")
	if !errors.Is(s.Err(), transport.ErrPeerClosed) {
		t.Errorf("exporter's session ended with %v", s.Err())
	}
}

func TestIdleTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		collector, exporter := mutual(t)
		collector.IdleTimeout = time.Minute
		n := newMemNetwork()
		l := serve(t, n.listen(collectorAddr), collector)
		s := dial(t, memDialer(n, collectorAddr, exporter, addrN(1)))
		got := l.session(t)
		for range 5 {
			time.Sleep(45 * time.Second)
			send(t, s, "x")
			// Forgeries do not keep it alive, and plaintext neither.
			n.send(s.conn.LocalAddr(), netip.MustParseAddrPort(collectorAddr), plaintext(23, 'x'))
		}
		synctest.Wait()
		if st := l.Stats(); st.SessionsClosed != 0 {
			t.Fatal("ended while heard of")
		}
		for range 3 {
			time.Sleep(30 * time.Second)
			n.send(s.conn.LocalAddr(), netip.MustParseAddrPort(collectorAddr), plaintext(23, 'x'))
		}
		<-got.closed
		<-s.Done()
		if got.reason == nil || !errors.Is(s.Err(), transport.ErrPeerClosed) {
			t.Errorf("ended with %v and %v", got.reason, s.Err())
		}
		l.l.mu.Lock()
		if len(l.l.peers) != 0 || l.l.count != 0 {
			t.Errorf("%d peers left", len(l.l.peers))
		}
		l.l.mu.Unlock()
		_ = s.Close(t.Context())
		_ = l.stop()
	})
}

func TestSessionLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		collector, exporter := mutual(t)
		collector.MaxSessions = 2
		exporter.HandshakeTimeout = 3 * time.Second
		n := newMemNetwork()
		l := serve(t, n.listen(collectorAddr), collector)
		for i := range 2 {
			dial(t, memDialer(n, collectorAddr, exporter, addrN(i)))
		}
		if _, err := memDialer(n, collectorAddr, exporter, addrN(7)).Dial(t.Context()); !errors.Is(err, errTimeout) {
			t.Errorf("a third session: %v", err)
		}
		// Who has one may renew it.
		dial(t, memDialer(n, collectorAddr, exporter, addrN(1)))
		synctest.Wait()
		if st := l.Stats(); st.HandshakesLimited == 0 || st.SessionsOpened != 3 {
			t.Errorf("stats %+v", st)
		}
		_ = l.stop()
	})
}

func TestSendTooLarge(t *testing.T) {
	collector, exporter := mutual(t)
	n := newMemNetwork()
	l := serve(t, n.listen(collectorAddr), collector)
	s := dial(t, memDialer(n, collectorAddr, exporter, addrN(1)))
	limit := s.MaxMessage()
	if want := 1452 - record.HeaderLen - 24; limit != want {
		t.Errorf("MaxMessage %d, want %d", limit, want)
	}
	batch := []transport.Outgoing{{Data: make([]byte, limit)}, {Data: make([]byte, limit+1)}, {Data: []byte("never")}}
	if k, err := s.Send(t.Context(), batch); k != 1 || !errors.Is(err, transport.ErrTooLarge) {
		t.Errorf("sent %d: %v", k, err)
	}
	expect(t, l.session(t), string(make([]byte, limit)))
	// A path that shrinks shows at once.
	s.conn.(*memConn).mtu.Store(600)
	if got := s.MaxMessage(); got != 600-record.HeaderLen-24 {
		t.Errorf("MaxMessage %d on a smaller path", got)
	}
}
