package interop

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"
)

func num(t *testing.T, s string) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(strings.TrimSpace(s), 0, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// set puts one named value into the flow; names are IANA's.
func (f *flow) set(t *testing.T, name, value string) {
	t.Helper()
	switch name {
	case "sourceIPv4Address", "sourceIPv6Address":
		f.Src = netip.MustParseAddr(value)
	case "destinationIPv4Address", "destinationIPv6Address":
		f.Dst = netip.MustParseAddr(value)
	case "sourceTransportPort":
		f.SrcPort = uint16(num(t, value))
	case "destinationTransportPort":
		f.DstPort = uint16(num(t, value))
	case "protocolIdentifier":
		f.Proto = uint8(num(t, value))
	case "ipClassOfService":
		f.ToS = uint8(num(t, value))
	case "tcpControlBits":
		f.Flags = uint16(num(t, value))
	case "octetDeltaCount":
		f.Octets = num(t, value)
	case "packetDeltaCount":
		f.Packets = num(t, value)
	case "ingressInterface":
		f.In = uint32(num(t, value))
	case "egressInterface":
		f.Out = uint32(num(t, value))
	case "flowStartMilliseconds":
		f.Start = day(t, value)
	case "flowEndMilliseconds":
		f.End = day(t, value)
	}
}

func day(t *testing.T, s string) time.Time {
	t.Helper()
	at, err := time.ParseInLocation("2006-01-02 15:04:05.000", s, time.UTC)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// fromIpfixDump reads the text of libfixbuf's ipfixDump: below a line "data
// record" one line a field, its name before the colon.
func fromIpfixDump(t *testing.T, out []byte) []flow {
	t.Helper()
	var all []flow
	in := false
	for s := bufio.NewScanner(bytes.NewReader(out)); s.Scan(); {
		line := s.Text()
		if strings.HasPrefix(line, "--- ") {
			if in = strings.HasPrefix(line, "--- data record"); in {
				all = append(all, flow{})
			}
			continue
		}
		name, value, ok := strings.Cut(strings.TrimSpace(line), ":")
		if in && ok {
			_, name, _ = strings.Cut(name, ")") // "(8)   sourceIPv4Address"
			all[len(all)-1].set(t, strings.TrimSpace(name), strings.TrimSpace(value))
		}
	}
	return flowsOnly(all)
}

// flowsOnly leaves out the records of Options Templates.
func flowsOnly(all []flow) []flow {
	var flows []flow
	for _, f := range all {
		if f.SrcPort != 0 {
			flows = append(flows, f)
		}
	}
	return flows
}

// fromNfdump reads nfdump's JSON.
func fromNfdump(t *testing.T, out []byte) []flow {
	t.Helper()
	text := strings.TrimSpace(string(out))
	if !strings.HasPrefix(text, "[") {
		text = "[" + text + "]"
	}
	var rows []struct {
		First, Last string
		Src4        string `json:"src4_addr"`
		Dst4        string `json:"dst4_addr"`
		Src6        string `json:"src6_addr"`
		Dst6        string `json:"dst6_addr"`
		SrcPort     uint16 `json:"src_port"`
		DstPort     uint16 `json:"dst_port"`
		Proto       uint8  `json:"proto"`
		ToS         uint8  `json:"src_tos"`
		Flags       string `json:"tcp_flags"`
		Octets      uint64 `json:"in_bytes"`
		Packets     uint64 `json:"in_packets"`
		In          uint32 `json:"input_snmp"`
		Out         uint32 `json:"output_snmp"`
	}
	if err := json.Unmarshal([]byte(text), &rows); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	all := make([]flow, 0, len(rows))
	for _, r := range rows {
		var flags uint16
		for i, c := range "CEUAPRSF" { // bit 7 first
			if strings.ContainsRune(r.Flags, c) {
				flags |= 0x80 >> i
			}
		}
		all = append(all, flow{
			Src: netip.MustParseAddr(r.Src4 + r.Src6), Dst: netip.MustParseAddr(r.Dst4 + r.Dst6), SrcPort: r.SrcPort, DstPort: r.DstPort,
			Proto: r.Proto, ToS: r.ToS, Flags: flags, Octets: r.Octets, Packets: r.Packets, In: r.In, Out: r.Out,
			Start: day(t, strings.Replace(r.First, "T", " ", 1)), End: day(t, strings.Replace(r.Last, "T", " ", 1)),
		})
	}
	return all
}

func flowOfCalmh(v map[string]any) (f flow) {
	addr := func(name string) netip.Addr {
		for _, n := range []string{name + "IPv4Address", name + "IPv6Address"} {
			if ip, ok := v[n].(*[]byte); ok {
				a, _ := netip.AddrFromSlice(*ip)
				return a
			}
			if ip, ok := v[n].(interface{ String() string }); ok {
				return netip.MustParseAddr(ip.String())
			}
		}
		return netip.Addr{}
	}
	f.Src, f.Dst = addr("source"), addr("destination")
	f.SrcPort, _ = v["sourceTransportPort"].(uint16)
	f.DstPort, _ = v["destinationTransportPort"].(uint16)
	f.Proto, _ = v["protocolIdentifier"].(uint8)
	f.ToS, _ = v["ipClassOfService"].(uint8)
	f.Flags, _ = v["tcpControlBits"].(uint16)
	f.Octets, _ = v["octetDeltaCount"].(uint64)
	f.Packets, _ = v["packetDeltaCount"].(uint64)
	f.In, _ = v["ingressInterface"].(uint32)
	f.Out, _ = v["egressInterface"].(uint32)
	start, _ := v["flowStartMilliseconds"].(time.Time)
	end, _ := v["flowEndMilliseconds"].(time.Time)
	f.Start, f.End = start.UTC(), end.UTC()
	return f
}

// flowOfOctets reads values as they are on the wire, by element number.
func flowOfOctets(v map[uint16][]byte) (f flow) {
	be := func(id uint16) (n uint64) {
		var b [8]byte
		copy(b[8-len(v[id]):], v[id])
		return binary.BigEndian.Uint64(b[:])
	}
	addr := func(v4, v6 uint16) netip.Addr {
		b := v[v4]
		if b == nil {
			b = v[v6]
		}
		a, _ := netip.AddrFromSlice(b)
		return a
	}
	return flow{
		Src: addr(8, 27), Dst: addr(12, 28), SrcPort: uint16(be(7)), DstPort: uint16(be(11)), Proto: uint8(be(4)), ToS: uint8(be(5)),
		Flags: uint16(be(6)), Octets: be(1), Packets: be(2), In: uint32(be(10)), Out: uint32(be(14)),
		Start: time.UnixMilli(int64(be(152))).UTC(), End: time.UnixMilli(int64(be(153))).UTC(),
	}
}

// fromPDML reads tshark's XML: protocols of packets hold fields, those of a
// flow lie below a field that shows "Flow N".
func fromPDML(t *testing.T, out []byte) []flow {
	t.Helper()
	names := map[string]string{
		"cflow.srcaddr": "sourceIPv4Address", "cflow.srcaddrv6": "sourceIPv6Address",
		"cflow.dstaddr": "destinationIPv4Address", "cflow.dstaddrv6": "destinationIPv6Address",
		"cflow.srcport": "sourceTransportPort", "cflow.dstport": "destinationTransportPort",
		"cflow.protocol": "protocolIdentifier", "cflow.tos": "ipClassOfService",
		"cflow.octets": "octetDeltaCount", "cflow.octets64": "octetDeltaCount",
		"cflow.packets": "packetDeltaCount", "cflow.packets64": "packetDeltaCount",
		"cflow.inputint": "ingressInterface", "cflow.outputint": "egressInterface",
	}
	var all []flow
	dec := xml.NewDecoder(bytes.NewReader(out))
	for {
		token, err := dec.Token()
		if errors.Is(err, io.EOF) {
			return flowsOnly(all)
		} else if err != nil {
			t.Fatal(err)
		}
		el, ok := token.(xml.StartElement)
		if !ok || el.Name.Local != "field" {
			continue
		}
		a := map[string]string{}
		for _, x := range el.Attr {
			a[x.Name.Local] = x.Value
		}
		if strings.HasPrefix(a["show"], "Flow ") {
			all = append(all, flow{})
			continue
		}
		if len(all) == 0 {
			continue
		}
		f := &all[len(all)-1]
		switch name := a["name"]; name {
		case "cflow.tcpflags", "cflow.tcpflags16":
			v, err := strconv.ParseUint(a["value"], 16, 16)
			if err != nil {
				t.Fatal(err)
			}
			f.Flags = uint16(v)
		case "cflow.timestart", "cflow.timeend", "cflow.abstimestart", "cflow.abstimeend":
			v, err := strconv.ParseUint(a["value"], 16, 64)
			if err != nil {
				t.Fatal(err)
			}
			at := time.UnixMilli(int64(v)).UTC()
			if strings.HasSuffix(name, "start") {
				f.Start = at
			} else {
				f.End = at
			}
		default:
			if n, ok := names[name]; ok {
				f.set(t, n, a["show"])
			}
		}
	}
}
