package dccp

import (
	"context"
	"errors"
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ipfixsuite/transport"
	"ipfixsuite/transport/dccp/wire"
	"ipfixsuite/transport/dtls"
	"ipfixsuite/transport/dtls/record"
)

// The rules of RFC 5238, each by its section. The network is in memory and its
// time virtual; DTLS and DCCP are those of the programs.

// TestRFC5238_3_RecordsStayWhole: Section 3: a record is in one packet, never
// split over several (MUST); Section 3.5: and never larger than the MPS in
// force (MUST NOT).
func TestRFC5238_3_RecordsStayWhole(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, s *secured) {
		session, a := s.dial(s.dialer())
		mps := s.conn.MPS()
		most := session.MaxMessage()
		for _, size := range []int{1, 100, most - 1, most} {
			m := strings.Repeat("m", size)
			s.send(session, m)
			a.expect(t, m)
		}
		if n, err := session.Send(t.Context(), []transport.Outgoing{{Data: make([]byte, most+1)}}); n != 0 || !errors.Is(err, transport.ErrTooLarge) {
			t.Errorf("a message that no record takes: %d, %v", n, err)
		}
		s.part(session, a)
		largest := 0
		for _, p := range s.lan.packets(carriesData) {
			if _, whole := records(p.Data); !whole {
				t.Errorf("a packet of type %v ends within a record", p.Type)
			}
			largest = max(largest, len(p.Data))
		}
		if largest != mps {
			t.Errorf("the largest packet carries %d octets, the MPS is %d", largest, mps)
		}
	})
}

// joining puts the records of a batch into one packet.
type joining struct{ *Datagrams }

func (j joining) WriteBatch(batch []transport.Datagram) (int, error) {
	var all []byte
	for _, d := range batch {
		all = append(all, d.Data...)
	}
	if _, err := j.Datagrams.WriteBatch([]transport.Datagram{{Peer: batch[0].Peer, Data: all}}); err != nil {
		return 0, err
	}
	return len(batch), nil
}

// TestRFC5238_3_SeveralRecordsInAPacket: Section 3, MAY: a handshake's flight
// goes so, and data that comes so is taken.
func TestRFC5238_3_SeveralRecordsInAPacket(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, s *secured) {
		s.under = func(_ *Conn, d *Datagrams) transport.DatagramConn { return joining{d} }
		session, a := s.dial(s.dialer())
		s.send(session, "one", "two", "three")
		a.expect(t, "one", "two", "three")
		s.part(session, a)
		flights, data := 0, 0
		for _, p := range s.lan.packets(carriesData) {
			switch all, _ := records(p.Data); {
			case len(all) < 2:
			case all[0].Type == record.ApplicationData:
				data++
			default:
				flights++
			}
		}
		if flights < 2 || data != 1 {
			t.Errorf("%d packets of several handshake records, %d of data", flights, data)
		}
	})
}

// twice sends each record of data in two packets.
type twice struct{ *Datagrams }

func (w twice) WriteBatch(batch []transport.Datagram) (int, error) {
	n, err := w.Datagrams.WriteBatch(batch)
	if err == nil && isData(batch[0].Data) {
		_, err = w.Datagrams.WriteBatch(batch)
	}
	return n, err
}

// TestRFC5238_3_1_NumbersAreApart: Section 3.1: DCCP's sequence numbers and
// DTLS's have nothing to do with each other. A record that comes again in a
// packet with a new number of DCCP is a replay all the same, and records whose
// neighbours DCCP lost are none.
func TestRFC5238_3_1_NumbersAreApart(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, s *secured) {
		s.under = func(_ *Conn, d *Datagrams) transport.DatagramConn { return twice{d} }
		session, a := s.dial(s.dialer())
		s.send(session, "once")
		a.expect(t, "once")
		if d := s.listener.Stats().Dropped; d["replayed"] != 1 {
			t.Errorf("dropped: %v", d)
		}
		lost := 0
		s.lan.set(func(n *lan) {
			n.lose = func(p lanPacket) bool {
				if carriesData(p) && toCollector(p) && lost < 4 {
					lost++
					return true
				}
				return false
			}
		})
		for range 2 {
			s.send(session, "lost")
		}
		s.send(session, "not lost")
		a.expect(t, "not lost")
		if lost != 4 {
			t.Errorf("%d packets lost", lost)
		}
		s.part(session, a)
	})
}

// TestRFC5238_3_2_DTLSWaitsForDCCP: Section 3.2: the handshakes come one after
// the other here; the timer by which DTLS repeats its first flight starts when
// DCCP's handshake is complete (MUST), however often that had to be tried.
func TestRFC5238_3_2_DTLSWaitsForDCCP(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, s *secured) {
		responses, hellos := 0, 0
		s.lan.lose = func(p lanPacket) bool {
			switch {
			case p.Type == wire.Response:
				responses++
				return responses <= 2 // the Request is repeated after 1 s, and 2 s
			case toCollector(p) && carriesData(p):
				hellos++
				return hellos == 1
			}
			return false
		}
		session, a := s.dial(s.dialer())
		s.send(session, "through")
		a.expect(t, "through")
		s.part(session, a)

		all := s.lan.packets(func(p lanPacket) bool { return p.Type == wire.Response })
		complete := all[2].at.Add(s.lan.delay)
		sent := s.lan.packets(func(p lanPacket) bool { return toCollector(p) && carriesData(p) })
		if waited := sent[0].at.Sub(s.lan.seen[0].at); waited < 3*time.Second || !sent[0].at.Equal(complete) {
			t.Errorf("the first record went %v after the Request, DCCP's handshake took %v", waited, complete.Sub(s.lan.seen[0].at))
		}
		if again := sent[1].at.Sub(sent[0].at); again != dtls.DefaultRetransmit {
			t.Errorf("repeated after %v", again)
		}
		for i := range 2 {
			r, _ := records(sent[i].Data)
			if f, ok := r[0].piece(); len(r) != 1 || !ok || f.typ != 1 || f.message != 0 {
				t.Errorf("packet %d is no ClientHello alone: %v", i, r)
			}
		}
	})
}

// rounds checks how a side transmitted one flight, in whatever fragments: all
// of it, before any octet a second time, and then not before least has gone by.
func rounds(t *testing.T, packets []lanPacket, types string, least time.Duration) (n int) {
	t.Helper()
	var sent []piece
	lengths := map[int]int{} // of the messages
	for _, p := range packets {
		list, _ := records(p.Data)
		for _, r := range list {
			if f, ok := r.piece(); ok && strings.IndexByte(types, f.typ) >= 0 {
				f.at = p.at
				sent = append(sent, f)
				lengths[f.message] = f.length
			}
		}
	}
	left := maps.Clone(lengths)
	round := map[piece]bool{}
	for i, f := range sent {
		again := false
		for g := range round {
			again = again || g.message == f.message && g.from < f.to && f.from < g.to
		}
		if i == 0 || again {
			n++
			gap := f.at.Sub(sent[max(i-1, 0)].at)
			for message, octets := range left {
				if i > 0 && octets > 0 {
					t.Errorf("message %d again after %v, before %d octets of message %d had gone", f.message, gap, octets, message)
				}
			}
			if i > 0 && gap < least {
				t.Errorf("message %d again after %v", f.message, gap)
			}
			clear(round)
			left = maps.Clone(lengths)
		}
		round[f] = true
		left[f.message] -= f.to - f.from
	}
	if len(sent) < 6 {
		t.Errorf("a flight of %d fragments is not throttled", len(sent))
	}
	return n
}

const (
	collectorsFlight = "\x02\x0b\x0c\x0d\x0e" // ServerHello to ServerHelloDone
	exportersFlight  = "\x0b\x0f\x10"         // Certificate, CertificateVerify, ClientKeyExchange
)

// TestRFC5238_3_3_NothingQueuedIsRepeated: Section 3.3, SHOULD: congestion
// control lets a large handshake go so slowly that DTLS's timer would fire in
// between. It starts when the last packet has gone: none is sent twice.
func TestRFC5238_3_3_NothingQueuedIsRepeated(t *testing.T) {
	const retransmit = 3 * time.Second
	for _, tt := range []struct {
		name, flight string
		slow         func(collector, exporter *dtls.Config) (large *dtls.Config, name string, patient *dtls.Config)
	}{
		{"collector", collectorsFlight, func(c, e *dtls.Config) (*dtls.Config, string, *dtls.Config) { return c, "collector.test", e }},
		{"exporter", exportersFlight, func(c, e *dtls.Config) (*dtls.Config, string, *dtls.Config) { return e, "exporter.test", c }},
	} {
		for _, outage := range []time.Duration{0, time.Minute} {
			t.Run(tt.name+" "+outage.String(), func(t *testing.T) {
				inBubble(t, func(collector, exporter *dtls.Config) {
					i := newIssuer(t)
					large, name, patient := tt.slow(collector, exporter)
					collector.Credentials, exporter.Credentials = i.credentials(t, "collector.test"), i.credentials(t, "exporter.test")
					large.Credentials = i.credentials(t, name, manyNames()...)
					collector.HandshakeTimeout, exporter.HandshakeTimeout = time.Hour, time.Hour
					large.Retransmit, patient.Retransmit = retransmit, 30*time.Minute
				}, func(t *testing.T, s *secured) {
					s.lan.delay = time.Second // one way
					mine := func(p lanPacket) bool { return carriesData(p) && toCollector(p) == (tt.name == "exporter") }
					var dark time.Time
					sent := 0
					s.lan.lose = func(p lanPacket) bool {
						if list, _ := records(p.Data); outage > 0 && mine(p) && len(list) > 0 && len(list[0].content) > 500 {
							if sent++; sent == 2 {
								dark = p.at
							}
						}
						return !dark.IsZero() && p.at.Sub(dark) < outage
					}
					began := time.Now()
					session, a := s.dial(s.dialer())
					took := time.Since(began)
					n := rounds(t, s.lan.packets(mine), tt.flight, retransmit)
					t.Logf("%v, in %d rounds", took, n)
					if outage == 0 && n != 1 || outage > 0 && (n < 2 || took < outage) {
						t.Errorf("%d rounds in %v", n, took)
					}
					s.send(session, "through")
					a.expect(t, "through")
					s.part(session, a)
				})
			})
		}
	}
}

// TestRFC5238_3_3_FatesDoNotWait: what became of messages is told at once
// though a handshake's packet waits for congestion control.
func TestRFC5238_3_3_FatesDoNotWait(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, s *secured) {
		session, a := s.dial(s.dialer())
		d := s.carrier
		for range 3 {
			s.send(session, "known")
			a.expect(t, "known")
		}
		if err := session.Probe(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.lan.set(func(n *lan) { n.lose = func(lanPacket) bool { return true } })
		flight := []byte{22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0}
		for !s.conn.queued(s.conn.next) { // until the window is used up
			if _, err := s.conn.tryQueue(flight); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		ended := make(chan error, 1)
		go func() { ended <- d.Transmit(ctx, transport.Datagram{Data: flight}) }()
		synctest.Wait()
		began := time.Now()
		if got := d.Fates(nil); len(got) != 1 || got[0] != (transport.Fate{First: 1, Last: 3, Arrived: true}) {
			t.Errorf("fates: %+v", got)
		}
		if waited := time.Since(began); waited != 0 {
			t.Errorf("fates came after %v", waited)
		}
		// Nor does whoever writes; and the flight is not queued once more.
		before := s.conn.Stats().Queued
		if n, err := d.WriteBatch([]transport.Datagram{{Data: flight}, {Data: flight}}); n != 2 || err != nil || s.conn.Stats().Queued != before {
			t.Errorf("%d, %v; %d queued, then %d", n, err, before, s.conn.Stats().Queued)
		}
		if waited := time.Since(began); waited != 0 {
			t.Errorf("written after %v", waited)
		}
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
		_ = s.conn.Abort()
		<-session.Done()
	})
}
