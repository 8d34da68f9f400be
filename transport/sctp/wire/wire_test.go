package wire

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"errors"
	"hash"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// RFC 9260, Section 6.8: the checksum covers the packet with its own field
// zero, low octet first.
func TestChecksum_KernelPackets(t *testing.T) {
	for _, s := range []string{udpAuthKey0, udpAuthKey1, udpSACK, udpCookieAck} {
		p := unhex(t, s)
		if !ChecksumOK(p) {
			t.Errorf("%x: checksum is said to be wrong", p)
		}
		want := bytes.Clone(p)
		ClearChecksum(p)
		if ChecksumOK(p) {
			t.Errorf("%x: a checksum of zero passes", p)
		}
		SetChecksum(p)
		if !bytes.Equal(p, want) {
			t.Errorf("checksum\n got %x\nwant %x", p, want)
		}
		p[len(p)-1] ^= 1
		if ChecksumOK(p) {
			t.Errorf("%x: a flipped bit passes", p)
		}
	}
}

func chunksOf(packet []byte) (list []ChunkType, malformed bool) {
	w := WalkChunks(packet)
	var c Chunk
	for w.Next(&c) {
		list = append(list, c.Type)
	}
	return list, w.Malformed()
}

func TestWalkChunks(t *testing.T) {
	head := "1284 9c41 fe4c6610 00000000"
	for _, row := range []struct {
		name, in  string
		want      []ChunkType
		malformed bool
	}{
		{"two", head + "0b000004 0a000006 0102 0000", []ChunkType{CookieAck, CookieEcho}, false},
		{"no padding at the end", head + "0b000004 0a000006 0102", []ChunkType{CookieAck, CookieEcho}, false},
		{"length below header", head + "0b000003", nil, true},
		{"length beyond packet", head + "0b000004 0a000007 0102", []ChunkType{CookieAck}, true},
		{"half a header", head + "0b000004 0a00", []ChunkType{CookieAck}, true},
		{"nothing", head, nil, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := unhex(t, row.in)
			got, malformed := chunksOf(p)
			if d := cmp.Diff(row.want, got); d != "" || malformed != row.malformed {
				t.Errorf("malformed %v\n%s", malformed, d)
			}
			if ok := WellFormed(p); ok != (!row.malformed && len(row.want) > 0) {
				t.Errorf("WellFormed = %v", ok)
			}
		})
	}
}

func TestParseOptions_KernelInit(t *testing.T) {
	p := unhex(t, kernelInit)
	w := WalkChunks(p)
	var c Chunk
	if !w.Next(&c) || c.Type != INIT {
		t.Fatal("no INIT")
	}
	i, ok := ParseInit(c.Value)
	if !ok || i.Tag != 0x49a8f280 || i.Out != 10 || i.In != 10 || i.TSN != 0xa3ef861b || i.Window != 0x1a000 {
		t.Fatalf("%+v", i)
	}
	o, err := ParseOptions(i.Params, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := Options{
		ForwardTSN: true,
		Random:     unhex(t, kernelRandomA),
		ChunkList:  []byte{0, 0xC0},
		HMACs:      []byte{0, 3, 0, 1},
	}
	if d := cmp.Diff(want, o); d != "" {
		t.Error(d)
	}
}

// RFC 9260, Section 3.2.1: what the high bits of an unknown parameter ask for.
func TestParseOptions_UnknownParameters(t *testing.T) {
	forward := "c0000004"
	for _, row := range []struct {
		name, in, reported string
		forward            bool
	}{
		{"00 stop", "00ff0005 01000000" + forward, "", false},
		{"01 stop and report", "40ff0005 01000000" + forward, "40ff0005 01000000", false},
		{"10 skip", "80ff0005 01000000" + forward, "", true},
		{"11 skip and report", "c0ff0005 01000000" + forward, "c0ff0005 01000000", true},
	} {
		o, err := ParseOptions(unhex(t, row.in), nil)
		if err != nil || o.ForwardTSN != row.forward || !bytes.Equal(o.Unrecognized, unhex(t, row.reported)) {
			t.Errorf("%s: %+v, %v", row.name, o, err)
		}
	}
	// What is reported is bounded, whatever the INIT holds.
	long := append(unhex(t, "c0ff0085"), make([]byte, 0x81+3)...)
	if o, err := ParseOptions(long, nil); err != nil || len(o.Unrecognized) != 0 {
		t.Errorf("%d octets reported, %v", len(o.Unrecognized), err)
	}
}

// RFC 4895, Section 6.1: a random number that has not 32 octets is no ground
// for an association; Sections 3.1 to 3.3: each parameter comes once.
func TestParseOptions_AuthParameters(t *testing.T) {
	for name, in := range map[string]string{
		"short random": "80020008 01020304",
		"two randoms":  "80020024" + kernelRandomA + "80020024" + kernelRandomB,
		"two lists":    "80030005 00000000 80030005 00000000",
		"odd HMACs":    "80040005 00000000",
	} {
		if _, err := ParseOptions(unhex(t, in), nil); !errors.Is(err, ErrAuthParams) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := ParseOptions(unhex(t, "80020003"), nil); !errors.Is(err, ErrParams) {
		t.Errorf("length below header: %v", err)
	}
}

// RFC 4895, Sections 6.1 and 6.2: keys and MACs as a Linux kernel computes them.
func TestAssociationKey_KernelMACs(t *testing.T) {
	kernel := func(random string) []byte {
		return AppendKeyVector(nil, unhex(t, random), []byte{0, 0xC0}, []byte{0, 3, 0, 1})
	}
	encapsulated := func(random string) []byte {
		return AppendKeyVector(nil, unhex(t, random), []byte{0, 0xC0}, []byte{0, 1})
	}
	for _, row := range []struct {
		name, packet string
		a, b, shared []byte
		hmac         uint16
		hash         func() hash.Hash
	}{
		{"kernel to kernel, SHA-256, key 0", kernelAuthData, kernel(kernelRandomA), kernel(kernelRandomB), nil, HMACSHA256, sha256.New},
		{"over UDP, SHA-1, key 0", udpAuthKey0, encapsulated(udpRandomA), encapsulated(udpRandomB), nil, HMACSHA1, sha1.New},
		{"over UDP, SHA-1, key 1", udpAuthKey1, encapsulated(udpRandomB), encapsulated(udpRandomA), bytes.Repeat([]byte{0x5a}, 64), HMACSHA1, sha1.New},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := unhex(t, row.packet)
			w := WalkChunks(p)
			var c Chunk
			w.Next(&c)
			a, ok := ParseAuth(&c)
			if !ok || c.Type != Auth || a.HMAC != row.hmac {
				t.Fatalf("%+v", a)
			}
			m := hmac.New(row.hash, AppendAssociationKey(nil, row.shared, row.a, row.b))
			m.Write(AppendAuthHeader(nil, a.Key, a.HMAC, len(a.MAC)))
			m.Write(make([]byte, len(a.MAC)))
			m.Write(w.Rest())
			if got := m.Sum(nil); !bytes.Equal(got, a.MAC) {
				t.Errorf("got %x, the kernel %x", got, a.MAC)
			}
		})
	}
}

// RFC 4895, Section 6.1: vectors are compared as numbers, and of equal numbers
// the shorter comes first.
func TestAssociationKey_Order(t *testing.T) {
	for _, row := range []struct{ a, b, want string }{
		{"02", "0101", "020101"},         // 2 < 257
		{"0002", "01", "010002"},         // 1 < 2
		{"0002", "02", "020002"},         // equal: shorter first
		{"80ff", "8100", "80ff8100"},     // same length
		{"0001", "000001", "0001000001"}, // equal, both with leading zeros
	} {
		for _, pair := range [][2]string{{row.a, row.b}, {row.b, row.a}} {
			got := AppendAssociationKey(nil, nil, unhex(t, pair[0]), unhex(t, pair[1]))
			if want := unhex(t, row.want); !bytes.Equal(got, want) {
				t.Errorf("%v: %x, want %x", pair, got, want)
			}
		}
	}
}

// RFC 4895, Section 3.2: INIT, INIT ACK, SHUTDOWN COMPLETE and AUTH in a list
// are ignored.
func TestChunkSet_IgnoresWhatIsNeverAuthenticated(t *testing.T) {
	var s ChunkSet
	s.Add([]byte{0, 1, 2, 14, 15, 0xC0, 255})
	if d := cmp.Diff([]byte{0, 0xC0, 255}, s.Types()); d != "" {
		t.Error(d)
	}
	if !s.Has(DATA) || s.Has(INIT) || s.Has(SACKChunk) || s.Empty() {
		t.Errorf("%v", s)
	}
}

func TestParseSACK(t *testing.T) {
	s, ok := ParseSACK(unhex(t, "00000064 00001000 0002 0001 0002 0003 0006 0007 00000063"))
	if !ok || s.Cumulative != 100 || s.Window != 4096 || s.Gaps() != 2 {
		t.Fatalf("%+v %v", s, ok)
	}
	if start, end := s.Gap(1); start != 6 || end != 7 {
		t.Errorf("gap %d-%d", start, end)
	}
	for _, bad := range []string{"00000064 00001000 0002 0001 0002 0003", "00000064 00001000 0000 0000 00", "0000"} {
		if _, ok := ParseSACK(unhex(t, bad)); ok {
			t.Errorf("%s passes", bad)
		}
	}
}

func TestFirstCause(t *testing.T) {
	c, info := FirstCause(AppendCause(nil, CauseUserAbort, []byte("bye")))
	if c != CauseUserAbort || string(info) != "bye" {
		t.Errorf("%v %q", c, info)
	}
	if c, _ := FirstCause([]byte{0, 12, 0, 99}); c != 0 {
		t.Errorf("%v of a truncated cause", c)
	}
}

// FuzzPacket: nothing panics, views stay inside the packet, and what is parsed
// is written back as it was.
func FuzzPacket(f *testing.F) {
	for _, s := range []string{kernelInit, kernelAuthData, udpAuthKey1, udpSACK, udpCookieAck} {
		f.Add(unhex(f, s))
	}
	f.Add(unhex(f, "1284 9c41 fe4c6610 00000000 c0000010 00000001 0001 0002 0003 0004 06010008 000c 0004"))
	f.Fuzz(func(t *testing.T, p []byte) {
		h, ok := ParseHeader(p)
		if !ok {
			return
		}
		out := h.Append(nil)
		w := WalkChunks(p)
		var c Chunk
		for w.Next(&c) {
			if len(c.Raw) < ChunkHeaderLen+len(c.Value) {
				t.Fatal("value outside the chunk")
			}
			out = AppendView(out, &c, c.Flags)
			switch c.Type {
			case DATA:
				if d, ok := ParseData(&c); ok {
					if again := d.Append(nil); !bytes.Equal(again[:len(again)-pads(len(d.User))], c.Raw[:ChunkHeaderLen+len(c.Value)]) {
						t.Fatalf("DATA %x became %x", c.Raw, again)
					}
				}
			case INIT, InitAck:
				if i, ok := ParseInit(c.Value); ok {
					o, _ := ParseOptions(i.Params, nil)
					if len(o.Unrecognized) > maxUnrecognized || len(o.Unrecognized)%4 != 0 {
						t.Fatalf("%d octets reported", len(o.Unrecognized))
					}
					if fixed := i.AppendFixed(nil); !bytes.Equal(fixed, c.Value[:initFixed]) {
						t.Fatal("INIT not written as read")
					}
				}
			case SACKChunk:
				if s, ok := ParseSACK(c.Value); ok {
					for g := range s.Gaps() {
						s.Gap(g)
					}
				}
			case ForwardTSN:
				if fw, ok := ParseForward(c.Value); ok {
					for g := range fw.Streams() {
						fw.Stream(g)
					}
				}
			case Auth:
				ParseAuth(&c)
			case Abort, ErrorChunk:
				FirstCause(c.Value)
			case Shutdown:
				ShutdownTSN(c.Value)
			}
		}
		if w.Malformed() == WellFormed(p) {
			t.Fatal("WellFormed and Malformed disagree")
		}
		if !w.Malformed() && (len(out) != Padded(len(p)) || !WellFormed(out)) {
			t.Fatalf("%x became %x", p, out)
		}
	})
}

func pads(n int) int { return Padded(n) - n }

func TestWalk_NoAllocation(t *testing.T) {
	p := unhex(t, udpAuthKey1)
	out := make([]byte, 0, 2048)
	if n := testing.AllocsPerRun(100, func() {
		w := WalkChunks(p)
		var c Chunk
		for w.Next(&c) {
			if d, ok := ParseData(&c); ok && c.Type == DATA {
				out = d.Append(out[:0])
			}
		}
		_ = ChecksumOK(p)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// RFC 9260, Section 3.2: a chunk's length counts the padding between its
// parameters and not that of the last.
func TestEndChunk_LastPadding(t *testing.T) {
	b := BeginChunk(nil, ErrorChunk, 0)
	b = AppendCause(b, 1, []byte{1})
	b = AppendCause(b, 2, []byte{2, 2})
	if got, want := EndChunk(b, 0), unhex(t, "09000012 00010005 01000000 00020006 02020000"); !bytes.Equal(got, want) {
		t.Errorf("got %x, want %x", got, want)
	}
}
