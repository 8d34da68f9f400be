package harness

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// Network is two network namespaces, A and B, joined by a veth pair: va
// (192.0.2.1, 2001:db8::1) and vb (192.0.2.2, 2001:db8::2), both still down.
// They are gone after the test.
type Network struct {
	A, B string

	t testing.TB
}

var networks atomic.Uint32

// NewNetwork makes one; that needs root.
func NewNetwork(t testing.TB) *Network {
	t.Helper()
	Tool(t, "ip")
	if os.Getuid() != 0 {
		Missing(t, "network namespaces need root")
	}
	id := fmt.Sprintf("%d-%d", os.Getpid(), networks.Add(1))
	n := &Network{A: "ipfix-a-" + id, B: "ipfix-b-" + id, t: t}
	for _, ns := range []string{n.A, n.B} {
		if out, err := exec.Command("ip", "netns", "add", ns).CombinedOutput(); err != nil {
			Missing(t, fmt.Sprintf("no network namespaces: %s", out))
		}
		t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", ns).Run() })
	}
	n.IP("link add va netns " + n.A + " type veth peer name vb netns " + n.B)
	for i, ns := range []string{n.A, n.B} {
		n.IP("-n " + ns + " link set lo up")
		for _, addr := range []string{"192.0.2.%d/24 dev %s", "2001:db8::%d/64 dev %s nodad"} {
			n.IP("-n " + ns + " addr add " + fmt.Sprintf(addr, i+1, []string{"va", "vb"}[i]))
		}
	}
	return n
}

// IP runs ip with arguments that hold no blanks.
func (n *Network) IP(args string) []byte {
	n.t.Helper()
	return Run(n.t, "ip", strings.Fields(args)...)
}

// Run runs a command line to its end in a namespace.
func (n *Network) Run(ns, args string) {
	n.t.Helper()
	n.IP("netns exec " + ns + " " + args)
}

// Inside calls f in a namespace: the sockets it opens and the programs it
// starts belong there for good.
func (n *Network) Inside(ns string, f func()) {
	n.t.Helper()
	runtime.LockOSThread()
	home, err := os.Open(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()))
	if err != nil {
		n.t.Fatal(err)
	}
	defer home.Close()
	there, err := os.Open("/run/netns/" + ns)
	if err != nil {
		n.t.Fatal(err)
	}
	defer there.Close()
	if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
		n.t.Fatalf("namespace %s: %v", ns, err)
	}
	defer func() {
		// A thread that cannot come home stays locked, and ends with its test.
		if unix.Setns(int(home.Fd()), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
	}()
	f()
}

// Counters are an interface's packets and octets, both ways.
func (n *Network) Counters(ns, iface string) (packets, octets uint64) {
	n.t.Helper()
	var links []struct {
		Stats64 struct {
			RX, TX struct{ Packets, Bytes uint64 }
		}
	}
	if err := json.Unmarshal(n.IP("-n "+ns+" -s -j link show "+iface), &links); err != nil || len(links) != 1 {
		n.t.Fatalf("%d interfaces, %v", len(links), err)
	}
	s := links[0].Stats64
	return s.RX.Packets + s.TX.Packets, s.RX.Bytes + s.TX.Bytes
}
