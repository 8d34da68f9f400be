package metering

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	eth    = "020000000001 020000000002 "
	ip4udp = "4500001c 00010000 40110000 c0000201 c0000202 " // 28 octets
	udp    = "1234 0035 0008 0000"
	ip6    = "6a100000" // traffic class 0xa1
	addr6  = "20010db8000000000000000000000001 20010db8000000000000000000000002 "
	ip6udp = "6a100000 0008 11 40 " + addr6
)

// TestParse_LinkLayers reads packets written by hand from the RFCs and the
// descriptions of the link types.
func TestParse_LinkLayers(t *testing.T) {
	v4 := Headers{Version: 4, Protocol: 17, SrcPort: 0x1234, DstPort: 53, Octets: 28, Src: [2]uint64{0, 0xc0000201}, Dst: [2]uint64{0, 0xc0000202}}
	v6 := Headers{Version: 6, Protocol: 17, TOS: 0xa1, SrcPort: 0x1234, DstPort: 53, Octets: 48,
		Src: [2]uint64{0x20010db800000000, 1}, Dst: [2]uint64{0x20010db800000000, 2}}
	with := func(h Headers, change func(*Headers)) Headers { change(&h); return h }
	for _, row := range []struct {
		name string
		link LinkType
		in   string
		want Headers
	}{
		{"Ethernet IPv4", LinkEthernet, eth + "0800" + ip4udp + udp, v4},
		{"Ethernet IPv4, padding behind", LinkEthernet, eth + "0800" + ip4udp + udp + "000000000000", v4},
		{"Ethernet IPv6", LinkEthernet, eth + "86dd" + ip6udp + udp, v6},
		{"802.1Q", LinkEthernet, eth + "8100 2064 0800" + ip4udp + udp, with(v4, func(h *Headers) { h.Tags, h.VLAN = 1, 100 })},
		{"802.1ad", LinkEthernet, eth + "88a8 0007 8100 e064 86dd" + ip6udp + udp, with(v6, func(h *Headers) { h.Tags, h.VLAN, h.InnerVLAN = 2, 7, 100 })},
		{"three tags", LinkEthernet, eth + "9100 0001 8100 0002 8100 0003 0800" + ip4udp + udp, with(v4, func(h *Headers) { h.Tags, h.VLAN, h.InnerVLAN = 3, 1, 2 })},
		{"802.3 SNAP", LinkEthernet, eth + "0024 aaaa03000000 0800" + ip4udp + udp, v4},
		{"MPLS, two labels, IPv4", LinkEthernet, eth + "8847 00010040 00011140" + ip4udp + udp, v4},
		{"MPLS, IPv6", LinkEthernet, eth + "8848 00011140" + ip6udp + udp, v6},
		{"PPPoE", LinkEthernet, eth + "8864 1100 0001 001e 0021" + ip4udp + udp, v4},
		{"Linux cooked v1", LinkLinuxSLL, "0000 0001 0006 020000000001 0000 0800" + ip4udp + udp, v4},
		{"Linux cooked v1 with a tag", LinkLinuxSLL, "0000 0001 0006 020000000001 0000 8100 0064 0800" + ip4udp + udp, with(v4, func(h *Headers) { h.Tags, h.VLAN = 1, 100 })},
		{"Linux cooked v2", LinkLinuxSLL2, "86dd 0000 00000007 0001 00 06 0200000000010000" + ip6udp + udp, with(v6, func(h *Headers) { h.Interface = 7 })},
		{"raw IPv4", LinkRaw, ip4udp + udp, v4},
		{"raw IPv6", LinkRaw, ip6udp + udp, v6},
		{"LINKTYPE_IPV4", LinkIPv4, ip4udp + udp, v4},
		{"LINKTYPE_IPV6", LinkIPv6, ip6udp + udp, v6},
		{"BSD null, little-endian", LinkNull, "02000000" + ip4udp + udp, v4},
		{"BSD null, big-endian, Darwin's IPv6", LinkNull, "0000001e" + ip6udp + udp, v6},
		{"OpenBSD loop", LinkLoop, "00000018" + ip6udp + udp, v6},
		{"PPP", LinkPPP, "0021" + ip4udp + udp, v4},
		{"PPP, compressed protocol", LinkPPP, "21" + ip4udp + udp, v4},
		{"PPP in HDLC", LinkPPPHDLC, "ff030057" + ip6udp + udp, v6},
		{"Cisco HDLC", LinkCiscoHDLC, "0f000800" + ip4udp + udp, v4},
	} {
		t.Run(row.name, func(t *testing.T) {
			data := unhex(t, row.in)
			var h Headers
			if v := h.Parse(row.link, data, len(data)); v != Metered {
				t.Fatalf("verdict %v", v)
			}
			if h.End-h.Upper != 8 {
				t.Errorf("payload at %d to %d, want 8 octets", h.Upper, h.End)
			}
			h.Upper, h.End = 0, 0
			if d := cmp.Diff(row.want, h); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestParse_Transport reads what follows the addresses.
func TestParse_Transport(t *testing.T) {
	const a4 = "c0000201 c0000202 "
	type want struct {
		Proto                 uint8
		Sport, Dport, Flags   uint16
		Octets                uint64
		Frag, Later, Truncate bool
		ID                    uint32
	}
	for _, row := range []struct {
		name   string
		in     string
		length int // on the wire; 0: all captured
		want   want
	}{
		{"TCP SYN+ECE+CWR", "45000028 0000 0000 4006 0000" + a4 + "01bb 1234 00000000 00000000 50c2 0000 0000 0000", 0,
			want{Proto: 6, Sport: 443, Dport: 0x1234, Flags: 0xc2, Octets: 40}},
		{"TCP with AE, the ninth bit (RFC 7125)", "45000028 0000 0000 4006 0000" + a4 + "01bb 1234 00000000 00000000 5110 0000 0000 0000", 0,
			want{Proto: 6, Sport: 443, Dport: 0x1234, Flags: 0x110, Octets: 40}},
		{"TCP cut behind the ports", "45000028 0000 0000 4006 0000" + a4 + "01bb 1234 0000", 40,
			want{Proto: 6, Sport: 443, Dport: 0x1234, Octets: 40, Truncate: true}},
		{"TCP cut before the ports", "45000028 0000 0000 4006 0000" + a4 + "01bb", 40, want{Proto: 6, Octets: 40, Truncate: true}},
		{"IPv4 options", "4600002000000000 40110000" + a4 + "94040000" + udp, 0, want{Proto: 17, Sport: 0x1234, Dport: 53, Octets: 32}},
		{"IPv4 options cut", "4600002000000000 40110000" + a4 + "9404", 32, want{Proto: 17, Octets: 32, Truncate: true}},
		{"IPv4, segment before offload: total length 0", "4500000000000000 40110000" + a4 + udp, 70000, want{Proto: 17, Sport: 0x1234, Dport: 53, Octets: 70000}},
		{"IPv4 longer than its frame", "450005dc00000000 40110000" + a4 + udp, 0, want{Proto: 17, Sport: 0x1234, Dport: 53, Octets: 1500, Truncate: true}},
		{"SCTP", "4500002000000000 40840000" + a4 + "0b59 0b5a 00000000 00000000", 0, want{Proto: 132, Sport: 2905, Dport: 2906, Octets: 32}},
		{"DCCP", "4500002400000000 40210000" + a4 + "9fad138b 07008ad701005a0824d1471f", 0, want{Proto: 33, Sport: 0x9fad, Dport: 5003, Octets: 36}},
		{"UDP-Lite", "4500001c00000000 40880000" + a4 + udp, 0, want{Proto: 136, Sport: 0x1234, Dport: 53, Octets: 28}},
		{"ICMP port unreachable", "4500001c00000000 40010000" + a4 + "0303 0000 00000000", 0, want{Proto: 1, Dport: 0x303, Octets: 28}},
		{"GRE has no ports", "4500001c00000000 402f0000" + a4 + "0000 0800 45000000", 0, want{Proto: 47, Octets: 28}},
		{"AH in IPv4 is the protocol", "4500001c00000000 40330000" + a4 + "0604 0000 00000000", 0, want{Proto: 51, Octets: 28}},
		{"first fragment", "4500001c abcd 2000 40110000" + a4 + udp, 0, want{Proto: 17, Sport: 0x1234, Dport: 53, Octets: 28, Frag: true, ID: 0xabcd}},
		{"later fragment", "4500001c abcd 0003 40110000" + a4 + udp, 0, want{Proto: 17, Octets: 28, Frag: true, Later: true, ID: 0xabcd}},
		{"DF is no fragment", "4500001c abcd 4000 40110000" + a4 + udp, 0, want{Proto: 17, Sport: 0x1234, Dport: 53, Octets: 28}},
		{"ICMPv6 echo", "60000000 0008 3a 40" + addr6 + "8000 0000 00010001", 0, want{Proto: 58, Dport: 0x8000, Octets: 48}},
		{"ICMPv6 in IPv4 is no ICMP", "4500001c00000000 403a0000" + a4 + "8000 0000 00000000", 0, want{Proto: 58, Octets: 28}},
		{"hop-by-hop, destination options, routing, AH, TCP", "60000000 004c 00 40" + addr6 +
			"3c 00 010400000000 # hop-by-hop: PadN\n 2b 01 010c000000000000000000000000 # destination options, 16 octets\n" +
			"33 00 00 00 00000000 # routing\n 06 04 0000 00000001 00000001 000000000000000000000000 # AH, 24 octets\n" +
			"0050 c001 00000000 00000000 5012 0000 0000 0000", 0, want{Proto: 6, Sport: 80, Dport: 0xc001, Flags: 0x12, Octets: 116}},
		{"IPv6 first fragment", "60000000 0010 2c 40" + addr6 + "11 00 0001 00000abc" + udp, 0, want{Proto: 17, Sport: 0x1234, Dport: 53, Octets: 56, Frag: true, ID: 0xabc}},
		{"IPv6 later fragment of an option header", "60000000 0010 2c 40" + addr6 + "3c 00 0010 00000abc" + udp, 0, want{Proto: 60, Octets: 56, Frag: true, Later: true, ID: 0xabc}},
		{"IPv6 atomic fragment (RFC 6946)", "60000000 0010 2c 40" + addr6 + "11 00 0000 00000abc" + udp, 0, want{Proto: 17, Sport: 0x1234, Dport: 53, Octets: 56}},
		{"no next header", "60000000 0000 3b 40" + addr6, 0, want{Proto: 59, Octets: 40}},
		{"ESP ends the walk", "60000000 0008 32 40" + addr6 + "0000000100000001", 0, want{Proto: 50, Octets: 48}},
		{"extension header cut", "60000000 0018 3c 40" + addr6 + "1101", 64, want{Proto: 60, Octets: 64, Truncate: true}},
		{"jumbogram (RFC 2675)", "60000000 0000 00 40" + addr6 + "11 00 c204 00012340" + udp, 0x12340 + 40,
			want{Proto: 17, Sport: 0x1234, Dport: 53, Octets: 0x12340 + 40}},
		{"IPv6, segment before offload: payload length 0", "60000000 0000 11 40" + addr6 + udp, 80000, want{Proto: 17, Sport: 0x1234, Dport: 53, Octets: 80000}},
	} {
		t.Run(row.name, func(t *testing.T) {
			data := unhex(t, row.in)
			var h Headers
			if v := h.Parse(LinkRaw, data, max(row.length, len(data))); v != Metered {
				t.Fatalf("verdict %v", v)
			}
			g := want{h.Protocol, h.SrcPort, h.DstPort, h.TCPFlags, h.Octets, h.Fragment, h.Later, h.Truncated, h.FragmentID}
			if d := cmp.Diff(row.want, g); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestParse_Refused(t *testing.T) {
	tags := ""
	for range 9 {
		tags += "8100 0001 "
	}
	labels := ""
	for range 17 {
		labels += "00010040 "
	}
	options := ""
	for range 17 {
		options += "3c 00 010400000000 "
	}
	for _, row := range []struct {
		name string
		link LinkType
		in   string
		want Verdict
	}{
		{"ARP", LinkEthernet, eth + "0806 0001080006040001", NonIP},
		{"LLC", LinkEthernet, eth + "0026 424203000000000000", NonIP},
		{"SNAP of another organisation", LinkEthernet, eth + "0026 aaaa0300000c2000 0000", NonIP},
		{"pseudowire in MPLS", LinkEthernet, eth + "8847 00011140 00000000", NonIP},
		{"PPP LCP", LinkPPP, "c021 01010004", NonIP},
		{"no Ethernet header", LinkEthernet, "0200", Short},
		{"tag cut", LinkEthernet, eth + "8100 00", Short},
		{"label cut", LinkEthernet, eth + "8847 0001", Short},
		{"nine tags", LinkEthernet, eth + tags + "0800", Malformed},
		{"17 labels", LinkEthernet, eth + "8847" + labels, Malformed},
		{"17 extension headers", LinkRaw, "60000000 0100 3c 40" + addr6 + options, Malformed},
		{"IPv4 cut", LinkRaw, "4500001c 0001", Short},
		{"IPv6 cut", LinkRaw, ip6 + "0008 11 40 2001", Short},
		{"IPv4 header of 16 octets", LinkRaw, "4400001c 00010000 40110000 c0000201 c0000202" + udp, Malformed},
		{"IPv4 total length within the header", LinkRaw, "45000010 00010000 40110000 c0000201 c0000202" + udp, Malformed},
		{"version 5", LinkIPv4, "5500001c 00010000 40110000 c0000201 c0000202" + udp, Malformed},
		{"nothing", LinkRaw, "", Short},
		{"USB", 189, "00", UnknownLink},
	} {
		t.Run(row.name, func(t *testing.T) {
			data := unhex(t, row.in)
			var h Headers
			if v := h.Parse(row.link, data, len(data)); v != row.want {
				t.Errorf("verdict %v, want %v", v, row.want)
			}
		})
	}
}

// FuzzParse holds that no packet makes the parser panic or reach beyond the
// data, whatever the link layer, and that a prefix of a packet never tells
// other addresses than the whole.
func FuzzParse(f *testing.F) {
	for _, s := range []string{eth + "0800" + ip4udp + udp, eth + "8100 2064 86dd" + ip6udp + udp, eth + "8847 00011140" + ip6udp + udp,
		eth + "86dd 60000000 0010 2c 40" + addr6 + "11 00 0001 00000abc" + udp, eth + "86dd 60000000 0000 00 40" + addr6 + "11 00 c204 00012340" + udp} {
		f.Add(uint16(LinkEthernet), unhex(f, s), 0)
	}
	f.Add(uint16(LinkLinuxSLL2), unhex(f, "86dd 0000 00000007 0001 00 06 0200000000010000"+ip6udp+udp), 100)
	f.Add(uint16(LinkPPP), unhex(f, "ff030021"+ip4udp+udp), 36)
	f.Add(uint16(LinkNull), unhex(f, "02000000"+ip4udp+udp), 32)
	f.Fuzz(func(t *testing.T, link uint16, data []byte, length int) {
		var whole, part Headers
		length = max(min(length, 1<<30), len(data))
		v := whole.Parse(LinkType(link), data[:len(data):len(data)], length)
		if v == Metered && (whole.Upper < 0 || whole.Upper > whole.End && !whole.Later || whole.End > len(data)) {
			t.Fatalf("upper layer at %d to %d of %d", whole.Upper, whole.End, len(data))
		}
		cut := data[:len(data)*2/3]
		if w := part.Parse(LinkType(link), cut, length); w == Metered && v == Metered && (part.Src != whole.Src || part.Octets != whole.Octets && whole.Octets < 0xffff) {
			t.Fatalf("cut: %+v, whole: %+v", part, whole)
		}
	})
}
