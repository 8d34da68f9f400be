// Package interop proves against programs that others wrote that what the
// exporter sends means to them what it means to us.
package interop

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ipfixsuite/test/harness"
)

func TestMain(m *testing.M) {
	// What runs side by side here waits, most of the time.
	if err := flag.Set("test.parallel", "6"); err != nil {
		panic(err)
	}
	harness.Main(m)
}

// flow is the truth of these tests: the exporter gets it as a JSON line, the
// judges have to see the same values.
type flow struct {
	Src, Dst         netip.Addr
	SrcPort, DstPort uint16
	Proto, ToS       uint8
	Flags            uint16
	Octets, Packets  uint64
	Start, End       time.Time
	In, Out          uint32
}

// flows are n of them, a third IPv6, no two alike.
func flows(n int) []flow {
	base := time.Date(2026, 11, 3, 9, 8, 7, 123e6, time.UTC)
	all := make([]flow, n)
	for i := range all {
		f := &all[i]
		src, dst := fmt.Sprintf("192.0.2.%d", i%250+1), fmt.Sprintf("198.51.100.%d", i%199+1)
		if i%3 == 2 {
			src, dst = fmt.Sprintf("2001:db8::%x", i+1), fmt.Sprintf("2001:db8:ffff::%x:1", i+1)
		}
		f.Src, f.Dst = netip.MustParseAddr(src), netip.MustParseAddr(dst)
		f.SrcPort, f.DstPort = uint16(1024+i*7), uint16(443+i)
		f.Proto = []uint8{6, 17}[i%2]
		if f.Proto == 6 {
			f.Flags = uint16(i%63 + 1)
		}
		f.ToS = uint8(i % 64 * 4)
		f.Octets, f.Packets = 1_000_000_007*uint64(i+1), uint64(i)*3+1
		f.Start = base.Add(time.Duration(i) * 1357 * time.Millisecond)
		f.End = f.Start.Add(time.Duration(i+1) * 11 * time.Millisecond)
		f.In, f.Out = uint32(i+1), uint32(100000+i)
	}
	return all
}

const ms = "2006-01-02T15:04:05.000"

// line is the flow as the exporter's json source takes it.
func (f *flow) line() string {
	v := "v4"
	names := map[string][2]string{
		"v4": {"sourceIPv4Address", "destinationIPv4Address"}, "v6": {"sourceIPv6Address", "destinationIPv6Address"},
	}
	if f.Src.Is6() {
		v = "v6"
	}
	return fmt.Sprintf(`{%q:%q,%q:%q,"sourceTransportPort":%d,"destinationTransportPort":%d,"protocolIdentifier":%d,"ipClassOfService":%d,`+
		`"tcpControlBits":%d,"octetDeltaCount":%d,"packetDeltaCount":%d,"flowStartMilliseconds":%q,"flowEndMilliseconds":%q,"ingressInterface":%d,"egressInterface":%d}`,
		names[v][0], f.Src, names[v][1], f.Dst, f.SrcPort, f.DstPort, f.Proto, f.ToS,
		f.Flags, f.Octets, f.Packets, f.Start.Format(ms), f.End.Format(ms), f.In, f.Out)
}

// writeLines writes the flows as a file of JSON lines.
func writeLines(t *testing.T, all []flow) string {
	t.Helper()
	var b strings.Builder
	for i := range all {
		b.WriteString(all[i].line() + "\n")
	}
	file := filepath.Join(t.TempDir(), "flows.jsonl")
	if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
