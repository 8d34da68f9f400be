package dtls

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipfixsuite/transport"
	"ipfixsuite/transport/dtls/record"
)

// plaintext is a record of epoch 0, as anybody can send it.
func plaintext(typ byte, content ...byte) []byte {
	b := []byte{typ, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0x77, typ, 0, byte(len(content))}
	return append(b, content...)
}

// spoofs are single datagrams from a live peer's address that must not harm
// its session, with the reason they are counted under.
func spoofs() map[string]struct {
	b      []byte
	reason string
} {
	type s = struct {
		b      []byte
		reason string
	}
	protected := func(typ byte, n int) []byte {
		b := []byte{typ, 0xFE, 0xFD, 0, 1, 0, 0, 0, 0, 0xFF, typ, byte(n >> 8), byte(n)}
		return append(b, bytes.Repeat([]byte{0x5A}, n)...)
	}
	return map[string]s{
		"ChangeCipherSpec":        {plaintext(20, 1), "plaintext"},
		"alert close_notify":      {plaintext(21, 1, 0), "plaintext"},
		"fatal alert":             {plaintext(21, 2, 40), "plaintext"},
		"handshake HelloRequest":  {plaintext(22, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), "plaintext"},
		"handshake junk":          {plaintext(22, 99, 1, 2, 3, 4), "plaintext"},
		"application data":        {plaintext(23, 'x'), "plaintext"},
		"heartbeat":               {plaintext(24, 1, 0, 0), "plaintext"},
		"type 25":                 {plaintext(25, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10), "plaintext"},
		"type 99":                 {plaintext(99, 'x'), "plaintext"},
		"forged application data": {protected(23, 64), "bad-mac"},
		"forged alert":            {protected(21, 26), "bad-mac"},
		"forged handshake":        {protected(22, 48), "bad-mac"},
		"forged heartbeat":        {protected(24, 48), "bad-mac"},
		"protected, no room":      {protected(23, 3), "malformed"},
		"protected type 99":       {protected(99, 64), "bad-mac"},
		"epoch 2":                 {append([]byte{23, 0xFE, 0xFD, 0, 2, 0, 0, 0, 0, 0, 1, 0, 32}, make([]byte, 32)...), "epoch"},
		"length beyond datagram":  {[]byte{23, 0xFE, 0xFD, 0, 1, 0, 0, 0, 0, 0, 9, 0xFF, 0xFF, 1}, "malformed"},
		"short":                   {[]byte{23, 0xFE}, "malformed"},
		"empty":                   {nil, "malformed"},
		"not DTLS":                {bytes.Repeat([]byte{'G'}, 40), "malformed"},
	}
}

// Each counted, none answered by an alert, and the association lives on, at
// either end.
func TestSpoofedDatagrams(t *testing.T) {
	collector, exporter := mutual(t)
	for name, c := range spoofs() {
		t.Run(name, func(t *testing.T) {
			n := newMemNetwork()
			l := serve(t, n.listen(collectorAddr), collector)
			s := dial(t, memDialer(n, collectorAddr, exporter, addrN(1)))
			got := l.session(t)
			send(t, s, "before")
			expect(t, got, "before")
			// From the first data on neither side keeps a flight to repeat.
			probe(t, s)
			n.send(s.conn.LocalAddr(), netip.MustParseAddrPort(collectorAddr), c.b)
			n.send(netip.MustParseAddrPort(collectorAddr), s.conn.LocalAddr(), c.b)
			send(t, s, "after")
			expect(t, got, "after")
			probe(t, s)
			if d := cmp.Diff(map[string]uint64{c.reason: 1}, l.Stats().Dropped); d != "" {
				t.Errorf("collector's counters: %s", d)
			}
			if st := s.Stats(); len(c.b) > 0 && st.RecordsDropped != 1 {
				t.Errorf("exporter dropped %d records", st.RecordsDropped)
			}
		})
	}
}

// The same before the handshake is over, and in the middle of it.
func TestJunkDuringHandshake(t *testing.T) {
	collector, exporter := mutual(t)
	for name, c := range spoofs() {
		t.Run(name, func(t *testing.T) {
			n := newMemNetwork()
			n.setFilter(func(_, _ netip.AddrPort, b []byte) [][]byte {
				return [][]byte{c.b, b, c.b}
			})
			l := serve(t, n.listen(collectorAddr), collector)
			s := dial(t, memDialer(n, collectorAddr, exporter, addrN(1)))
			got := l.session(t)
			send(t, s, "data")
			expect(t, got, "data")
			n.setFilter(nil)
			probe(t, s)
		})
	}
}

func TestReplays(t *testing.T) {
	collector, exporter := mutual(t)
	n := newMemNetwork()
	l := serve(t, n.listen(collectorAddr), collector)
	s := dial(t, memDialer(n, collectorAddr, exporter, addrN(1)))
	got := l.session(t)
	n.setFilter(func(_, to netip.AddrPort, b []byte) [][]byte { return [][]byte{b, b, b} })
	send(t, s, "one", "two")
	probe(t, s)
	n.setFilter(nil)
	send(t, s, "three")
	expect(t, got, "one", "two", "three")
	if d := l.Stats().Dropped["replayed"]; d != 6 {
		t.Errorf("%d replays counted, want 6: two for each of two messages and a heartbeat", d)
	}
}

// A datagram of an address nothing is known of.
func TestStale(t *testing.T) {
	collector, _ := mutual(t)
	n := newMemNetwork()
	l := serve(t, n.listen(collectorAddr), collector)
	n.send(netip.MustParseAddrPort(addrN(9)), netip.MustParseAddrPort(collectorAddr), append([]byte{23, 0xFE, 0xFD, 0, 1, 0, 0, 0, 0, 0, 1, 0, 32}, make([]byte, 32)...))
	eventually(t, "the count", func() bool { return l.Stats().Dropped["stale"] == 1 })
}

// captureHello records the first datagram an exporter sends.
func captureHello(t *testing.T, exporter Config) []byte {
	t.Helper()
	n := newMemNetwork()
	c := n.listen(collectorAddr)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { _, _ = memDialer(n, collectorAddr, exporter, addrN(1)).Dial(ctx) }()
	batch := make([]transport.Datagram, 1)
	if _, err := c.ReadBatch(ctx, batch); err != nil {
		t.Fatal(err)
	}
	return batch[0].Data
}

// A ClientHello forged in the name of a live peer costs nothing and changes
// nothing: no handshake begins until the cookie has come back (RFC 6347,
// Section 4.2.8 and 4.2.1).
func TestForgedClientHello_RFC6347_4_2_8(t *testing.T) {
	collector, exporter := mutual(t)
	hello := captureHello(t, exporter)
	n := newMemNetwork()
	l := serve(t, n.listen(collectorAddr), collector)
	s := dial(t, memDialer(n, collectorAddr, exporter, addrN(1)))
	got := l.session(t)
	send(t, s, "before")
	expect(t, got, "before")
	for range 10 {
		n.send(s.conn.LocalAddr(), netip.MustParseAddrPort(collectorAddr), hello)
	}
	send(t, s, "after")
	expect(t, got, "after")
	probe(t, s)
	if st := l.Stats(); st.HandshakesStarted != 1 || st.SessionsClosed != 0 {
		t.Errorf("stats %+v", st)
	}
}

// Even an attacker on the path, who knows the cookie and begins a handshake in
// the peer's name, ends nothing: the old association gives way only to a
// completed handshake, and gets its records meanwhile.
func TestPendingBesideLiving_RFC6347_4_2_8(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		collector, exporter := mutual(t)
		collector.HandshakeTimeout = 300 * time.Millisecond
		n := newMemNetwork()
		l := serve(t, n.listen(collectorAddr), collector)
		s := dial(t, memDialer(n, collectorAddr, exporter, addrN(1)))
		got := l.session(t)
		send(t, s, "before")
		expect(t, got, "before")

		hello := captureHello(t, exporter)
		f, h, ok := clientHello(hello)
		if !ok {
			t.Fatal("no hello")
		}
		l.l.mu.Lock()
		k := cookie(l.l.cookies.key[:], s.conn.LocalAddr(), h)
		l.l.mu.Unlock()
		second := withCookie(hello, f, h, k[:])
		n.send(s.conn.LocalAddr(), netip.MustParseAddrPort(collectorAddr), second)
		eventually(t, "the second handshake", func() bool { return l.Stats().HandshakesStarted == 2 })
		for i := range 5 {
			m := fmt.Sprintf("during %d", i)
			send(t, s, m)
			expect(t, got, m)
		}
		eventually(t, "its failure", func() bool { return l.Stats().HandshakesFailed == 1 })
		send(t, s, "after")
		expect(t, got, "after")
		probe(t, s)
		if st := l.Stats(); st.SessionsClosed != 0 || st.Dropped["bad-mac"] != 0 {
			t.Errorf("stats %+v", st)
		}
	})
}

// withCookie is the second ClientHello to a first.
func withCookie(rec []byte, f fragment, h hello, cookie []byte) []byte {
	body := append([]byte(nil), f.body[:h.cookieAt]...)
	body = append(body, byte(len(cookie)))
	body = append(body, cookie...)
	body = append(body, f.body[h.cookieAt+1:]...)
	n := len(body)
	out := append([]byte(nil), rec[:record.HeaderLen]...)
	out[10]++
	binary.BigEndian.PutUint16(out[11:], uint16(handshakeHeaderLen+n))
	out = append(out, typeClientHello, byte(n>>16), byte(n>>8), byte(n), 0, 1, 0, 0, 0, byte(n>>16), byte(n>>8), byte(n))
	return append(out, body...)
}

// An exporter that crashed and comes back on its port is there again at once,
// and only then is its old session closed.
func TestRestartOnSamePort_RFC6347_4_2_8(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		collector, exporter := mutual(t)
		n := newMemNetwork()
		l := serve(t, n.listen(collectorAddr), collector)
		s := dial(t, memDialer(n, collectorAddr, exporter, addrN(1)))
		old := l.session(t)
		send(t, s, "old")
		expect(t, old, "old")
		start := time.Now()
		again := dial(t, memDialer(n, collectorAddr, exporter, addrN(1)))
		if d := time.Since(start); d > DefaultRetransmit {
			t.Errorf("restart took %v", d)
		}
		wait(t, old.closed, "the old session's end")
		send(t, again, "new")
		expect(t, l.session(t), "new")
		if !errors.Is(old.reason, errReplaced) {
			t.Errorf("old session ended with %v", old.reason)
		}
	})
}

// Floods of hellos of forged addresses neither use memory nor shut out a true
// exporter.
func TestHelloFlood(t *testing.T) {
	collector, exporter := mutual(t)
	hello := captureHello(t, exporter)
	n := newMemNetwork()
	l := serve(t, n.listen(collectorAddr), collector)
	for i := range 20000 {
		from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 4000)
		n.send(from, netip.MustParseAddrPort(collectorAddr), hello)
		if i%1000 == 999 {
			want := uint64(i + 1)
			eventually(t, "the reading", func() bool { return l.Stats().DatagramsReceived == want })
		}
	}
	dial(t, memDialer(n, collectorAddr, exporter, addrN(1)))
	l.l.mu.Lock()
	defer l.l.mu.Unlock()
	if len(l.l.peers) != 1 || l.l.stats.HandshakesStarted != 1 {
		t.Errorf("%d peers, %d handshakes", len(l.l.peers), l.l.stats.HandshakesStarted)
	}
}

// Half-open handshakes are bounded in all and for a source network, and end.
func TestHalfOpenLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		collector, exporter := mutual(t)
		collector.MaxHalfOpen, collector.MaxHalfOpenPerPrefix = 6, 4
		hello := captureHello(t, exporter)
		f, h, _ := clientHello(hello)
		n := newMemNetwork()
		l := serve(t, n.listen(collectorAddr), collector)
		begin := func(addr string) {
			from := netip.MustParseAddrPort(addr)
			n.send(from, netip.MustParseAddrPort(collectorAddr), hello)
			synctest.Wait()
			l.l.mu.Lock()
			k := cookie(l.l.cookies.key[:], from, h)
			l.l.mu.Unlock()
			n.send(from, netip.MustParseAddrPort(collectorAddr), withCookie(hello, f, h, k[:]))
			synctest.Wait()
		}
		for i := range 8 {
			begin(fmt.Sprintf("192.0.2.%d:4000", i+1))
		}
		if st := l.Stats(); st.HandshakesStarted != 4 || st.HandshakesLimited != 4 {
			t.Errorf("one network: %d started, %d limited", st.HandshakesStarted, st.HandshakesLimited)
		}
		for i := range 8 {
			begin(fmt.Sprintf("198.51.%d.1:4000", i+1))
		}
		if st := l.Stats(); st.HandshakesStarted != 6 || st.HandshakesLimited != 10 {
			t.Errorf("all: %d started, %d limited", st.HandshakesStarted, st.HandshakesLimited)
		}
		time.Sleep(DefaultHandshakeTimeout + time.Second)
		synctest.Wait()
		l.l.mu.Lock()
		if l.l.half != 0 || len(l.l.peers) != 0 || len(l.l.prefix) != 0 {
			t.Errorf("after the deadline: %d half-open, %d peers", l.l.half, len(l.l.peers))
		}
		l.l.mu.Unlock()
		dial(t, memDialer(n, collectorAddr, exporter, addrN(1)))
		_ = l.stop()
	})
}

// lossy drops, repeats and reorders by chance.
func lossy(seed uint64, loss float64) func(_, _ netip.AddrPort, b []byte) [][]byte {
	rnd := rand.New(rand.NewPCG(seed, 7))
	held := map[netip.AddrPort][][]byte{}
	return func(_, to netip.AddrPort, b []byte) (out [][]byte) {
		switch p := rnd.Float64(); {
		case p < loss:
		case p < loss+0.1:
			held[to] = append(held[to], bytes.Clone(b))
			return nil
		case p < loss+0.2:
			out = append(out, b, b)
		default:
			out = append(out, b)
		}
		out = append(out, held[to]...)
		held[to] = nil
		return out
	}
}

// Handshakes, full and resumed, get through loss, duplication and reordering,
// and the session works even if the last flight had to be repeated.
func TestLossDuringHandshake(t *testing.T) {
	collector, exporter := mutual(t)
	collector.HandshakeTimeout, exporter.HandshakeTimeout = time.Hour, time.Hour
	for seed := range uint64(100) {
		synctest.Test(t, func(t *testing.T) {
			n := newMemNetwork()
			n.setFilter(lossy(seed, 0.3))
			l := serve(t, n.listen(collectorAddr), collector)
			var from []string // a port for each attempt, as sockets have
			for i := range 2 * dialAttempts {
				from = append(from, addrN(1+i))
			}
			d := memDialer(n, collectorAddr, exporter, from...)
			for round := range 2 {
				s, err := d.Dial(t.Context())
				if err != nil {
					t.Fatalf("seed %d, round %d: %v; log %s", seed, round, err, l.log)
				}
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
				if err := s.Probe(ctx); err != nil {
					t.Errorf("seed %d, round %d: probe: %v; resumed %v, stats %+v %+v, log %s", seed, round, err, s.Peer().Resumed, s.Stats(), l.Stats(), l.log)
				}
				cancel()
				_ = s.Close(t.Context())
			}
			_ = l.stop()
		})
	}
}
