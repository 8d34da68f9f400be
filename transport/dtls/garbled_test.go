package dtls

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"ipfixsuite/transport/dtls/record"
)

// says finds a handshake message's type at the start of a datagram.
func says(b []byte, typ byte) bool {
	return len(b) > record.HeaderLen && record.Type(b[0]) == record.Handshake && b[3] == 0 && b[4] == 0 && b[record.HeaderLen] == typ
}

// Somebody who sees the wire writes into a handshake, before the collector
// does. He cannot be kept from spoiling one; but not for long, and not for the
// price of one datagram.
func TestGarbledHandshake(t *testing.T) {
	collector, exporter := mutual(t)
	at := netip.MustParseAddrPort(collectorAddr)
	for _, row := range []struct {
		name string
		// what comes instead of b, of the handshake number n (from 1; 0 is the
		// one that old was recorded of).
		forge   func(n int, b []byte, old [][]byte) [][]byte
		started uint64 // handshakes at the collector
		took    time.Duration
	}{
		{"another cookie first", func(n int, b []byte, _ [][]byte) [][]byte {
			if !says(b, typeHelloVerifyRequest) || n > 1 {
				return [][]byte{b}
			}
			forged := bytes.Clone(b)
			forged[len(b)-1] ^= 1
			return [][]byte{forged, b}
		}, 2, time.Second},
		{"another cookie second", func(_ int, b []byte, _ [][]byte) [][]byte {
			if !says(b, typeHelloVerifyRequest) {
				return [][]byte{b}
			}
			forged := bytes.Clone(b)
			forged[len(b)-1] ^= 1
			return [][]byte{b, forged}
		}, 2, 0},
		{"an old flight", func(n int, b []byte, old [][]byte) [][]byte {
			if !says(b, typeServerHello) || n > 1 {
				return [][]byte{b}
			}
			return append(old, b)
		}, 3, 0},
		{"a fragment of another length", func(n int, b []byte, _ [][]byte) [][]byte {
			if !says(b, typeServerHello) || n > 1 {
				return [][]byte{b}
			}
			forged := appendFragment(b[:record.HeaderLen], []byte{typeServerKeyExchange, 0, 1, 0, 0, 3}, 0, make([]byte, 20))
			return [][]byte{forged, b}
		}, 3, stallAfter*minRetransmit + time.Second},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newMemNetwork()
				l := serve(t, n.listen(collectorAddr), collector)
				var from []string
				for i := range 1 + dialAttempts {
					from = append(from, addrN(i))
				}
				d := memDialer(n, collectorAddr, exporter, from...)
				var old [][]byte
				n.setFilter(func(src, dst netip.AddrPort, b []byte) [][]byte {
					hand := 0
					for dst.String() != from[hand] && hand < dialAttempts {
						hand++
					}
					switch {
					case src != at:
						return [][]byte{b}
					case hand == 0:
						if record.Type(b[0]) == record.Handshake && b[4] == 0 && !says(b, typeHelloVerifyRequest) {
							old = append(old, bytes.Clone(b))
						}
						return [][]byte{b}
					}
					return row.forge(hand, b, old)
				})
				dial(t, d)
				d.Forget()
				began := time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				defer cancel()
				s, err := d.Dial(ctx)
				if err != nil {
					t.Fatal(err)
				}
				if took := time.Since(began); took > row.took {
					t.Errorf("it took %v", took)
				}
				probe(t, s)
				if st := l.Stats(); st.HandshakesStarted != row.started {
					t.Errorf("%d handshakes, want %d", st.HandshakesStarted, row.started)
				}
				_ = s.Close(t.Context())
				_ = l.stop()
			})
		})
	}
}

// Who spoils each of them is not run after: a Dial has few.
func TestGarbledHandshake_EachTime(t *testing.T) {
	collector, exporter := mutual(t)
	synctest.Test(t, func(t *testing.T) {
		n := newMemNetwork()
		l := serve(t, n.listen(collectorAddr), collector)
		at := netip.MustParseAddrPort(collectorAddr)
		n.setFilter(func(src, _ netip.AddrPort, b []byte) [][]byte {
			if src == at && says(b, typeServerHello) {
				b = bytes.Clone(b)
				b[record.HeaderLen+handshakeHeaderLen+10] ^= 1 // its random number
			}
			return [][]byte{b}
		})
		began := time.Now()
		_, err := memDialer(n, collectorAddr, exporter, addrN(1), addrN(2), addrN(3), addrN(4)).Dial(t.Context())
		if _, ok := errors.AsType[*garbledError](err); !ok || time.Since(began) > time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		if st := l.Stats(); st.HandshakesStarted != dialAttempts {
			t.Errorf("%d handshakes", st.HandshakesStarted)
		}
		_ = l.stop()
	})
}

// An alert without protection ends a handshake that goes no further, whatever
// else is said again and again in the peer's name.
func TestPlaintextAlert_NoProgress(t *testing.T) {
	collector, exporter := mutual(t)
	synctest.Test(t, func(t *testing.T) {
		n := newMemNetwork()
		l := serve(t, n.listen(collectorAddr), collector)
		at := netip.MustParseAddrPort(collectorAddr)
		var flight []byte
		n.setFilter(func(src, _ netip.AddrPort, b []byte) [][]byte {
			switch {
			case src != at || says(b, typeHelloVerifyRequest):
				return [][]byte{b}
			case says(b, typeServerHello):
				flight = bytes.Clone(b)
			}
			return nil // the collector is not heard any more
		})
		result := make(chan error, 1)
		go func() {
			_, err := memDialer(n, collectorAddr, exporter, addrN(1)).Dial(t.Context())
			result <- err
		}()
		time.Sleep(100 * time.Millisecond)
		n.setFilter(nil)
		to := netip.MustParseAddrPort(addrN(1))
		began := time.Now()
		alert := []byte{byte(record.Alert), 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, 99, 0, 2, alertFatal, alertInternalError}
		n.setFilter(func(src, _ netip.AddrPort, b []byte) [][]byte {
			if src == at && !bytes.Equal(b, flight) && !bytes.Equal(b, alert) {
				return nil
			}
			return [][]byte{b}
		})
		n.send(at, to, flight)
		n.send(at, to, alert)
		for len(result) == 0 && time.Since(began) < 10*time.Second {
			n.send(at, to, flight)
			time.Sleep(50 * time.Millisecond)
		}
		if took := time.Since(began); took > time.Second {
			t.Fatalf("it takes %v", took)
		}
		if err := <-result; err == nil {
			t.Error("a handshake with nobody")
		}
		_ = l.stop()
	})
}

// What no handshake has use for takes no room while it waits, and does not
// displace what one waits for.
func TestShim_FloodedQueue(t *testing.T) {
	rng := rand.New(rand.NewPCG(6347, 2))
	for _, client := range []bool{true, false} {
		drops := new(dropCounters)
		a := netip.MustParseAddrPort(addrN(1))
		s := newShim(client, a, a, drops, func(context.Context, []byte) error { return nil })
		noise := make([]byte, 700)
		for i := range noise {
			noise[i] = byte(rng.Uint32())
		}
		wire := func(kind byte, epoch uint16, body []byte) []byte {
			b := []byte{kind, 0xfe, 0xfd, byte(epoch >> 8), byte(epoch), 0, 0, 0, 0, 0, 1}
			return append(binary.BigEndian.AppendUint16(b, uint16(len(body))), body...)
		}
		const rounds = 1000
		garbage := [][]byte{
			{}, noise[:5], wire(22, 0, noise), wire(22, 0, make([]byte, 12)), wire(20, 0, []byte{2, 2}), wire(21, 0, noise[:9]),
			wire(23, 0, noise), wire(24, 0, noise), wire(22, 2, noise), wire(23, 0xffff, noise), wire(22, 0, nil),
		}
		for range rounds {
			for _, b := range garbage {
				s.push(b)
			}
		}
		if n := len(s.in); n != 0 || drops.total() != uint64(rounds*len(garbage)) {
			t.Errorf("%d datagrams wait, %d dropped", n, drops.total())
		}
		finished := wire(22, 1, noise[:48])
		s.push(finished)
		for range rounds {
			s.filter(wire(22, 1, noise[:500]))
		}
		for range maxFinished / 2 {
			s.filter(wire(22, 1, noise[:60]))
		}
		s.filter(<-s.in)
		for range maxFinished / 2 {
			s.filter(wire(22, 1, noise[:60]))
		}
		found := false
		for _, rec := range s.finished {
			found = found || bytes.Equal(rec, finished)
		}
		if !found || len(s.finished) > maxFinished {
			t.Errorf("the genuine Finished is not among the %d candidates", len(s.finished))
		}
	}
}
