package dccp

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ipfixsuite/transport"
	"ipfixsuite/transport/dtls"
	"ipfixsuite/transport/dtls/record"
)

// TestRFC5238_3_5_TheMPSInForce: Section 3.5: the packet size is DCCP's, of
// which DTLS uses no more at any time (MUST NOT): it follows in both directions.
func TestRFC5238_3_5_TheMPSInForce(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, s *secured) {
		session, a := s.dial(s.dialer())
		overhead := s.conn.MPS() - session.MaxMessage()
		before := session.MaxMessage()
		s.lan.set(func(n *lan) { n.mtu = 1000 })
		// The system tells when it refuses a packet; that one is lost.
		s.send(session, strings.Repeat("a", before))
		synctest.Wait()
		most := session.MaxMessage()
		if want := 1000 - 1472 + before; most != want || most+overhead != s.conn.MPS() {
			t.Errorf("%d octets, want %d; the MPS is %d", most, want, s.conn.MPS())
		}
		if n := s.conn.e.Stats().SendRefused; n != 1 {
			t.Errorf("%d packets refused are counted", n)
		}
		for size, fits := range map[int]bool{before: false, most + 1: false, most: true, 1: true} {
			m := strings.Repeat("b", size)
			switch n, err := session.Send(t.Context(), []transport.Outgoing{{Data: []byte(m)}}); {
			case fits && (n != 1 || err != nil):
				t.Errorf("%d octets: %v", size, err)
			case fits:
				a.expect(t, m)
			case n != 0 || !errors.Is(err, transport.ErrTooLarge):
				t.Errorf("%d octets: %d, %v", size, n, err)
			}
		}
		// Heartbeats padded to the path's size obey as well.
		if err := session.Probe(t.Context()); err != nil {
			t.Error(err)
		}
		s.lan.set(func(n *lan) { n.mtu = 1472 })
		pass(mtuMemory + time.Second)
		s.send(session, "c")
		a.expect(t, "c")
		if most := session.MaxMessage(); most != before {
			t.Errorf("%d octets, %d before", most, before)
		}
		s.part(session, a)
	})
}

// TestRFC5238_3_5_WhatWaitsObeys: Section 3.5, MUST NOT exceed: records that wait
// in DCCP's queue and have become too large for the path are not sent. Their
// fate is told, so that the exporter sends them again, cut smaller; it is counted,
// and those that fit go.
func TestRFC5238_3_5_WhatWaitsObeys(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, s *secured) {
		session, a := s.dial(s.dialer())
		large := session.MaxMessage()
		// Nothing is acknowledged: some messages go, the others wait.
		s.lan.set(func(n *lan) { n.lose = func(p lanPacket) bool { return !toCollector(p) } })
		const messages = 40
		for i := range messages {
			size := large
			if i%2 == 1 {
				size = 100
			}
			s.send(session, fmt.Sprintf("%0*d", size, i))
		}
		waiting := s.conn.Stats().Queued
		s.lan.set(func(n *lan) { n.mtu, n.lose = 1000, nil })
		shrunk := time.Now()
		pass(30 * time.Second)
		came := map[int]bool{}
		for len(a.messages) > 0 {
			i, err := strconv.Atoi(<-a.messages)
			if err != nil {
				t.Fatal(err)
			}
			came[i] = true
		}
		told := map[int]bool{}
		for _, f := range s.carrier.Fates(nil) {
			for id := f.First; id <= f.Last; id++ {
				if _, twice := told[int(id)-1]; twice {
					t.Errorf("message %d is told of twice", id-1)
				}
				told[int(id)-1] = f.Arrived
			}
		}
		for i := range messages {
			if arrived, known := told[i]; !known || arrived != came[i] {
				t.Errorf("message %d: told %v (%v), came %v", i, arrived, known, came[i])
			}
			if i%2 == 1 && !came[i] {
				t.Errorf("message %d fits and did not come", i)
			}
		}
		st := s.conn.Stats()
		// The first large one told us, by what the system said of it.
		if refused := s.conn.e.Stats().SendRefused; waiting < messages/2 || st.Outgrown == 0 || int(st.Outgrown+refused) != messages-len(came) || refused > 1 {
			t.Errorf("%d waited, %d came, %d refused, %+v", waiting, len(came), refused, st)
		}
		for _, p := range s.lan.packets(func(p lanPacket) bool { return p.at.After(shrunk) && p.octets > 1000 }) {
			t.Errorf("%v of %d octets", p.Type, p.octets)
		}
		s.part(session, a)
	})
}

// pass lets virtual time go by.
func pass(d time.Duration) { <-time.After(d) }

// TestRFC5238_3_5_HandshakesFitTheMPS: Section 3.5, SHOULD: handshakes follow
// RFC 4347, Section 4.1.1.1: they are cut to what goes, also where that has
// become less since they began.
func TestRFC5238_3_5_HandshakesFitTheMPS(t *testing.T) {
	for _, tt := range []struct{ from, to int }{{400, 400}, {600, 600}, {1472, 400}} {
		inBubble(t, func(collector, exporter *dtls.Config) {
			i := newIssuer(t)
			collector.Credentials = i.credentials(t, "collector.test", manyNames()...)
			exporter.Credentials = i.credentials(t, "exporter.test", manyNames()...)
			collector.HandshakeTimeout, exporter.HandshakeTimeout = time.Hour, time.Hour
		}, func(t *testing.T, s *secured) {
			s.lan.mtu = tt.from
			s.lan.lose = func(p lanPacket) bool { // called with the lock held
				if list, _ := records(p.Data); len(list) > 0 && list[0].Type == record.Handshake && list[0].content[0] == 2 {
					s.lan.mtu = tt.to
				}
				return false
			}
			session, a := s.dial(s.dialer())
			m := strings.Repeat("m", session.MaxMessage())
			s.send(session, m)
			a.expect(t, m)
			s.part(session, a)
			largest := 0
			for _, p := range s.lan.packets(carriesData) {
				if _, whole := records(p.Data); !whole {
					t.Errorf("%v: a packet ends within a record", tt)
				}
				if p.octets > largest {
					largest = p.octets
				}
			}
			if tt.from == tt.to && largest > tt.to || s.next > 1 {
				t.Errorf("%v: a packet of %d octets, in %d connections", tt, largest, s.next)
			}
		})
	}
}

// TestRFC5238_3_5_BothAreReset: Section 3.5, SHOULD: when DTLS forgets what it
// has found out of the path, DCCP does too.
func TestRFC5238_3_5_BothAreReset(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, s *secured) {
		session, a := s.dial(s.dialer())
		whole, message := s.conn.MPS(), session.MaxMessage()
		// A hole swallows large packets: each finds it out for itself, DTLS by
		// padded heartbeats, DCCP by timeouts.
		s.lan.set(func(n *lan) { n.lose = func(p lanPacket) bool { return p.octets > 1250 } })
		for session.MaxMessage() == message {
			if err := session.Probe(t.Context()); err != nil {
				t.Fatal(err)
			}
			pass(time.Second)
		}
		if s.conn.MPS() != whole {
			t.Fatalf("DCCP knows already: MPS %d", s.conn.MPS())
		}
		for s.conn.MPS() == whole {
			_, _ = s.conn.tryQueue(append([]byte{23, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 1, 0, 16}, make([]byte, whole-13)...))
			pass(time.Second)
		}
		t.Logf("MPS %d, then %d; messages %d, then %d", whole, s.conn.MPS(), message, session.MaxMessage())
		s.lan.set(func(n *lan) { n.lose = nil })
		session.(interface{ ResetPathMTU() }).ResetPathMTU()
		if s.conn.MPS() != whole || session.MaxMessage() != message {
			t.Errorf("after the reset: MPS %d of %d, messages %d of %d", s.conn.MPS(), whole, session.MaxMessage(), message)
		}
		for len(a.messages) > 0 {
			<-a.messages
		}
		pass(time.Minute)
		m := strings.Repeat("m", message)
		s.send(session, m)
		for got := ""; got != m; {
			got = <-a.messages
		}
		s.part(session, a)
	})
}

// TestRFC5238_3_5_AHoleStaysFound: what the system says again and again of the
// path does not undo what DCCP has found out.
func TestRFC5238_3_5_AHoleStaysFound(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, s *secured) {
		session, a := s.dial(s.dialer())
		whole := s.conn.MPS()
		s.lan.set(func(n *lan) { n.lose = func(p lanPacket) bool { return p.octets > 1250 } })
		for s.conn.MPS() == whole {
			_, _ = session.Send(t.Context(), []transport.Outgoing{{Data: make([]byte, session.MaxMessage())}})
			pass(100 * time.Millisecond)
		}
		for range 30 {
			_, _ = session.Send(t.Context(), []transport.Outgoing{{Data: []byte("small")}})
			pass(time.Second)
			if s.conn.MPS() == whole {
				t.Fatal("the hole is forgotten")
			}
		}
		s.lan.set(func(n *lan) { n.lose = nil })
		_ = session.Close(t.Context())
		<-a.closed
	})
}
