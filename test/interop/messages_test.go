package interop

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/calmh/ipfix"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
	"github.com/netsampler/goflow2/v2/decoders/netflow"

	"ipfixsuite/test/harness"
)

// equal compares what a judge read with the truth, in order of source ports,
// which are all different.
func equal(t *testing.T, want, got []flow) {
	t.Helper()
	slices.SortFunc(got, func(a, b flow) int { return int(a.SrcPort) - int(b.SrcPort) })
	if d := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{})); d != "" {
		t.Errorf("want -, read +:\n%s", d)
	}
}

// messages has the exporter send the flows over plain UDP and returns the
// datagrams as they came from the network.
func messages(t *testing.T, all []flow) [][]byte {
	t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	end := []byte("no message of IPFIX")
	done := make(chan [][]byte, 1)
	go func() { // ends with what is sent below, or the socket
		var got [][]byte
		for buf := make([]byte, 65536); ; {
			n, err := c.Read(buf)
			if err != nil || bytes.Equal(buf[:n], end) {
				done <- got
				return
			}
			got = append(got, bytes.Clone(buf[:n]))
		}
	}()
	sum := harness.Export(t, "--source", "json:"+writeLines(t, all), "--to", "udp://"+c.LocalAddr().String(), "--mtu", "1500")
	if sum["records_exported"] != float64(len(all)) {
		t.Fatalf("records_exported %v, want %d", sum["records_exported"], len(all))
	}
	// The exporter has ended: whatever it sent is in the socket's buffer, and
	// this comes behind it.
	if _, err := c.WriteToUDP(end, c.LocalAddr().(*net.UDPAddr)); err != nil {
		t.Fatal(err)
	}
	got := <-done
	if len(got) < 2 {
		t.Fatalf("%d datagrams", len(got))
	}
	for _, m := range got {
		if len(m) > 1500-28 {
			t.Errorf("a message of %d octets on a path of 1500", len(m))
		}
	}
	return got
}

func TestTsharkReadsOurMessages(t *testing.T) {
	tshark := harness.Tool(t, "tshark")
	all := flows(120)
	file := filepath.Join(t.TempDir(), "m.pcap")
	writePcap(t, file, messages(t, all))
	out := harness.Run(t, tshark, "-r", file, "-d", "udp.port==4739,cflow", "-T", "pdml")
	equal(t, all, fromPDML(t, out))
	if errs := harness.Run(t, tshark, "-r", file, "-d", "udp.port==4739,cflow", "-Y", "_ws.malformed || _ws.expert.severity >= 0x600000"); len(errs) != 0 {
		t.Errorf("tshark objects:\n%s", errs)
	}
}

func TestNfcapdReadsOurMessages(t *testing.T) {
	nfcapd, nfdump := harness.Tool(t, "nfcapd"), harness.Tool(t, "nfdump")
	all := flows(120)
	dir, port := t.TempDir(), harness.FreePort(t)
	p := harness.Start(t, nfcapd, "-4", "-b", "127.0.0.1", "-p", strconv.Itoa(port), "-w", dir)
	p.Wait("Startup nfcapd")
	harness.Until(t, "nfcapd's socket", func() bool { return harness.Unread(t, port) >= 0 })
	harness.Export(t, "--source", "json:"+writeLines(t, all), "--to", fmt.Sprintf("udp://127.0.0.1:%d", port))
	harness.Until(t, "nfcapd has read all", func() bool { return harness.Unread(t, port) == 0 })
	// A signal that comes right before it waits for a datagram it does not heed.
	again := time.AfterFunc(time.Second, func() { _ = p.Cmd.Process.Signal(syscall.SIGTERM) })
	defer again.Stop()
	p.Stop()

	equal(t, all, fromNfdump(t, harness.Run(t, nfdump, "-R", dir, "-q", "-6", "-o", "json")))
}

func TestCalmhReadsOurMessages(t *testing.T) {
	all := flows(120)
	session := ipfix.NewSession()
	interpreter := ipfix.NewInterpreter(session)
	var got []flow
	for _, m := range messages(t, all) {
		msg, err := session.ParseBuffer(m)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range msg.DataRecords {
			values := map[string]any{}
			for _, f := range interpreter.Interpret(r) {
				values[f.Name] = f.Value
			}
			if _, flow := values["sourceTransportPort"]; flow {
				got = append(got, flowOfCalmh(values))
			}
		}
	}
	equal(t, all, got)
}

func TestGoflow2ReadsOurMessages(t *testing.T) {
	all := flows(120)
	templates := netflow.CreateTemplateSystem()
	var got []flow
	for _, m := range messages(t, all) {
		var v9 netflow.NFv9Packet
		var msg netflow.IPFIXPacket
		if err := netflow.DecodeMessageVersion(bytes.NewBuffer(m), templates, &v9, &msg); err != nil {
			t.Fatal(err)
		}
		for _, set := range msg.FlowSets {
			data, ok := set.(netflow.DataFlowSet)
			if !ok {
				continue
			}
			for _, r := range data.Records {
				values := map[uint16][]byte{}
				for _, f := range r.Values {
					values[f.Type] = f.Value.([]byte)
				}
				got = append(got, flowOfOctets(values))
			}
		}
	}
	equal(t, all, got)
}

func TestLibfixbufReadsOurMessages(t *testing.T) {
	dump := harness.Tool(t, "ipfixDump")
	all := flows(120)
	file := filepath.Join(t.TempDir(), "m.ipfix")
	if err := os.WriteFile(file, bytes.Join(messages(t, all), nil), 0o600); err != nil {
		t.Fatal(err)
	}
	equal(t, all, fromIpfixDump(t, harness.Run(t, dump, "--in", file)))
}

// writePcap wraps datagrams into packets to port 4739.
func writePcap(t *testing.T, file string, datagrams [][]byte) {
	t.Helper()
	writePackets(t, file, 4739, func(put func(up bool, payload []byte)) {
		for _, d := range datagrams {
			put(true, d)
		}
	})
}

// writePackets writes a capture of UDP datagrams to (up) and from a port.
func writePackets(t *testing.T, file string, port layers.UDPPort, each func(put func(up bool, payload []byte))) {
	t.Helper()
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := pcapgo.NewWriter(f)
	if err := w.WriteFileHeader(65536, layers.LinkTypeRaw); err != nil {
		t.Fatal(err)
	}
	at := time.Unix(1793696887, 0)
	each(func(up bool, payload []byte) {
		ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: net.IPv4(192, 0, 2, 1), DstIP: net.IPv4(192, 0, 2, 2)}
		udp := &layers.UDP{SrcPort: 50000, DstPort: port}
		if !up {
			ip.SrcIP, ip.DstIP = ip.DstIP, ip.SrcIP
			udp.SrcPort, udp.DstPort = udp.DstPort, udp.SrcPort
		}
		_ = udp.SetNetworkLayerForChecksum(ip)
		b := gopacket.NewSerializeBuffer()
		if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, ip, udp, gopacket.Payload(payload)); err != nil {
			t.Fatal(err)
		}
		at = at.Add(time.Millisecond)
		if err := w.WritePacket(gopacket.CaptureInfo{Timestamp: at, CaptureLength: len(b.Bytes()), Length: len(b.Bytes())}, b.Bytes()); err != nil {
			t.Fatal(err)
		}
	})
}
