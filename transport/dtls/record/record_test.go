package record

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/pion/dtls/v3/pkg/crypto/prf"
	"golang.org/x/crypto/chacha20poly1305"
)

var suites = []Suite{
	ECDHEECDSAAES128GCM, ECDHEECDSAAES256GCM, ECDHERSAAES128GCM, ECDHERSAAES256GCM,
	ECDHERSAChaCha20, ECDHEECDSAChaCha20, PSKAES128GCM, PSKAES256GCM, PSKChaCha20,
	ECDHEPSKChaCha20, ECDHEPSKAES128GCM, ECDHEPSKAES256GCM,
}

func secrets(suite Suite, client bool) Secrets {
	return Secrets{
		Suite: suite, Client: client, Window: 64,
		Master:       bytes.Repeat([]byte{0x11}, 48),
		ClientRandom: bytes.Repeat([]byte{0x22}, 32),
		ServerRandom: bytes.Repeat([]byte{0x33}, 32),
	}
}

// pair is a client's sealer and the server's opener.
func pair(t testing.TB, suite Suite, edit func(client, server *Secrets)) (*Sealer, *Opener) {
	t.Helper()
	c, s := secrets(suite, true), secrets(suite, false)
	if edit != nil {
		edit(&c, &s)
	}
	w, _, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	_, r, err := New(s)
	if err != nil {
		t.Fatal(err)
	}
	return w, r
}

func seal(t testing.TB, w *Sealer, typ Type, content string) []byte {
	t.Helper()
	b, err := w.Seal(nil, typ, []byte(content))
	if err != nil {
		t.Fatal(err)
	}
	if len(b) != len(content)+w.Overhead() {
		t.Fatalf("record of %d octets for %d, overhead %d", len(b), len(content), w.Overhead())
	}
	return b
}

// The expansion must equal an independent implementation of RFC 5246's PRF
// and the published P_SHA256 vector (IETF TLS mailing list, 2008).
func TestKeyExpansion_RFC5246_5(t *testing.T) {
	unhex := func(s string) []byte {
		b, err := hex.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	secret := unhex("9bbe436ba940f017b17652849a71db35")
	seed := append([]byte("test label"), unhex("a0ba9f936cda311827a6f796ffd5198c")...)
	want := unhex("e3f229ba727be17b8d122620557cd453c2aab21d07c3d495329b52d4e61edb5a" +
		"6b301791e90d35c9c9a46b4e14baf9af0fa022f7077def17abfd3797c0564bab" +
		"4fbc91666e9def9b97fce34f796789baa48082d122ee42c5a72e5a5110fff701" +
		"87347b66")
	got := make([]byte, len(want))
	expand(got, secret, seed, sha256.New)
	if !bytes.Equal(got, want) {
		t.Errorf("P_SHA256 = %x", got)
	}
	s := secrets(ECDHEECDSAAES256GCM, true)
	p, _ := s.Suite.parameters()
	keys, err := prf.GenerateEncryptionKeys(s.Master, s.ClientRandom, s.ServerRandom, 0, p.keyLen, p.ivLen, p.hash)
	if err != nil {
		t.Fatal(err)
	}
	got = make([]byte, 2*(p.keyLen+p.ivLen))
	expand(got, s.Master, append(append([]byte("key expansion"), s.ServerRandom...), s.ClientRandom...), p.hash)
	if want := bytes.Join([][]byte{keys.ClientWriteKey, keys.ServerWriteKey, keys.ClientWriteIV, keys.ServerWriteIV}, nil); !bytes.Equal(got, want) {
		t.Errorf("key block differs from pion's")
	}
}

// The records must open with nothing but crypto/cipher and the rules of the
// RFCs, so that both directions cannot be wrong in the same way.
func TestWireForm(t *testing.T) {
	content := []byte("an IPFIX message")
	cid := []byte{1, 2, 3, 4, 5}
	for _, c := range []struct {
		name   string
		suite  Suite
		cid    []byte
		header string
		nonce  func(iv []byte, es uint64) []byte
		aad    string
	}{
		{"AES-GCM, RFC 5288 section 3", ECDHEECDSAAES128GCM, nil,
			"17fefd" + "0001000000000007" + "0028" + "0001000000000007",
			func(iv []byte, es uint64) []byte { return binary.BigEndian.AppendUint64(iv[:4:4], es) },
			"0001000000000007" + "17" + "fefd" + "0010"},
		{"ChaCha20-Poly1305, RFC 7905 section 2", ECDHEECDSAChaCha20, nil,
			"17fefd" + "0001000000000007" + "0020",
			func(iv []byte, es uint64) []byte {
				n := bytes.Clone(iv)
				for i := range 8 {
					n[4+i] ^= byte(es >> (56 - 8*i))
				}
				return n
			},
			"0001000000000007" + "17" + "fefd" + "0010"},
		{"Connection ID, RFC 9146 section 5.3", ECDHEECDSAAES128GCM, cid,
			"19fefd" + "0001000000000007" + "0102030405" + "0029" + "0001000000000007",
			func(iv []byte, es uint64) []byte { return binary.BigEndian.AppendUint64(iv[:4:4], es) },
			"ffffffffffffffff" + "19" + "05" + "19" + "fefd" + "0001000000000007" + "0102030405" + "0011"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := secrets(c.suite, true)
			s.Sequence, s.RemoteCID = 7, c.cid
			w, _, err := New(s)
			if err != nil {
				t.Fatal(err)
			}
			rec, err := w.Seal(nil, ApplicationData, content)
			if err != nil {
				t.Fatal(err)
			}
			header, _ := hex.DecodeString(c.header)
			if !bytes.HasPrefix(rec, header) {
				t.Fatalf("record starts %x, want %x", rec[:len(header)], header)
			}
			p, _ := c.suite.parameters()
			keys, err := prf.GenerateEncryptionKeys(s.Master, s.ClientRandom, s.ServerRandom, 0, p.keyLen, p.ivLen, p.hash)
			if err != nil {
				t.Fatal(err)
			}
			var aead cipher.AEAD
			if p.chacha {
				aead, err = chacha20poly1305.New(keys.ClientWriteKey)
			} else {
				block, _ := aes.NewCipher(keys.ClientWriteKey)
				aead, err = cipher.NewGCM(block)
			}
			if err != nil {
				t.Fatal(err)
			}
			aad, _ := hex.DecodeString(c.aad)
			plain, err := aead.Open(nil, c.nonce(keys.ClientWriteIV, 1<<48|7), rec[len(header):], aad)
			if err != nil {
				t.Fatal(err)
			}
			want := content
			if c.cid != nil {
				want = append(bytes.Clone(content), byte(ApplicationData))
			}
			if !bytes.Equal(plain, want) {
				t.Errorf("plaintext %q", plain)
			}
		})
	}
}

func TestRoundTrip(t *testing.T) {
	for _, suite := range suites {
		for _, cid := range [][]byte{nil, {9, 8, 7, 6, 5, 4, 3, 2}} {
			t.Run(fmt.Sprintf("%v cid %x", suite, cid), func(t *testing.T) {
				w, r := pair(t, suite, func(c, s *Secrets) { c.RemoteCID, s.LocalCID = cid, cid })
				for _, typ := range []Type{Alert, Handshake, ApplicationData, Heartbeat} {
					for _, n := range []int{0, 1, 1400, MaxContent} {
						in := bytes.Repeat([]byte{0xAB}, n)
						rec, err := w.Seal([]byte("before"), typ, in)
						if err != nil {
							t.Fatal(err)
						}
						got, content, err := r.Open(rec[len("before"):])
						if err != nil || got != typ || !bytes.Equal(content, in) {
							t.Fatalf("type %d, %d octets: type %d, %d octets, %v", typ, n, got, len(content), err)
						}
					}
				}
			})
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	cid := []byte{1, 2, 3, 4}
	flip := func(i int) func([]byte) []byte {
		return func(b []byte) []byte { b[(i+len(b))%len(b)] ^= 1; return b }
	}
	for _, c := range []struct {
		name string
		cid  bool
		edit func([]byte) []byte
		want error
	}{
		{"content changed", false, flip(-20), ErrMAC},
		{"tag changed", false, flip(-1), ErrMAC},
		{"type changed", false, func(b []byte) []byte { b[0] = byte(Alert); return b }, ErrMAC},
		{"sequence changed", false, flip(10), ErrMAC},
		{"epoch 0 is plaintext", false, func(b []byte) []byte { b[4] = 0; return b }, ErrEpoch},
		{"epoch 2", false, func(b []byte) []byte { b[4] = 2; return b }, ErrEpoch},
		{"version", false, flip(2), ErrMalformed},
		{"length beyond", false, func(b []byte) []byte { b[12]++; return b }, ErrMalformed},
		{"length short", false, func(b []byte) []byte { b[12]--; return b }, ErrMalformed},
		{"no room for a tag", false, func(b []byte) []byte { b[11], b[12] = 0, 5; return b[:18] }, ErrMalformed},
		{"type 25 without a CID", false, func(b []byte) []byte { b[0] = 25; return b }, ErrMalformed},
		{"empty", false, func(b []byte) []byte { return nil }, ErrMalformed},
		{"other CID", true, flip(12), ErrMalformed},
		{"CID demanded, RFC 9146 section 3", true, func(b []byte) []byte { b[0] = 23; return b }, ErrMalformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, r := pair(t, ECDHEECDSAAES128GCM, func(cs, s *Secrets) {
				if c.cid {
					cs.RemoteCID, s.LocalCID = cid, cid
				}
			})
			rec := c.edit(seal(t, w, ApplicationData, "0123456789abcdef"))
			if _, _, err := r.Open(rec); !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
			if _, _, err := r.Open(seal(t, w, ApplicationData, "next")); err != nil {
				t.Errorf("the next good record: %v", err)
			}
		})
	}
}

// Padding of zeros behind the inner type is cut off (RFC 9146, Section 4); a
// record of nothing but zeros has no type.
func TestInnerPadding_RFC9146_4(t *testing.T) {
	cid := []byte{1, 2}
	w, r := pair(t, PSKAES128GCM, func(c, s *Secrets) { c.RemoteCID, s.LocalCID = cid, cid })
	sealInner := func(inner string) []byte {
		// Seal appends the type itself: give it the tail as its type.
		b, err := w.Seal(nil, Type(inner[len(inner)-1]), []byte(inner[:len(inner)-1]))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	typ, content, err := r.Open(sealInner("ab\x00\x17\x00\x00\x00"))
	if err != nil || typ != ApplicationData || string(content) != "ab\x00" {
		t.Errorf("type %d, content %q, %v", typ, content, err)
	}
	if _, _, err := r.Open(sealInner("\x00\x00\x00")); !errors.Is(err, ErrMalformed) {
		t.Errorf("only zeros: %v", err)
	}
}

func TestSequenceExhausted_RFC6347_4_1(t *testing.T) {
	w, r := pair(t, PSKAES128GCM, func(c, _ *Secrets) { c.Sequence = maxSequence })
	rec := seal(t, w, ApplicationData, "last")
	if _, _, err := r.Open(rec); err != nil {
		t.Fatal(err)
	}
	dst := []byte("kept")
	got, err := w.Seal(dst, ApplicationData, []byte("one too many"))
	if !errors.Is(err, ErrExhausted) || string(got) != "kept" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestSealTooLarge(t *testing.T) {
	w, _ := pair(t, PSKAES128GCM, nil)
	if _, err := w.Seal(nil, ApplicationData, make([]byte, MaxContent+1)); !errors.Is(err, ErrTooLarge) {
		t.Error(err)
	}
	if w.Sequence() != 0 {
		t.Error("a refused record used a sequence number")
	}
}

func TestNewRefuses(t *testing.T) {
	for name, edit := range map[string]func(*Secrets){
		"CBC suite":     func(s *Secrets) { s.Suite = 0xC00A },
		"short master":  func(s *Secrets) { s.Master = s.Master[1:] },
		"no random":     func(s *Secrets) { s.ServerRandom = nil },
		"long CID":      func(s *Secrets) { s.LocalCID = make([]byte, 256) },
		"window":        func(s *Secrets) { s.Window = -1 },
		"window beyond": func(s *Secrets) { s.Window = maxWindow + 1 },
	} {
		s := secrets(PSKAES128GCM, true)
		edit(&s)
		if _, _, err := New(s); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// The window is checked against a set of everything seen: nothing seen is ever
// fresh, nothing unseen within the promised size is ever refused.
func TestReplayWindow_RFC6347_4_1_2_6(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, size := range []int{1, 64, 100, 1024} {
		w, seen := newWindow(size), map[uint64]bool{}
		base := uint64(0)
		for range 200_000 {
			seq := base + rnd.Uint64N(uint64(3*size))
			if rnd.IntN(100) == 0 {
				seq += rnd.Uint64N(uint64(20 * size))
			}
			fresh := w.fresh(seq)
			switch {
			case seen[seq] && fresh:
				t.Fatalf("size %d: replay of %d taken, top %d", size, seq, w.top)
			case !seen[seq] && !fresh && w.top-seq < uint64(size):
				t.Fatalf("size %d: %d refused, top %d", size, seq, w.top)
			}
			if fresh {
				if newest := w.mark(seq); newest != (w.top == seq) {
					t.Fatalf("newest %v of %d, top %d", newest, seq, w.top)
				}
				seen[seq] = true
			}
			if w.top > base+uint64(2*size) {
				base = w.top - uint64(2*size)
			}
		}
	}
}

func TestReplay(t *testing.T) {
	w, r := pair(t, ECDHEECDSAChaCha20, nil)
	first := seal(t, w, ApplicationData, "once")
	if _, _, err := r.Open(bytes.Clone(first)); err != nil {
		t.Fatal(err)
	}
	if !r.Newest() {
		t.Error("the first record is not the newest")
	}
	if _, _, err := r.Open(bytes.Clone(first)); !errors.Is(err, ErrReplayed) {
		t.Errorf("replay: %v", err)
	}
	late := seal(t, w, ApplicationData, "late")
	if _, _, err := r.Open(seal(t, w, ApplicationData, "early")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.Open(late); err != nil || r.Newest() {
		t.Errorf("reordered record: %v, newest %v", err, r.Newest())
	}
	// A forged record of a far sequence number must not move the window.
	forged := bytes.Clone(first)
	forged[6] = 0xFF
	if _, _, err := r.Open(forged); !errors.Is(err, ErrMAC) {
		t.Errorf("forged: %v", err)
	}
	if _, _, err := r.Open(seal(t, w, ApplicationData, "next")); err != nil {
		t.Errorf("after the forgery: %v", err)
	}
}

// DTLS over SCTP runs without replay detection (RFC 6083, Section 4.4).
func TestReplayOff_RFC6083_4_4(t *testing.T) {
	w, r := pair(t, ECDHEECDSAAES128GCM, func(_, s *Secrets) { s.Window = 0 })
	rec := seal(t, w, ApplicationData, "again")
	for range 2 {
		if _, _, err := r.Open(bytes.Clone(rec)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestNext(t *testing.T) {
	w, _ := pair(t, PSKAES128GCM, func(c, _ *Secrets) { c.Sequence = 5 })
	one := seal(t, w, Alert, "xx")
	datagram := append(bytes.Clone(one), seal(t, w, Heartbeat, "yyy")...)
	h, rec, rest, ok := Next(datagram, 0)
	if !ok || h != (Header{Alert, 1, 5}) || !bytes.Equal(rec, one) {
		t.Fatalf("first: %+v %v", h, ok)
	}
	if h, _, rest, ok = Next(rest, 0); !ok || h != (Header{Heartbeat, 1, 6}) || len(rest) != 0 {
		t.Fatalf("second: %+v %v, rest %d", h, ok, len(rest))
	}
	if _, _, _, ok = Next(rest, 0); ok {
		t.Error("a record in an empty rest")
	}
}

func TestAllocations(t *testing.T) {
	for _, suite := range []Suite{ECDHEECDSAAES128GCM, ECDHEECDSAChaCha20} {
		for _, cid := range [][]byte{nil, {1, 2, 3, 4}} {
			w, r := pair(t, suite, func(c, s *Secrets) { c.RemoteCID, s.LocalCID = cid, cid })
			content, buf := make([]byte, 1400), make([]byte, 0, 2048)
			n := testing.AllocsPerRun(100, func() {
				rec, err := w.Seal(buf[:0], ApplicationData, content)
				if err != nil {
					t.Fatal(err)
				}
				if _, _, err = r.Open(rec); err != nil {
					t.Fatal(err)
				}
			})
			if n != 0 {
				t.Errorf("%v cid %x: %v allocations a record", suite, cid, n)
			}
		}
	}
}

// FuzzOpen: no input but a sealed one opens, none panics, none harms the
// records that follow.
func FuzzOpen(f *testing.F) {
	for _, cid := range [][]byte{nil, {1, 2, 3, 4}} {
		w, _ := pair(f, ECDHEECDSAAES128GCM, func(c, _ *Secrets) { c.RemoteCID = cid })
		f.Add(seal(f, w, ApplicationData, "seed"), len(cid) > 0)
	}
	f.Add([]byte{23, 0xFE, 0xFD, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0}, false)
	f.Add([]byte{25, 0xFE, 0xFD, 0, 1, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 0, 0}, true)
	f.Fuzz(func(t *testing.T, b []byte, withCID bool) {
		var cid []byte
		if withCID {
			cid = []byte{1, 2, 3, 4}
		}
		edit := func(c, s *Secrets) { c.RemoteCID, s.LocalCID = cid, cid }
		w, r := pair(t, ECDHEECDSAAES128GCM, edit)
		good := seal(t, w, ApplicationData, "seed")
		in := bytes.Clone(b)
		for rest := b; ; {
			_, rec, next, ok := Next(rest, len(cid))
			if !ok {
				break
			}
			rest = next
			if _, _, err := r.Open(rec); err == nil && !bytes.Equal(in[:len(rec)], good) {
				t.Fatalf("%x opened", in)
			}
		}
		if _, _, err := r.Open(bytes.Clone(good)); err != nil && !errors.Is(err, ErrReplayed) {
			t.Fatalf("good record refused: %v", err)
		}
	})
}
