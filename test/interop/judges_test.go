package interop

import (
	"bufio"
	"bytes"
	"encoding/binary"
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
	n, err := strconv.ParseUint(strings.TrimSpace(s), 10, 64)
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
			name = strings.Fields(name + " x")[0]
			if i := strings.IndexByte(name, '('); i > 0 {
				name = name[:i]
			}
			all[len(all)-1].set(t, name, strings.TrimSpace(value))
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

// flowOfCSV reads a row of nfdump's csv output.
func flowOfCSV(t *testing.T, r []string) (f flow) {
	t.Helper()
	var flags uint16
	for i, c := range "CEUAPRSF" { // bit 7 first
		if strings.ContainsRune(r[8], c) {
			flags |= 0x80 >> i
		}
	}
	return flow{
		Start: day(t, r[0]), End: day(t, r[1]), Src: netip.MustParseAddr(r[3]), Dst: netip.MustParseAddr(r[4]),
		SrcPort: uint16(num(t, r[5])), DstPort: uint16(num(t, r[6])), Proto: uint8(num(t, r[7])), Flags: flags,
		ToS: uint8(num(t, r[10])), Packets: num(t, r[11]), Octets: num(t, r[12]), In: uint32(num(t, r[15])), Out: uint32(num(t, r[16])),
	}
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
