package wire

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
)

// RFC 4340, Section 8.5, Step 1: what fails is dropped.
func TestStep1HeaderBasics(t *testing.T) {
	ack := unhex(t, "9fa8138b0b00fcc90700218dff95ad0600006477aafdf2a32305020000230504010121050601012305060101")
	data := unhex(t, "9fa8138b0400ec5f0500218dff95ad0968656c6c6f2031")
	with := func(b []byte, at int, v byte) []byte {
		c := bytes.Clone(b)
		c[at] = v
		return c
	}
	tests := []struct {
		name string
		in   []byte
		want *ParseError
	}{
		{"shorter than 12 octets", ack[:11], errShort},
		{"empty", nil, errShort},
		{"reserved type 11", with(ack, 8, 11<<1|1), errType},
		{"reserved type 15", with(ack, 8, 15<<1|1), errType},
		{"data offset inside the fixed header", with(ack, 4, 5), errOffset},
		{"data offset zero", with(ack, 4, 0), errOffset},
		{"data offset beyond the packet", with(ack, 4, 12), errOverrun},
		{"header cut off", ack[:20], errOverrun},
		{"Request with X=0", with(ack, 8, byte(Request)<<1), errX},
		{"Sync with X=0", with(ack, 8, byte(Sync)<<1), errX},
		{"coverage of more data than there is", with(data, 5, 3), errCoverage},
		{"coverage of all the data that fits", with(data, 5, 2), nil},
		{"reserved bits set", with(with(data, 8, data[8]|0xe0), 9, 0xff), nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var p Packet
			err := p.Parse(test.in)
			if test.want == nil {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if !errors.Is(err, test.want) {
				t.Fatalf("got %v, want %v", err, test.want)
			}
			var pe *ParseError
			if !errors.As(err, &pe) || pe.Unwrap() == nil || !strings.Contains(err.Error(), pe.Field) {
				t.Errorf("error %v", err)
			}
		})
	}
}

// random is a packet of any kind.
func random(r *rand.Rand) Packet {
	p := Packet{
		SrcPort: uint16(r.Uint32()), DstPort: uint16(r.Uint32()), Type: Type(r.IntN(int(Listen) + 1)),
		CCVal: uint8(r.IntN(16)), Seq: MakeSeq(r.Uint64()),
		Options: make([]byte, 4*r.IntN(20)), Data: make([]byte, r.IntN(200)),
	}
	for i := range p.Options {
		p.Options[i] = byte(r.Uint32())
	}
	for i := range p.Data {
		p.Data[i] = byte(r.Uint32())
	}
	if p.Type.MayBeShort() && r.IntN(2) == 0 {
		p.Short = true
		p.Seq &= shortMask
	}
	if p.Type.HasAck() {
		p.Ack = MakeSeq(r.Uint64())
		if p.Short {
			p.Ack &= shortMask
		}
	}
	switch p.Type {
	case Request, Response, Listen:
		p.Service = ServiceCode(r.Uint32())
	case Reset:
		p.Code, p.ResetData = ResetCode(r.Uint32()), [3]byte{1, 2, byte(r.Uint32())}
	}
	p.CsCov = uint8(r.IntN(min(16, len(p.Data)/4+2)))
	return p
}

func TestPacketsComeBack(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	a4, b4 := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("198.51.100.7")
	a6, b6 := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")
	for range 20000 {
		p := random(r)
		b, err := p.AppendBinary([]byte("before"))
		if err != nil {
			t.Fatalf("%+v: %v", p, err)
		}
		b = b[len("before"):]
		for _, at := range [][2]netip.Addr{{a4, b4}, {a6, b6}} {
			SetChecksum(b, at[0], at[1])
			if err := VerifyChecksum(b, at[0], at[1]); err != nil {
				t.Fatalf("%+v: %v", p, err)
			}
		}
		var q Packet
		if err := q.Parse(b); err != nil {
			t.Fatalf("%+v: %v", p, err)
		}
		if !same(p, q) {
			t.Fatalf("sent %+v\ngot  %+v", p, q)
		}
		// One bit wrong in what is covered is found; beyond it is not looked
		// at (RFC 4340, Section 9.2).
		bit := r.IntN(8 * len(b))
		b[bit/8] ^= 1 << (bit % 8)
		err = VerifyChecksum(b, a6, b6)
		header := p.FixedLen() + len(p.Options)
		if bit/8 >= header && p.CsCov > 0 && bit/8 >= header+int(p.CsCov-1)*4 {
			if err != nil {
				t.Fatalf("coverage %d: a bit at %d of %d mattered", p.CsCov, bit/8, len(b))
			}
		} else if bit/8 != 4 && bit/8 != 5 && err == nil {
			t.Fatalf("coverage %d: a wrong bit at %d of %d passed", p.CsCov, bit/8, len(b))
		}
	}
}

// The checksum against a plain reading of RFC 4340, Section 9.1.
func TestChecksumAgainstPlainSum(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 5000 {
		p := random(r)
		b, err := p.AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		var raw [32]byte
		for i := range raw {
			raw[i] = byte(r.Uint32()) | 1 // never an IPv4-mapped address
		}
		src, dst := netip.AddrFrom16([16]byte(raw[:16])), netip.AddrFrom16([16]byte(raw[16:]))
		pseudo := raw[:]
		if r.IntN(2) == 0 {
			src, dst = netip.AddrFrom4([4]byte(raw[:4])), netip.AddrFrom4([4]byte(raw[16:20]))
			pseudo = append(bytes.Clone(raw[:4]), raw[16:20]...)
		}
		SetChecksum(b, src, dst)
		covered := len(b)
		if p.CsCov > 0 {
			covered = p.FixedLen() + len(p.Options) + int(p.CsCov-1)*4
		}
		all := append(bytes.Clone(pseudo), 0, Protocol, byte(len(b)>>8), byte(len(b)))
		all = append(all, b[:covered]...)
		if len(all)%2 == 1 {
			all = append(all, 0)
		}
		s := uint32(0)
		for i := 0; i < len(all); i += 2 {
			s += uint32(all[i])<<8 | uint32(all[i+1])
			s = s&0xffff + s>>16
		}
		if s != 0xffff {
			t.Fatalf("%+v: sum is %#x", p, s)
		}
	}
	SetChecksum(nil, netip.Addr{}, netip.Addr{})
	if VerifyChecksum(make([]byte, 5), netip.Addr{}, netip.Addr{}) == nil {
		t.Error("five octets have a good checksum")
	}
}

func TestAppendRefuses(t *testing.T) {
	for _, p := range []Packet{
		{Type: Listen + 1}, {Type: Sync, Short: true}, {Type: Data, CCVal: 16}, {Type: Data, CsCov: 16},
		{Type: Data, CsCov: 2}, {Type: Data, Data: make([]byte, MaxPacket-15)},
	} {
		if b, err := p.AppendBinary(nil); !errors.Is(err, ErrUnsendable) || len(b) > 0 {
			t.Errorf("%+v: %x, %v", p.Type, b, err)
		}
	}
	p := Packet{Type: Ack, Options: make([]byte, MaxHeader-DataAckHeader)}
	if _, err := p.AppendBinary(nil); err != nil {
		t.Error(err)
	}
	p.Options = make([]byte, MaxHeader-DataAckHeader+1)
	if _, err := p.AppendBinary(nil); !errors.Is(err, ErrOptionsTooLong) {
		t.Error(err)
	}
	// Options are padded with zeros, which are Padding.
	p.Options = []byte{byte(OptSlowReceiver)}
	b, _ := p.AppendBinary(nil)
	if len(b) != DataAckHeader+4 || !bytes.Equal(b[DataAckHeader:], []byte{2, 0, 0, 0}) {
		t.Errorf("%x", b)
	}
}

func TestPacketAllocatesNothing(t *testing.T) {
	b := unhex(t, vectors[9].hex)
	src, dst := netip.MustParseAddr("fd00::2"), netip.MustParseAddr("fd00::1")
	out := make([]byte, 0, 100)
	var p Packet
	n := testing.AllocsPerRun(100, func() {
		if p.Parse(b) != nil || VerifyChecksum(b, src, dst) != nil {
			t.Fatal("not read")
		}
		for r := ReadOptions(p.Options); r.Next(); {
			runs := NewAckRuns(p.Ack)
			for runs.Feed(r.Option.Data); runs.Next(); {
				_ = runs.Run
			}
		}
		out, _ = p.AppendBinary(out[:0])
		SetChecksum(out, src, dst)
	})
	bad := b[:20]
	n += testing.AllocsPerRun(100, func() { _ = p.Parse(bad) })
	if n != 0 {
		t.Errorf("%v allocations a packet", n)
	}
}

func FuzzPacket(f *testing.F) {
	for _, v := range vectors {
		f.Add(unhex(f, v.hex))
	}
	r := rand.New(rand.NewPCG(5, 6))
	for range 50 {
		p := random(r)
		b, _ := p.AppendBinary(nil)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var p, q Packet
		if p.Parse(b) != nil {
			return
		}
		again, err := p.AppendBinary(nil)
		if err != nil {
			t.Fatalf("cannot make %+v again: %v", p, err)
		}
		if err := q.Parse(again); err != nil || !same(p, q) {
			t.Fatalf("%v\n%+v\n%+v", err, p, q)
		}
		if len(again) != len(b) {
			t.Fatalf("%d octets became %d", len(b), len(again))
		}
		walk(t, p.Options)
	})
}

func BenchmarkPacket(b *testing.B) {
	p := Packet{SrcPort: 1, DstPort: 2, Type: DataAck, Seq: 3, Ack: 4, Options: []byte{38, 3, 5, 0}, Data: make([]byte, 1400)}
	in, _ := p.AppendBinary(nil)
	src, dst := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	SetChecksum(in, src, dst)
	b.Run("parse", func(b *testing.B) {
		b.ReportAllocs()
		var q Packet
		for b.Loop() {
			_ = q.Parse(in)
		}
	})
	b.Run("append", func(b *testing.B) {
		b.ReportAllocs()
		out := make([]byte, 0, 2000)
		for b.Loop() {
			out, _ = p.AppendBinary(out[:0])
		}
	})
	b.Run("checksum", func(b *testing.B) {
		b.SetBytes(int64(len(in)))
		for b.Loop() {
			_ = VerifyChecksum(in, src, dst)
		}
	})
}
