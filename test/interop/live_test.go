package interop

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"ipfixsuite/test/harness"
)

const ethernetHeader = 14

// Both programs as they are run, live: what the collector wrote of real
// traffic between two hosts equals the interface's own counters to the packet,
// and to the octet.
func TestLive_FlowsEqualInterfaceCounters(t *testing.T) {
	for _, tool := range []string{"iperf3", "ping", "curl"} {
		harness.Tool(t, tool)
	}
	n := harness.NewNetwork(t)
	pki := harness.NewPKI(t, "collector.example", "exporter.example")
	flows, archive := t.TempDir(), t.TempDir()
	var c *harness.Collector
	var e *harness.Process
	summary := filepath.Join(t.TempDir(), "exporter.json")
	n.Inside(n.A, func() {
		// The export takes the loopback interface, which nobody meters.
		c = harness.StartCollector(t, append([]string{
			"--listen", "dtls+udp://127.0.0.1:0", "--sink", "json:" + flows, "--sink", "ipfix:" + archive,
		}, pki.Flags("collector.example")...)...)
		e = harness.Start(t, harness.Binary(t, "exporter"), append([]string{
			"run", "--source", "iface:va", "--to", "dtls+udp://" + c.Addr, "--active-timeout", "1s", "--idle-timeout", "1s",
			"--log-format", "json", "--summary", summary,
		}, pki.Flags("exporter.example")...)...)
	})
	c.Wait(`"msg":"session opened"`)
	e.Wait(`"msg":"metering"`)
	n.IP("-n " + n.A + " link set va up") // only now: not a packet is missed
	n.IP("-n " + n.B + " link set vb up")
	traffic(t, n)
	n.IP("-n " + n.A + " link set va down")
	packets, octets := n.Counters(n.A, "va")
	e.Stop()
	out, in := harness.ReadSummary(t, summary), c.Summary()
	t.Logf("exporter %v\ncollector %v", out, in)

	var done struct {
		Packets     uint64
		KernelDrops uint64 `json:"kernel_drops"`
	}
	if err := json.Unmarshal([]byte(e.Wait(`"msg":"done"`)), &done); err != nil || done.Packets != packets || done.KernelDrops != 0 {
		t.Errorf("the exporter saw %d of %d packets, the kernel dropped %d, %v", done.Packets, packets, done.KernelDrops, err)
	}
	sent := out["records_exported"]
	if sent == 0 || out["records_sent"] != sent || out["records_dropped"] != 0 {
		t.Errorf("exporter: %v", out)
	}
	if in["records_received"] != sent || in["records_written"] != sent || in["records_lost"] != 0 || in["records_undecodable"] != 0 || in["socket_drops"] != 0 {
		t.Errorf("%v exported, collector: %v", sent, in)
	}

	var inFlows, octetsInFlows uint64
	byProtocol := map[string]uint64{}
	for _, r := range harness.JSONLines(t, flows) {
		if r["packetDeltaCount"] == nil {
			continue
		}
		k := num(t, fmt.Sprint(r["packetDeltaCount"]))
		inFlows += k
		octetsInFlows += num(t, fmt.Sprint(r["octetDeltaCount"]))
		byProtocol[fmt.Sprint(r["protocolIdentifier"])] += k
	}
	ignored, ignoredOctets := reportedIgnored(t, archive)
	t.Logf("interface %d packets, %d octets; in flows %d, %d, by protocol %v; reported as ignored %d, %d",
		packets, octets, inFlows, octetsInFlows, byProtocol, ignored, ignoredOctets)
	if inFlows+ignored != packets {
		t.Errorf("flows hold %d packets, %d were ignored; the interface counted %d", inFlows, ignored, packets)
	}
	// Flows count octets from the IP header on.
	if got := octetsInFlows + ethernetHeader*inFlows + ignoredOctets; got != octets {
		t.Errorf("flows and what was ignored hold %d octets; the interface counted %d", got, octets)
	}
	for _, p := range []string{"1", "6", "17", "58"} {
		if byProtocol[p] == 0 {
			t.Errorf("no flow of protocol %s", p)
		}
	}
}

// traffic goes between the two hosts, some seconds of it.
func traffic(t *testing.T, n *harness.Network) {
	t.Helper()
	n.Inside(n.B, func() {
		harness.Start(t, "iperf3", "--server", "--forceflush").Wait("Server listening")
		l, err := net.Listen("tcp", ":80")
		if err != nil {
			t.Fatal(err)
		}
		server := &http.Server{
			ReadHeaderTimeout: time.Minute,
			Handler:           http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 200<<10)) }),
		}
		go func() { _ = server.Serve(l) }() // ended by Close
		t.Cleanup(func() { _ = server.Close() })
	})
	n.Run(n.A, "curl -sS -o /dev/null --retry 20 --retry-delay 1 --retry-all-errors --max-time 5 http://192.0.2.2/")
	n.Run(n.A, "ping -q -c 20 -i 0.01 192.0.2.2")
	n.Run(n.A, "ping -q -c 5 -i 0.01 -s 4000 2001:db8::2") // in fragments
	n.Run(n.A, "curl -sS -o /dev/null --max-time 30 http://[2001:db8::2]/")
	// All of it fits into the exporter's ring, should that stand still.
	for _, args := range []string{"-c 192.0.2.2 -n 8M", "-c 2001:db8::2 -n 4M -R", "-c 192.0.2.2 -u -b 50M -n 1M"} {
		harness.Until(t, "iperf3 "+args, func() bool { // its server turns away who comes before it has done with the one before
			_, _, err := harness.Try(t, "ip", append([]string{"netns", "exec", n.A, "iperf3"}, strings.Fields(args)...)...)
			return err == nil
		})
	}
}

// reportedIgnored is what the exporter says that its metering did not look at
// (RFC 7011, Section 4.2), as it stands last in the collector's archive.
func reportedIgnored(t *testing.T, archive string) (packets, octets uint64) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(archive, "*.ipfix"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no archive: %v", err)
	}
	dec := json.NewDecoder(bytes.NewReader(harness.Run(t, harness.Binary(t, "collector"), append([]string{"decode"}, files...)...)))
	dec.UseNumber()
	for dec.More() {
		var r map[string]any
		if err := dec.Decode(&r); err != nil {
			t.Fatal(err)
		}
		if p := r["ignoredPacketTotalCount"]; p != nil {
			packets, octets = num(t, fmt.Sprint(p)), num(t, fmt.Sprint(r["ignoredOctetTotalCount"]))
		}
	}
	return packets, octets
}

// Who may not capture is told in one line what is missing and how to get it.
func TestLive_Unprivileged(t *testing.T) {
	exe := harness.Binary(t, "exporter")
	cred := &syscall.Credential{Uid: 65534, Gid: 65534}
	if os.Getuid() != 0 {
		cred = nil
	} else { // where nobody may run it
		dir, err := os.MkdirTemp("", "ipfixsuite-nobody-")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		raw, err := os.ReadFile(exe)
		if err != nil {
			t.Fatal(err)
		}
		exe = filepath.Join(dir, "exporter")
		if err := os.WriteFile(exe, raw, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	stdout, stderr, err := harness.TryAs(t, cred, exe, "run", "--source", "iface:lo", "--to", "udp://127.0.0.1:4739")
	if err == nil || len(stdout) != 0 {
		t.Fatalf("it ran: %s%s", stdout, stderr)
	}
	lines := strings.Split(strings.TrimSpace(string(stderr)), "\n")
	if !strings.HasPrefix(lines[0], "exporter: --source iface:lo: ") || !strings.Contains(lines[0], "CAP_NET_RAW") ||
		len(lines) != 2 || !strings.Contains(lines[1], "setcap cap_net_raw+ep") {
		t.Errorf("%q", lines)
	}
}
