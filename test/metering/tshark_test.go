package metering

import (
	"bufio"
	"net/netip"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipfixsuite/metering"
)

// fields are what tshark tells of a packet; of a packet within an ICMP error
// only the outer one is asked for (occurrence=f).
var fields = []string{
	"ip.src", "ip.dst", "ip.len", "ip.proto", "ip.id", "ip.frag_offset",
	"ipv6.src", "ipv6.dst", "ipv6.plen", "ipv6.nxt", "ipv6.fraghdr.nxt", "ipv6.fraghdr.ident", "ipv6.fraghdr.offset",
	"tcp.srcport", "tcp.dstport", "udp.srcport", "udp.dstport", "icmp.type", "icmp.code", "icmpv6.type", "icmpv6.code",
}

// tshark adds up a capture by 5-tuple. Its own conversation statistics round
// octets to kB and count the link layer, so its fields are added up instead.
func tshark(t *testing.T, path string) ledger {
	args := []string{"-r", path, "-n", "-o", "ip.defragment:FALSE", "-o", "ipv6.defragment:FALSE", "-T", "fields", "-E", "occurrence=f", "-E", "separator=,"}
	for _, f := range fields {
		args = append(args, "-e", f)
	}
	out, err := exec.CommandContext(t.Context(), "tshark", args...).Output()
	if err != nil {
		t.Fatal(err)
	}
	l := ledger{}
	firsts := map[string]tuple{}
	for s := bufio.NewScanner(strings.NewReader(string(out))); s.Scan(); {
		v := map[string]string{}
		for i, text := range strings.Split(s.Text(), ",") {
			v[fields[i]] = text
		}
		num := func(name string) uint64 {
			n, _ := strconv.ParseUint(v[name], 0, 64)
			return n
		}
		var k tuple
		var octets, offset uint64
		var id string
		switch {
		case v["ip.src"] != "":
			k.Src, k.Dst = netip.MustParseAddr(v["ip.src"]), netip.MustParseAddr(v["ip.dst"])
			octets, k.Proto = num("ip.len"), uint8(num("ip.proto"))
			offset, id = num("ip.frag_offset"), v["ip.id"]
		case v["ipv6.src"] != "":
			k.Src, k.Dst = netip.MustParseAddr(v["ipv6.src"]), netip.MustParseAddr(v["ipv6.dst"])
			octets, k.Proto = num("ipv6.plen")+40, uint8(num("ipv6.nxt"))
			if v["ipv6.fraghdr.nxt"] != "" {
				k.Proto = uint8(num("ipv6.fraghdr.nxt"))
			}
			if k.Proto == 0 && v["icmpv6.type"] != "" {
				k.Proto = 58 // behind hop-by-hop options
			}
			offset, id = num("ipv6.fraghdr.offset"), v["ipv6.fraghdr.ident"]
		default:
			continue
		}
		datagram := k.Src.String() + k.Dst.String() + id
		switch {
		case offset != 0:
			k = firsts[datagram]
		case k.Proto == 6:
			k.Sport, k.Dport = uint16(num("tcp.srcport")), uint16(num("tcp.dstport"))
		case k.Proto == 17:
			k.Sport, k.Dport = uint16(num("udp.srcport")), uint16(num("udp.dstport"))
		case k.Proto == 1:
			k.Dport = uint16(num("icmp.type")<<8 | num("icmp.code"))
		case k.Proto == 58:
			k.Dport = uint16(num("icmpv6.type")<<8 | num("icmpv6.code"))
		}
		if offset == 0 {
			firsts[datagram] = k
		}
		l.add(k, 1, octets)
	}
	return l
}

// TestTshark: packets and octets of every 5-tuple equal tshark's, to the
// last one, as uniflows and biflows, whatever the timeouts.
func TestTshark(t *testing.T) {
	need(t, "tshark")
	want := tshark(t, mixed)
	for name, cfg := range map[string]metering.Config{
		"uniflow":        {},
		"biflow":         {Biflow: true},
		"short timeouts": {ActiveTimeout: 50 * time.Millisecond, IdleTimeout: 20 * time.Millisecond, Biflow: true},
		"few flows":      {MaxFlows: 5},
	} {
		t.Run(name, func(t *testing.T) {
			b, s := meter(t, mixed, cfg)
			if d := cmp.Diff(want, b.ledger, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" {
				t.Errorf("%.2000s", d)
			}
			sum := b.ledger.sum()
			t.Logf("%d records, %d tuples, %d packets, %d octets; ignored %v, fragments %d (%d unmatched)",
				b.records, len(b.ledger), sum.Packets, sum.Octets, s.Ignored, s.Fragments, s.FragmentsUnmatched)
			if s.Packets != 4917 || s.Packets != sum.Packets+s.IgnoredPackets() || s.Octets != sum.Octets || s.FragmentsUnmatched != 0 {
				t.Errorf("%+v", s)
			}
		})
	}
}
