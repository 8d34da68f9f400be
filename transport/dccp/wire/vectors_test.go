package wire

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"testing"
)

// vectors are packets captured between two Linux 6.1 kernels, and between one
// of them and a user-space client; their checksums are the kernels'.
var vectors = []struct {
	name     string
	src, dst string
	hex      string
	want     Packet // without views
	options  string
	data     string
}{
	{
		"Request, IPv4, Linux client", "127.0.0.1", "127.0.0.1",
		"83f6166b0e00f3d5010072d3ff69078b49504658000029060003988f20040102220401020120040200012004040101220406010120040601",
		Packet{SrcPort: 33782, DstPort: 5739, Type: Request, Seq: 126254848739211, Service: 0x49504658},
		"000029060003988f20040102220401020120040200012004040101220406010120040601", "",
	}, {
		"Response, IPv4, Linux server", "127.0.0.1", "127.0.0.1",
		"166b83f615004f770300c27fc5ab7bec000072d3ff69078b4950465800002a080003988f000129060003989221050102022305010202012004020023050200000120040401230504010101220406010120040601",
		Packet{SrcPort: 5739, DstPort: 33782, Type: Response, Seq: 213854032985068, Ack: 126254848739211, Service: 0x49504658},
		"00002a080003988f000129060003989221050102022305010202012004020023050200000120040401230504010101220406010120040601", "",
	}, {
		"Ack, IPv4", "127.0.0.1", "127.0.0.1",
		"83f6166b0d00b76a070072d3ff69078c0000c27fc5ab7bec2a080003989200012305020000230504010123050601012105060101",
		Packet{SrcPort: 33782, DstPort: 5739, Type: Ack, Seq: 126254848739212, Ack: 213854032985068},
		"2a080003989200012305020000230504010123050601012105060101", "",
	}, {
		"Ack with an Ack Vector", "127.0.0.1", "127.0.0.1",
		"166b83f60700d8520700c27fc5ab7bed000072d3ff69078e00260301",
		Packet{SrcPort: 5739, DstPort: 33782, Type: Ack, Seq: 213854032985069, Ack: 126254848739214},
		"00260301", "",
	}, {
		"CloseReq that renegotiates", "127.0.0.1", "127.0.0.1",
		"166b83f60b0076080b00c27fc5ab7bf2000072d3ff6907940000002603012009030000000000322005050001",
		Packet{SrcPort: 5739, DstPort: 33782, Type: CloseReq, Seq: 213854032985074, Ack: 126254848739220},
		"0000002603012009030000000000322005050001", "",
	}, {
		"Reset, Aborted", "127.0.0.1", "127.0.0.1",
		"83f6166b0c006c000f0072d3ff6907950000c27fc5ab7bf2020000000000002603012309030000000000322305050001",
		Packet{SrcPort: 33782, DstPort: 5739, Type: Reset, Seq: 126254848739221, Ack: 213854032985074, Code: ResetAborted},
		"0000002603012309030000000000322305050001", "",
	}, {
		"Reset without a connection", "127.0.0.1", "127.0.0.1",
		"1387a30e0700a1e90f000000000000000000d234ab8a128103000000",
		Packet{SrcPort: 4999, DstPort: 41742, Type: Reset, Ack: 231123658084993, Code: ResetNoConnection},
		"", "",
	}, {
		"Data, odd length", "10.9.0.1", "10.9.0.2",
		"9fa8138b0400ec5f0500218dff95ad0968656c6c6f2031",
		Packet{SrcPort: 40872, DstPort: 5003, Type: Data, Seq: 36893762104585},
		"", "hello 1",
	}, {
		"Close", "10.9.0.1", "10.9.0.2",
		"9fa8138b060055330d00218dff95ad0b00006477aafdf2a6",
		Packet{SrcPort: 40872, DstPort: 5003, Type: Close, Seq: 36893762104587, Ack: 110465132655270},
		"", "",
	}, {
		"DataAck, IPv6, Linux server", "fd00::2", "fd00::1",
		"138e9c6f07008b7b09001a3bb062e195000041a1b6643292002603006563686f2068656c6c6f2030",
		Packet{SrcPort: 5006, DstPort: 40047, Type: DataAck, Seq: 28843664662933, Ack: 72162805559954},
		"00260300", "echo hello 0",
	}, {
		"Reset, Closed, IPv6", "fd00::2", "fd00::1",
		"138e9c6f0c0005830f001a3bb062e198000041a1b6643296010000000000002603012009030000000000322005050001",
		Packet{SrcPort: 5006, DstPort: 40047, Type: Reset, Seq: 28843664662936, Ack: 72162805559958, Code: ResetClosed},
		"0000002603012009030000000000322005050001", "",
	},
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// bare is p without its views, for comparison.
func bare(p Packet) Packet {
	p.Options, p.Data = nil, nil
	return p
}

func same(a, b Packet) bool {
	if !bytes.Equal(a.Options, b.Options) || !bytes.Equal(a.Data, b.Data) {
		return false
	}
	a, b = bare(a), bare(b)
	return a.SrcPort == b.SrcPort && a.DstPort == b.DstPort && a.Type == b.Type && a.CCVal == b.CCVal &&
		a.CsCov == b.CsCov && a.Short == b.Short && a.Seq == b.Seq && a.Ack == b.Ack && a.Service == b.Service &&
		a.Code == b.Code && a.ResetData == b.ResetData
}

func TestKernelPackets(t *testing.T) {
	for _, v := range vectors {
		t.Run(v.name, func(t *testing.T) {
			b := unhex(t, v.hex)
			src, dst := netip.MustParseAddr(v.src), netip.MustParseAddr(v.dst)
			var p Packet
			if err := p.Parse(b); err != nil {
				t.Fatal(err)
			}
			want := v.want
			want.Options, want.Data = unhex(t, v.options), []byte(v.data)
			if !same(p, want) {
				t.Errorf("got  %+v\nwant %+v", p, want)
			}
			if err := VerifyChecksum(b, src, dst); err != nil {
				t.Error(err)
			}
			if VerifyChecksum(b, src, netip.MustParseAddr("10.9.9.9")) == nil {
				t.Error("checksum holds for another address")
			}
			again, err := p.AppendBinary(nil)
			if err != nil {
				t.Fatal(err)
			}
			SetChecksum(again, src, dst)
			if !bytes.Equal(again, b) {
				t.Errorf("made again  %x\nwas         %x", again, b)
			}
			for r := ReadOptions(p.Options); ; {
				if !r.Next() {
					if r.Err() != nil {
						t.Error(r.Err())
					}
					break
				}
			}
		})
	}
}

// The Request of a Linux client, option by option.
func TestKernelRequestOptions(t *testing.T) {
	var p Packet
	if err := p.Parse(unhex(t, vectors[0].hex)); err != nil {
		t.Fatal(err)
	}
	want := []Option{
		{OptTimestamp, false, []byte{0, 3, 0x98, 0x8f}},
		{OptChangeL, false, []byte{1, 2}},
		{OptChangeR, false, []byte{1, 2}},
		{OptChangeL, true, []byte{2, 0}},
		{OptChangeL, true, []byte{4, 1}},
		{OptChangeR, true, []byte{6, 1}},
		{OptChangeL, true, []byte{6, 1}},
	}
	r := ReadOptions(p.Options)
	for i, w := range want {
		if !r.Next() {
			t.Fatalf("ended before option %d: %v", i, r.Err())
		}
		if o := r.Option; o.Type != w.Type || o.Mandatory != w.Mandatory || !bytes.Equal(o.Data, w.Data) {
			t.Errorf("option %d is %+v, want %+v", i, o, w)
		}
	}
	if r.Next() || r.Err() != nil {
		t.Errorf("then %+v, %v", r.Option, r.Err())
	}
}
