package wire

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// vectors are written by hand from spec.md.
var vectors = []struct {
	name, in string
	want     Packet
}{
	{"request", `01 001f 0007 00100000 00003ff7
		0009 3139322e302e322e31 c350
		0001 63 1284`, Packet{Type: OpenRequest, Sender: 7, Window: 1 << 20, MaxPacket: 16375,
		Source: Address{[]byte("192.0.2.1"), 50000}, Destination: Address{[]byte("c"), 4740}}},
	{"success", "02 000f 0007 8001 00010000 00001000", Packet{Type: OpenSuccess, Sender: 7, Receiver: 0x8001, Window: 65536, MaxPacket: 4096}},
	{"failure", "03 0009 0007 0002 6e6f", Packet{Type: OpenFailure, Sender: 7, Text: []byte("no")}},
	{"failure without a word", "03 0007 ffff 0000", Packet{Type: OpenFailure, Sender: 0xffff, Text: []byte{}}},
	{"close", "04 0007 00078001", Packet{Type: CloseRequest, ID: MakeID(7, 0x8001)}},
	{"close confirmed", "05 0007 00078001", Packet{Type: CloseConfirmation, ID: MakeID(7, 0x8001)}},
	{"data", "06 00000003 00078001 616263", Packet{Type: Data, ID: MakeID(7, 0x8001), Data: []byte("abc")}},
	{"no data", "06 00000000 00078001", Packet{Type: Data, ID: MakeID(7, 0x8001), Data: []byte{}}},
	{"new maximum", "07 000b 00078001 00000400", Packet{Type: NewMaxPacket, ID: MakeID(7, 0x8001), MaxPacket: 1024}},
	{"acknowledgment", "08 000b 00078001 0000ffff", Packet{Type: Acknowledgment, ID: MakeID(7, 0x8001), Window: 65535}},
}

func octets(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestVectors(t *testing.T) {
	for _, v := range vectors {
		t.Run(v.name, func(t *testing.T) {
			b := octets(t, v.in)
			var got Packet
			n, err := Next(append(bytes.Clone(b), 0xff), &got)
			if err != nil || n != len(b) {
				t.Fatalf("%d octets used of %d: %v", n, len(b), err)
			}
			if d := cmp.Diff(v.want, got); d != "" {
				t.Error(d)
			}
			out, err := v.want.AppendBinary([]byte{1})
			if err != nil || !bytes.Equal(out[1:], b) {
				t.Errorf("coded as % x: %v", out[1:], err)
			}
			for i := range b {
				if _, err := Next(b[:i], &got); !errors.Is(err, ErrShort) {
					t.Errorf("%d of %d octets: %v", i, len(b), err)
				}
			}
		})
	}
}

func TestBad(t *testing.T) {
	for _, row := range []struct{ name, in, want string }{
		{"type 0", "00 0003", "type 0 of length 3: no such type"},
		{"length within the header", "04 0002 00078001", "ChannelCloseRequest of length 2: shorter than its header"},
		{"close with more", "04 0008 00078001 00", "ChannelCloseRequest of length 8: not 7"},
		{"success too short", "02 000e 0007 8001 00010000 000010", "not 15"},
		{"request without addresses", "01 000d 0007 00100000 00003ff7", "its addresses do not fill it"},
		{"request with an empty host", "01 0015 0007 00100000 00003ff7 0000 0001 0000 0002", "its addresses do not fill it"},
		{"host beyond the packet", "01 0015 0007 00100000 00003ff7 0100 63 0001 0001 63", "its addresses do not fill it"},
		{"more than the addresses", "01 0018 0007 00100000 00003ff7 0001 63 0001 0001 63 0001 00", "its addresses do not fill it"},
		{"text longer than the packet", "03 0009 0007 0003 6e6f", "its text does not fill it"},
		{"text shorter than the packet", "03 0009 0007 0001 6e6f", "its text does not fill it"},
	} {
		t.Run(row.name, func(t *testing.T) {
			var p Packet
			_, err := Next(octets(t, row.in), &p)
			if _, ok := errors.AsType[*SyncError](err); !ok || !strings.Contains(err.Error(), row.want) {
				t.Errorf("got %v, want %q", err, row.want)
			}
		})
	}
	var p Packet
	_, err := Next(octets(t, "06 00010001 00078001"), &p)
	if e, ok := errors.AsType[*TooLongError](err); !ok || e.ID != MakeID(7, 0x8001) || e.Length != 65537 {
		t.Errorf("too long: %v", err)
	}
	if n, err := Next(octets(t, "09 0005 ffff 06"), &p); n != 5 || err != nil || p.Type != 9 {
		t.Errorf("unknown type: %d, %v, %v", n, p.Type, err)
	}
	for _, p := range []Packet{{Type: 9}, {Type: OpenRequest}, {Type: Data, Data: make([]byte, MaxData+1)},
		{Type: OpenRequest, Source: Address{make([]byte, 256), 1}, Destination: Address{[]byte("x"), 1}}} {
		if b, err := p.AppendBinary([]byte("x")); err == nil || string(b) != "x" {
			t.Errorf("%v: %q, %v", p.Type, b, err)
		}
	}
}

// What decodes codes to the same octets.
func FuzzNext(f *testing.F) {
	for _, v := range vectors {
		f.Add(octets(f, v.in))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for {
			var p Packet
			n, err := Next(b, &p)
			if err != nil {
				return
			}
			if n <= 0 || n > len(b) {
				t.Fatalf("%d octets used of %d", n, len(b))
			}
			out, err := p.AppendBinary(nil)
			long := len(p.Text) > MaxError || len(p.Source.Host) > MaxAddress || len(p.Destination.Host) > MaxAddress
			if p.Type <= Acknowledgment && !long && (err != nil || !bytes.Equal(out, b[:n])) {
				t.Fatalf("% x coded as % x: %v", b[:n], out, err)
			}
			b = b[n:]
		}
	})
}
