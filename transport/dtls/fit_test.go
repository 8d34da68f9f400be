package dtls

import (
	"bytes"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"ipfixsuite/transport/dtls/record"
)

// RFC 6347, Section 4.2.1, MUST: the number of the record that holds the first
// ServerHello is that of the ClientHello. A client whose ClientHello was lost
// has seen low numbers in the HelloVerifyRequest, and would take a ServerHello
// that bears one of them for a replay.
func TestServerHelloNumber_RFC6347_4_2_1(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		collector, exporter := mutual(t)
		n := newMemNetwork()
		l := serve(t, n.listen(collectorAddr), collector)
		var hello, answer uint64
		lost := 0
		n.setFilter(func(_, to netip.AddrPort, b []byte) [][]byte {
			switch number := binary.BigEndian.Uint64(b[3:]); {
			case says(b, typeClientHello):
				if lost++; lost <= 2 {
					return nil
				}
				hello = number
			case says(b, typeServerHello):
				answer = number
			}
			return [][]byte{b}
		})
		began := time.Now()
		s := dial(t, memDialer(n, collectorAddr, exporter, addrN(1)))
		if took := time.Since(began); took != 3*DefaultRetransmit { // one, and doubled
			t.Errorf("the handshake took %v", took)
		}
		if hello != answer || hello != 3 {
			t.Errorf("ClientHello %d, ServerHello %d", hello, answer)
		}
		_ = s.Close(t.Context())
		_ = l.stop()
	})
}

// many makes a certificate of several datagrams.
func many(c *x509.Certificate) {
	for i := range 60 {
		c.DNSNames = append(c.DNSNames, fmt.Sprintf("one-of-many-names-%03d.collectors.example", i))
	}
}

// RFC 6347, Section 4.1.1.1, SHOULD: the path carries less than it is said to,
// without a word; messages that stay unanswered go on in smaller pieces.
func TestSmallerFragments_RFC6347_4_1_1_1(t *testing.T) {
	for _, psk := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			a := newAuthority(t, "test CA")
			collector := Config{Credentials: a.creds(t, "collector.test", nil, many), HandshakeTimeout: time.Hour}
			exporter := Config{Credentials: a.creds(t, "exporter.test", nil, many), ServerName: "collector.test", HandshakeTimeout: time.Hour}
			if psk {
				collector, exporter = pskConfigs(t, key1, key1)
			}
			n := newMemNetwork()
			l := serve(t, n.listen(collectorAddr), collector)
			n.setFilter(func(_, _ netip.AddrPort, b []byte) [][]byte {
				if len(b) > smallDatagram {
					return nil
				}
				return [][]byte{b}
			})
			d := memDialer(n, collectorAddr, exporter, addrN(1))
			s := dialWithin(t, d, time.Hour)
			send(t, s, "through")
			expect(t, l.session(t), "through")
			_ = s.Close(t.Context())
			_ = l.stop()
		})
	}
}

// A datagram that has shrunk since the handshake began is not exceeded.
func TestFit_DatagramShrinks(t *testing.T) {
	a := newAuthority(t, "test CA")
	for _, size := range []int{1452, 600, 300} {
		synctest.Test(t, func(t *testing.T) {
			n := newMemNetwork()
			l := serve(t, n.listen(collectorAddr), Config{Credentials: a.creds(t, "collector.test", nil, many)})
			hellos, largest := 0, 0
			n.setFilter(func(_, _ netip.AddrPort, b []byte) [][]byte {
				if says(b, typeClientHello) {
					hellos++
				}
				if hellos >= 2 {
					for _, c := range n.ports {
						c.mtu.Store(int32(size)) // pion has been told of more
					}
					largest = max(largest, len(b))
				}
				return [][]byte{b}
			})
			d := memDialer(n, collectorAddr, Config{Credentials: a.creds(t, "exporter.test", nil, many), ServerName: "collector.test"}, addrN(1))
			s := dial(t, d)
			if largest > size {
				t.Errorf("a datagram of %d octets, where %d go", largest, size)
			}
			send(t, s, "through")
			expect(t, l.session(t), "through")
			_ = s.Close(t.Context())
			_ = l.stop()
		})
	}
}

// What is cut holds the same octets, in datagrams of the size and records
// whose numbers are each used once.
func TestFit(t *testing.T) {
	message := func(typ byte, seq uint16, size int) []byte {
		b := []byte{typ, 0, byte(size >> 8), byte(size), byte(seq >> 8), byte(seq), 0, 0, 0, 0, byte(size >> 8), byte(size)}
		for i := range size {
			b = append(b, byte(i*7+int(seq)))
		}
		return b
	}
	rec := func(typ record.Type, epoch, number byte, content []byte) []byte {
		b := []byte{byte(typ), 0xFE, 0xFD, 0, epoch, 0, 0, 0, 0, 0, number}
		return append(binary.BigEndian.AppendUint16(b, uint16(len(content))), content...)
	}
	flight := bytes.Join([][]byte{
		rec(record.Handshake, 0, 4, message(11, 2, 900)), rec(record.Handshake, 0, 5, message(16, 3, 66)),
		rec(record.ChangeCipherSpec, 0, 6, []byte{1}), rec(record.Handshake, 1, 0, make([]byte, 48)),
	}, nil)
	for limit := 100; limit < 1200; limit += 7 {
		f := fitter{limit: func() int { return limit }}
		numbers := map[uint64]bool{}
		for round := range 3 {
			got := map[uint16][]byte{}
			var rest []byte
			for _, d := range f.fit(flight) {
				if len(d) > limit {
					t.Fatalf("limit %d: a datagram of %d", limit, len(d))
				}
				for len(d) > 0 {
					h, r, more, ok := record.Next(d, 0)
					if !ok {
						t.Fatalf("limit %d: no record: %x", limit, d)
					}
					if d = more; h.Epoch == 0 {
						if numbers[h.Sequence] && f.own {
							t.Fatalf("limit %d: number %d again", limit, h.Sequence)
						}
						numbers[h.Sequence] = true
					}
					if h.Epoch == 0 && h.Type == record.Handshake {
						piece, _, ok := nextFragment(r[record.HeaderLen:])
						if !ok || piece.offset != len(got[piece.seq]) {
							t.Fatalf("limit %d: %+v", limit, piece)
						}
						got[piece.seq] = append(got[piece.seq], piece.body...)
						continue
					}
					rest = append(rest, r...)
				}
			}
			if !bytes.Equal(got[2], message(11, 2, 900)[12:]) || !bytes.Equal(got[3], message(16, 3, 66)[12:]) || len(rest) != 14+13+48 {
				t.Fatalf("limit %d, round %d: %d and %d octets, %d beside", limit, round, len(got[2]), len(got[3]), len(rest))
			}
		}
	}
}
