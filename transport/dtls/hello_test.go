package dtls

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"ipfixsuite/transport/dtls/record"
)

// fragmented is a handshake message as fragments of at most size octets.
func fragmented(typ uint8, seq uint16, body []byte, size int) (out [][]byte) {
	u24 := func(b []byte, v int) []byte { return append(b, byte(v>>16), byte(v>>8), byte(v)) }
	for at := 0; ; at += size {
		n := min(size, len(body)-at)
		b := u24([]byte{typ}, len(body))
		b = binary.BigEndian.AppendUint16(b, seq)
		b = u24(u24(b, at), n)
		out = append(out, append(b, body[at:at+n]...))
		if at+n == len(body) {
			return out
		}
	}
}

// testHello is a ServerHello with the heartbeat extension (mode 2) last.
func testHello() []byte {
	b := append([]byte{0xFE, 0xFD}, bytes.Repeat([]byte{7}, 32)...)
	b = append(b, 2, 'i', 'd', 0xC0, 0x2B, 0)
	return append(b, 0, 9, 0, 23, 0, 0, 0, 15, 0, 1, 2)
}

// Fragments may come in any order, overlap and repeat (RFC 6347, Section 4.2.3).
func TestSniffFragments_RFC6347_4_2_3(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		s := sniffer{client: true}
		parts := append(fragmented(typeServerHello, 1, testHello(), 1+rnd.IntN(20)), fragmented(typeServerHello, 1, testHello(), 1+rnd.IntN(20))...)
		rnd.Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
		for _, p := range parts {
			if s.record(p) == malformed {
				t.Fatalf("fragment %x refused", p)
			}
		}
		if v, ok := s.hello.extension(15); !s.seen || !ok || !bytes.Equal(v, []byte{2}) || string(s.hello.sessionID) != "id" {
			t.Fatalf("hello %+v", s.hello)
		}
		if _, ok := s.hello.extension(16); ok {
			t.Fatal("an extension that is not there")
		}
	}
}

func TestSniffIsBounded(t *testing.T) {
	s := sniffer{client: true}
	for i := range uint16(1000) {
		s.record(fragmented(typeServerHello, i, make([]byte, maxHello), 100)[0])
		s.record(fragmented(typeServerHello, i, make([]byte, maxHello+1), 100)[0])
	}
	if len(s.parts) > maxHelloParts {
		t.Errorf("%d messages kept", len(s.parts))
	}
	r := reassembly{body: make([]byte, maxHello)}
	for i := range maxHello / 2 {
		r.add(fragment{length: maxHello, offset: 2 * i, body: []byte{1}})
	}
	if len(r.have) > 64 {
		t.Errorf("%d slivers kept", len(r.have))
	}
}

func TestSniffRefuses(t *testing.T) {
	for name, b := range map[string][]byte{
		"empty":               {},
		"half a header":       {2, 0, 0},
		"fragment beyond":     {2, 0, 0, 4, 0, 0, 0, 0, 2, 0, 0, 4, 1, 2, 3, 4},
		"longer than record":  {2, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 9, 1},
		"length of 16 M":      {2, 255, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0},
		"HelloRequest":        {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
		"a client's message":  {16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
		"unknown message":     {99, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
		"junk behind a hello": append(fragmented(typeServerHello, 0, testHello(), 999)[0], 1),
	} {
		if s := (sniffer{client: true}); s.record(b) != malformed {
			t.Errorf("%s passes", name)
		}
	}
}

func TestCookies_RFC6347_4_2_1(t *testing.T) {
	_, exporter := mutual(t)
	rec := captureHello(t, exporter)
	f, h, ok := clientHello(rec)
	if !ok {
		t.Fatal("no hello")
	}
	var c cookies
	now := time.Unix(1e9, 0)
	c.turn(now)
	peer := netip.MustParseAddrPort("192.0.2.1:4000")
	out := c.appendVerifyRequest(nil, rec, f, peer, h)
	if len(out) >= len(rec) {
		t.Errorf("an answer of %d octets to %d amplifies", len(out), len(rec))
	}
	if !bytes.Equal(out[3:11], rec[3:11]) {
		t.Error("the answer does not bear the hello's record number")
	}
	h.cookie = bytes.Clone(out[len(out)-cookieLen:])
	check := func(name string, want bool, peer netip.AddrPort, h hello) {
		t.Helper()
		if c.valid(peer, h) != want {
			t.Errorf("%s: valid %v", name, !want)
		}
	}
	check("same client", true, peer, h)
	check("other port", false, netip.MustParseAddrPort("192.0.2.1:4001"), h)
	check("other address", false, netip.MustParseAddrPort("192.0.2.2:4000"), h)
	other := h
	other.random = bytes.Repeat([]byte{1}, 32)
	check("other random", false, peer, other)
	other = h
	other.suites = h.suites[2:]
	check("other suites", false, peer, other)
	other = h
	other.cookie = h.cookie[1:]
	check("short cookie", false, peer, other)
	c.turn(now.Add(cookieLife))
	check("under the next key", true, peer, h)
	c.turn(now.Add(2 * cookieLife))
	check("two keys later", false, peer, h)

	// The first hello is the second without its cookie and with number 0.
	second := withCookie(rec, f, h, h.cookie)
	f2, h2, ok := clientHello(second)
	if !ok || !bytes.Equal(h2.cookie, h.cookie) {
		t.Fatal("second hello")
	}
	first := withoutCookie(second, f2, h2)
	if !bytes.Equal(first[record.HeaderLen:], rec[record.HeaderLen:]) {
		t.Errorf("rebuilt %x\nwant %x", first, rec)
	}
}

func FuzzHello(f *testing.F) {
	f.Add(fragmented(typeServerHello, 1, testHello(), 1000)[0], true)
	f.Add(fragmented(typeServerHello, 1, testHello(), 10)[1], true)
	f.Add(fragmented(typeClientHello, 0, append(append([]byte{0xFE, 0xFD}, make([]byte, 32)...), 0, 0, 0, 2, 0xC0, 0x2B, 1, 0), 1000)[0], false)
	f.Fuzz(func(t *testing.T, b []byte, client bool) {
		s := sniffer{client: client}
		s.record(b)
		for i := range uint16(20) {
			s.hello.extension(i)
		}
		rec := append(make([]byte, record.HeaderLen), b...)
		if fr, h, ok := clientHello(rec); ok {
			again := withoutCookie(rec, fr, h)
			if _, h2, ok := clientHello(again); !ok || len(h2.cookie) != 0 || !bytes.Equal(h2.suites, h.suites) || !bytes.Equal(h2.extensions, h.extensions) {
				t.Fatalf("%x rebuilt as %x", rec, again)
			}
		}
	})
}

// FuzzShim: no datagram makes the shim panic or pass what is no handshake's.
func FuzzShim(f *testing.F) {
	f.Add(plaintext(22, fragmented(typeServerHello, 1, testHello(), 1000)[0]...), true)
	for _, s := range spoofs() {
		f.Add(s.b, false)
	}
	f.Fuzz(func(t *testing.T, b []byte, client bool) {
		s := newShim(client, netip.MustParseAddrPort(collectorAddr), netip.MustParseAddrPort(addrN(1)), new(dropCounters), nil)
		if !client {
			s.cidLen = cidLen
		}
		for out := s.filter(b); len(out) > 0; {
			h, _, rest, ok := record.Next(out, s.cidLen)
			if !ok {
				t.Fatalf("passed %x", out)
			}
			switch h.Type {
			case record.ChangeCipherSpec, record.Handshake, record.Alert, record.ConnectionID:
			default:
				t.Fatalf("passed a record of type %d", h.Type)
			}
			out = rest
		}
	})
}
