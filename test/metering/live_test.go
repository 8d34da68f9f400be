package metering

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// bench is two network namespaces with a veth pair, gone after the test.
type bench struct {
	t    *testing.T
	a, b string
}

func newBench(t *testing.T) *bench {
	t.Helper()
	need(t, "ip")
	if os.Getuid() != 0 {
		t.Skip("network namespaces need root")
	}
	n := &bench{t, fmt.Sprintf("ipfix-a-%d", os.Getpid()), fmt.Sprintf("ipfix-b-%d", os.Getpid())}
	for _, ns := range []string{n.a, n.b} {
		if out, err := exec.CommandContext(t.Context(), "ip", "netns", "add", ns).CombinedOutput(); err != nil {
			unmet(t, fmt.Sprintf("no network namespaces: %s", out))
		}
		t.Cleanup(func() { exec.Command("ip", "netns", "del", ns).Run() })
	}
	n.ip("link add va netns " + n.a + " type veth peer name vb netns " + n.b)
	for ns, cmds := range map[string][]string{
		n.a: {"link set lo up", "addr add 192.0.2.1/24 dev va", "addr add 2001:db8::1/64 dev va nodad"},
		n.b: {"link set lo up", "addr add 192.0.2.2/24 dev vb", "addr add 2001:db8::2/64 dev vb nodad"},
	} {
		for _, c := range cmds {
			n.ip("-n " + ns + " " + c)
		}
	}
	return n
}

func (n *bench) ip(args string) string {
	n.t.Helper()
	out, err := exec.CommandContext(n.t.Context(), "ip", strings.Fields(args)...).CombinedOutput()
	if err != nil {
		n.t.Fatalf("ip %s: %v: %s", args, err, out)
	}
	return string(out)
}

func (n *bench) command(ns, args string) *exec.Cmd {
	return exec.CommandContext(n.t.Context(), "ip", append([]string{"netns", "exec", ns}, strings.Fields(args)...)...)
}

func (n *bench) run(ns, args string) {
	n.t.Helper()
	if out, err := n.command(ns, args).CombinedOutput(); err != nil {
		n.t.Fatalf("%s: %v: %s", args, err, out)
	}
}

// again runs a client until it succeeds: its server may not be there yet, and
// iperf3's turns away who comes before it has done with the one before.
func (n *bench) again(ns, args string) {
	n.t.Helper()
	var out []byte
	err := errors.New("not tried")
	for range 100 {
		if out, err = n.command(ns, args).CombinedOutput(); err == nil {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	n.t.Fatalf("%s: %v: %s", args, err, out)
}

// start runs a program until the test is over.
func (n *bench) start(ns, args string, env ...string) {
	cmd := n.command(ns, args)
	cmd.Env = append(os.Environ(), env...)
	if err := cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
}

// listener is the child that meters an interface.
type listener struct {
	t     *testing.T
	cmd   *exec.Cmd
	stdin io.WriteCloser
	out   *bufio.Reader
	err   bytes.Buffer
}

func (n *bench) listen(ns, iface string) *listener {
	l := &listener{t: n.t, cmd: n.command(ns, os.Args[0])}
	l.cmd.Env = append(os.Environ(), childEnv+"=listen "+iface)
	l.cmd.Stderr = &l.err
	in, _ := l.cmd.StdinPipe()
	out, _ := l.cmd.StdoutPipe()
	l.stdin, l.out = in, bufio.NewReader(out)
	if err := l.cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	if s, err := l.out.ReadString('\n'); err != nil || s != "ready\n" {
		n.t.Fatalf("listener: %q, %v, %s", s, err, &l.err)
	}
	return l
}

// result ends the listener when the kernel has handed it so many packets.
func (l *listener) result(packets uint64) (h heard) {
	fmt.Fprintln(l.stdin, packets)
	if err := json.NewDecoder(l.out).Decode(&h); err != nil {
		l.t.Fatalf("listener: %v, %s", err, &l.err)
	}
	if err := l.cmd.Wait(); err != nil {
		l.t.Fatal(err)
	}
	return h
}

// counters are the interface's packets and octets, both ways.
func (n *bench) counters(ns, iface string) (packets, octets uint64) {
	var links []struct {
		Stats64 struct {
			RX, TX struct{ Packets, Bytes uint64 }
		}
	}
	if err := json.Unmarshal([]byte(n.ip("-n "+ns+" -s -j link show "+iface)), &links); err != nil || len(links) != 1 {
		n.t.Fatal(err)
	}
	s := links[0].Stats64
	return s.RX.Packets + s.TX.Packets, s.RX.Bytes + s.TX.Bytes
}

// TestLive: real traffic of an interface, metered, equals the interface's own
// counters to the packet and the octet; tags taken out by the kernel are back.
func TestLive(t *testing.T) {
	need(t, "iperf3", "ping", "curl")
	n := newBench(t)
	l := n.listen(n.a, "va") // before the interface comes up: not a packet is missed
	n.ip("-n " + n.a + " link set va up")
	n.ip("-n " + n.b + " link set vb up")
	n.start(n.b, "iperf3 --server")
	n.start(n.b, os.Args[0], childEnv+"=serve")
	n.again(n.a, "curl -sS -o /dev/null --max-time 5 http://192.0.2.2/")
	n.run(n.a, "ping -q -c 20 -i 0.01 192.0.2.2")
	n.run(n.a, "ping -q -c 5 -i 0.01 -s 4000 2001:db8::2")
	n.run(n.a, "curl -sS -o /dev/null --max-time 30 http://[2001:db8::2]/")
	// All of it fits into the ring, should its reader stand still.
	n.again(n.a, "iperf3 -c 192.0.2.2 -n 8M")
	n.again(n.a, "iperf3 -c 2001:db8::2 -n 4M -R")
	n.again(n.a, "iperf3 -c 192.0.2.2 -u -b 50M -n 1M")
	inject := n.command(n.b, os.Args[0])
	inject.Env = append(os.Environ(), childEnv+"=tagged vb")
	if out, err := inject.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	n.ip("-n " + n.a + " link set va down")
	packets, octets := n.counters(n.a, "va")
	h := l.result(packets)
	var flows uint64
	for _, p := range h.Flows {
		flows += p
	}
	t.Logf("interface %d packets %d octets; %+v", packets, octets, h)
	if flows+h.Stats.IgnoredPackets() != packets || h.Packets != packets || h.Octets != octets {
		t.Errorf("flows hold %d packets, %d were not IP; the interface counted %d packets, %d octets, the ring %d, %d",
			flows, h.Stats.IgnoredPackets(), packets, octets, h.Packets, h.Octets)
	}
	if h.Flows["17 vlan 20"] != 10 || h.Flows["1 vlan 0"] != 40 || h.Flows["6 vlan 0"] < 100 || h.Ring.Drops != 0 {
		t.Errorf("%+v", h)
	}
}

// TestLive_Loopback: a packet on lo is metered once though the kernel shows
// it twice.
func TestLive_Loopback(t *testing.T) {
	need(t, "ping")
	n := newBench(t)
	l := n.listen(n.a, "lo")
	n.run(n.a, "ping -q -c 7 -i 0.01 127.0.0.1")
	h := l.result(14)
	if h.Flows["1 vlan 0"] != 14 || h.Packets != 14 || h.Ring.Skipped != 14 {
		t.Errorf("%+v", h)
	}
}

// TestLive_InterfaceRemoved: the source ends with an error, not a hang.
func TestLive_InterfaceRemoved(t *testing.T) {
	n := newBench(t)
	n.ip("-n " + n.a + " link set va up")
	l := n.listen(n.a, "va")
	n.ip("-n " + n.a + " link del va")
	var h heard
	if err := json.NewDecoder(l.out).Decode(&h); err != nil {
		t.Fatalf("%v, %s", err, &l.err)
	}
	l.cmd.Wait()
	if !strings.Contains(h.End, "no such device") {
		t.Errorf("%+v", h)
	}
}

const flood = 5000

// TestLive_Drops: what the ring had no room for is counted, nothing else is
// missing: each packet of the interface is seen going out, and those that its
// host has taken in, too.
func TestLive_Drops(t *testing.T) {
	n := newBench(t)
	cmd := n.command(n.a, os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"=stalled")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var s drops
	if err := json.Unmarshal(out, &s); err != nil {
		t.Fatal(err)
	}
	all := s.Packets + s.Skipped + s.Drops
	if s.Drops == 0 || s.Freezes == 0 || s.Out < flood || all != s.Out+s.In {
		t.Errorf("%+v, %d in all", s, all)
	}
	t.Logf("%+v", s)
}

// TestLive_Refused: who may not capture learns what is missing, who mistypes
// an interface which there are.
func TestLive_Refused(t *testing.T) {
	open := func(name string, cred *syscall.Credential) string {
		exe := os.Args[0]
		cmd := exec.CommandContext(t.Context(), exe)
		cmd.Dir = "/"
		cmd.Env = append(os.Environ(), childEnv+"=open "+name)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: cred}
		out, err := cmd.CombinedOutput()
		if err == nil {
			return "opened"
		} else if len(out) == 0 {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(out))
	}
	if out := open("nosuch0", nil); !strings.HasPrefix(out, `interface "nosuch0": no such interface; there are: `) || !strings.Contains(out, "lo") {
		t.Error(out)
	}
	var nobody *syscall.Credential
	if os.Getuid() == 0 {
		nobody = &syscall.Credential{Uid: 65534, Gid: 65534}
		exe := filepath.Join("/tmp", fmt.Sprintf("ipfix-open-%d", os.Getpid())) // where nobody can run it
		data, err := os.ReadFile(os.Args[0])
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(exe, data, 0o755); err != nil {
			t.Fatal(err)
		}
		defer os.Remove(exe)
		defer func(old string) { os.Args[0] = old }(os.Args[0])
		os.Args[0] = exe
		if out := open("lo", nil); out != "opened" {
			t.Errorf("as root: %s", out)
		}
	}
	if out := open("lo", nobody); !strings.HasPrefix(out, `interface "lo": needs the capability CAP_NET_RAW: `) || !strings.Contains(out, "setcap cap_net_raw+ep") {
		t.Error(out)
	}
}
