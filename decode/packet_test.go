package decode

import (
	"encoding/binary"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// pcap makes a capture of IP packets without a link layer.
func pcap(packets ...[]byte) []byte {
	b := unhex("d4c3b2a1 0200 0400 00000000 00000000 00000400 65000000")
	for i, p := range packets {
		b = binary.LittleEndian.AppendUint32(b, uint32(1000+i))
		b = binary.LittleEndian.AppendUint32(b, 0)
		b = binary.LittleEndian.AppendUint32(b, uint32(len(p)))
		b = binary.LittleEndian.AppendUint32(b, uint32(len(p)))
		b = append(b, p...)
	}
	return b
}

func ipv4(proto byte, frag uint16, payload []byte) []byte {
	b := []byte{0x45, 0}
	b = binary.BigEndian.AppendUint16(b, uint16(20+len(payload)))
	b = append(b, 0, 9)
	b = binary.BigEndian.AppendUint16(b, frag)
	b = append(b, 64, proto, 0, 0, 192, 0, 2, 1, 192, 0, 2, 99)
	return append(b, payload...)
}

// ports puts source and destination in front; the latter is no usual one.
func ports(src uint16, rest ...byte) []byte {
	return append(binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, src), 7777), rest...)
}

func datagram(src uint16, payload []byte) []byte {
	b := ports(src)
	b = binary.BigEndian.AppendUint16(b, uint16(8+len(payload)))
	return append(append(b, 0, 0), payload...)
}

func udp(src uint16, payload []byte) []byte { return ipv4(17, 0, datagram(src, payload)) }

func fragment(src uint16, offset int, more bool, part []byte) []byte {
	frag := uint16(offset / 8)
	if more {
		frag |= 0x2000
	}
	return ipv4(17, frag, part)
}

func fragment6(offset int, more bool, part []byte) []byte {
	b := []byte{0x60, 0, 0, 0}
	b = binary.BigEndian.AppendUint16(b, uint16(8+len(part)))
	b = append(b, 44, 64)
	b = append(b, unhex("20010db8000000000000000000000001 20010db8000000000000000000000002")...)
	v := uint16(offset)
	if more {
		v |= 1
	}
	b = append(b, 17, 0)
	b = binary.BigEndian.AppendUint16(b, v)
	b = append(b, 0, 0, 0, 7)
	return append(b, part...)
}

func tcp(seq uint32, flags byte, data []byte) []byte {
	b := ports(50000)
	b = binary.BigEndian.AppendUint32(b, seq)
	b = append(b, 0, 0, 0, 0, 0x50, flags, 0xFF, 0xFF, 0, 0, 0, 0)
	return ipv4(6, 0, append(b, data...))
}

func sctp(flags byte, tsn uint32, data []byte) []byte {
	b := ports(9899, 0, 0, 0, 0, 0, 0, 0, 0, 0, flags)
	b = binary.BigEndian.AppendUint16(b, uint16(16+len(data)))
	b = binary.BigEndian.AppendUint32(b, tsn)
	b = append(b, 0, 5, 0, 0, 0, 0, 0, 0)
	b = append(b, data...)
	return ipv4(132, 0, append(b, make([]byte, -len(data)&3)...))
}

func TestRead_Capture(t *testing.T) {
	tmpl, data := message(1, 100, template256), message(1, 101, data256)
	both := slices.Concat(tmpl, data)
	records := []string{"192.0.2.1/1 1@101 256: c000020106", "192.0.2.1/1 1@101 256: c000020211"}
	twice := append(slices.Clone(records), records...)
	whole := datagram(4739, message(1, 101, template256+data256))
	tests := []struct {
		name    string
		packets [][]byte
		want    got
		foreign uint64
	}{
		{"UDP", [][]byte{udp(5000, tmpl), udp(5000, data)}, got{Records: records}, 0},
		{"UDP, sessions are told apart by ports", [][]byte{udp(5000, tmpl), udp(5001, data)}, got{Problems: []string{
			"192.0.2.1: domain 1: template 256 never came, 1 data sets (10 octets) not decoded"}}, 0},
		{"UDP, something else", [][]byte{udp(5000, unhex("000A 0100 0001 0000 0000 0000")), udp(5000, unhex("0009 0100 0001")), udp(5000, nil)}, got{}, 3},
		{"UDP, cut, from one that is known", [][]byte{udp(5000, tmpl), udp(5000, append(data[:len(data):len(data)], data[:9]...)), udp(5000, data[:20])}, got{records, []string{
			"dir/file0: packet 2: octet 30: 9 octets behind the message",
			"dir/file0: packet 3: octet 2: message length: 20 octets of 30: truncated"}}, 0},
		{"UDP, malformed, to the usual port", [][]byte{udp(4739, unhex("000A 0004"))}, got{Problems: []string{
			"dir/file0: packet 1: octet 4: message header: truncated"}}, 0},
		{"UDP, a length that leaves one octet", [][]byte{ipv4(17, 0, unhex("1283 1283 0009 0000 000A 0010"))}, got{}, 1},
		{"IPv4 fragments, out of order, one twice", [][]byte{fragment(0, 24, true, whole[24:32]), fragment(0, 32, false, whole[32:]), fragment(0, 24, true, whole[24:32]), fragment(0, 0, true, whole[:24])},
			got{Records: records}, 0},
		{"IPv4 fragments, one missing", [][]byte{fragment(0, 0, true, whole[:24]), fragment(0, 32, false, whole[32:])}, got{}, 0},
		{"IPv4 fragments, overlapping", [][]byte{fragment(0, 0, true, whole[:32]), fragment(0, 24, false, whole[24:])}, got{}, 0},
		{"IPv6 fragments", [][]byte{fragment6(0, true, whole[:32]), fragment6(32, false, whole[32:])}, got{Records: []string{
			"2001:db8::1/1 1@101 256: c000020106", "2001:db8::1/1 1@101 256: c000020211"}}, 0},

		{"TCP", [][]byte{tcp(9, 0x02, nil), tcp(10, 0x18, both)}, got{Records: records}, 1},
		{"TCP, octet by octet, wrapping", func() (ps [][]byte) {
			ps = append(ps, tcp(0xFFFFFFEF, 0x02, nil))
			for i, c := range both {
				ps = append(ps, tcp(0xFFFFFFF0+uint32(i), 0x18, []byte{c}))
			}
			return ps
		}(), got{Records: records}, 1},
		{"TCP, out of order, sent again, overlapping", [][]byte{tcp(9, 0x02, nil), tcp(40, 0x18, both[30:]), tcp(20, 0x18, both[10:25]), tcp(10, 0x18, both[:10]), tcp(10, 0x18, both[:30]), tcp(10, 0x18, both)},
			got{Records: records}, 1},
		{"TCP, the capture begins later", [][]byte{tcp(500, 0x18, both[7:]), tcp(577, 0x18, both)}, got{Records: records}, 1},
		{"TCP, another protocol", [][]byte{tcp(9, 0x02, nil), tcp(10, 0x18, []byte("GET / HTTP/1.1\r\n")), tcp(26, 0x18, both)}, got{}, 3},
		{"TCP, garbage between messages", [][]byte{tcp(9, 0x02, nil), tcp(10, 0x18, both), tcp(uint32(10+len(both)), 0x18, []byte("garbage")), tcp(uint32(17+len(both)), 0x18, data)},
			got{twice, []string{"dir/file0: packet 3: stream from 192.0.2.1:50000: no IPFIX message header where a message should start"}}, 1},
		{"TCP, ends within a message", [][]byte{tcp(9, 0x02, nil), tcp(10, 0x18, both), tcp(uint32(10+len(both)), 0x19, data[:12])},
			got{records, []string{"dir/file0: packet 3: stream from 192.0.2.1:50000 ends with 12 octets of a message"}}, 1},

		{"SCTP", [][]byte{sctp(3, 1, tmpl), sctp(3, 2, data)}, got{Records: records}, 0},
		{"SCTP, sent again", [][]byte{sctp(3, 1, tmpl), sctp(3, 2, data), sctp(3, 2, data)}, got{Records: records}, 0},
		{"SCTP, fragmented", [][]byte{sctp(3, 1, tmpl), sctp(2, 2, data[:10]), sctp(0, 3, data[10:20]), sctp(1, 4, data[20:])}, got{Records: records}, 0},
		{"SCTP, a fragment missing", [][]byte{sctp(3, 1, tmpl), sctp(2, 2, data[:10]), sctp(1, 4, data[20:]), sctp(3, 5, data)}, got{Records: records}, 0},
		{"SCTP, another protocol", [][]byte{sctp(3, 1, []byte("hello"))}, got{}, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g, st := run(t, pcap(tt.packets...))
			if diff := cmp.Diff(tt.want, g); diff != "" {
				t.Error(diff)
			}
			if st.Foreign != tt.foreign || st.Packets != uint64(len(tt.packets)) {
				t.Errorf("%+v", st)
			}
		})
	}
}

// A capture that is cut gives what is before the cut.
func TestRead_CaptureCut(t *testing.T) {
	in := pcap(udp(5000, message(1, 100, template256+data256)), udp(5000, message(1, 100, data256)))
	g, _ := run(t, in[:len(in)-3])
	if len(g.Records) != 2 || len(g.Problems) != 1 {
		t.Errorf("%+v", g)
	}
}
