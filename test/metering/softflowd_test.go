package metering

import (
	"bufio"
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipfixsuite/metering"
	"ipfixsuite/test/harness"
)

// softflowd meters a capture and sends NetFlow v9 to nfcapd; nfdump tells
// what arrived.
func softflowd(t *testing.T, path string) ledger {
	dir := t.TempDir()
	port := strconv.Itoa(harness.FreePort(t))
	nfcapd := exec.CommandContext(t.Context(), "nfcapd", "-w", dir, "-l", dir, "-p", port, "-b", "127.0.0.1")
	if err := nfcapd.Start(); err != nil {
		t.Fatal(err)
	}
	waitRead(t, port) // until it is there
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	soft := exec.CommandContext(ctx, "softflowd", "-d", "-r", path, "-n", "127.0.0.1:"+port, "-v", "9", "-m", "200000",
		"-p", filepath.Join(dir, "pid"), "-c", "none") // its control socket may block it for ever
	out, err := soft.CombinedOutput()
	if err != nil && ctx.Err() == nil {
		t.Fatalf("softflowd: %v\n%s", err, out)
	}
	waitRead(t, port)
	ended := make(chan error, 1)
	go func() { ended <- nfcapd.Wait() }() // ends with the program
	for more := true; more; {
		nfcapd.Process.Signal(syscall.SIGTERM) // one that comes right before it waits for a datagram it does not heed
		select {
		case <-ended:
			more = false
		case <-time.After(time.Second):
		}
	}
	files, _ := filepath.Glob(filepath.Join(dir, "nfcapd.*"))
	l := ledger{}
	for _, f := range files {
		csv, err := exec.CommandContext(t.Context(), "nfdump", "-r", f, "-q", "-6", "-N", "-o", "fmt:%sa,%da,%pr,%sp,%dp,%pkt,%byt").Output()
		if err != nil {
			t.Fatal(err)
		}
		for s := bufio.NewScanner(strings.NewReader(string(csv))); s.Scan(); {
			c := strings.Split(s.Text(), ",")
			if len(c) != 7 {
				continue
			}
			for i := range c {
				c[i] = strings.TrimSpace(c[i])
			}
			src, err := netip.ParseAddr(c[0])
			if err != nil {
				t.Fatalf("%q: %v", s.Text(), err)
			}
			packets, _ := strconv.ParseUint(c[5], 10, 64)
			octets, _ := strconv.ParseUint(c[6], 10, 64)
			sport, _ := strconv.ParseUint(c[3], 10, 16)
			dport, _ := strconv.ParseFloat(c[4], 64) // "8.0" is an ICMP type and code
			l.add(tuple{Src: src, Dst: netip.MustParseAddr(c[1]), Sport: uint16(sport), Dport: uint16(dport), Proto: proto(c[2])}, packets, octets)
		}
	}
	return l
}

func proto(s string) uint8 {
	n, _ := strconv.ParseUint(s, 10, 8)
	return uint8(n)
}

// waitRead returns once a socket is bound to the port and all it received has
// been read.
func waitRead(t *testing.T, port string) {
	n, _ := strconv.Atoi(port)
	local := fmt.Sprintf(":%04X ", n)
	for range 3000 {
		table, err := os.ReadFile("/proc/net/udp")
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(table)) {
			if strings.Contains(line, local) && strings.Contains(line, ":00000000 00:") {
				return
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("nfcapd does not read")
}

// TestSoftflowd: the same packets and octets between each pair of hosts as in
// softflowd's NetFlow, and for each TCP and UDP 5-tuple (softflowd gives no
// fragment its ports: those hosts' conversations are compared as one).
func TestSoftflowd(t *testing.T) {
	need(t, "softflowd", "nfcapd", "nfdump")
	if os.Getuid() != 0 {
		unmet(t, "softflowd changes its user and needs root")
	}
	theirs := softflowd(t, mixed)
	ours, _ := meter(t, mixed, metering.Config{Biflow: true})
	same := cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
	if d := cmp.Diff(pairs(theirs), pairs(ours.ledger), same); d != "" {
		t.Errorf("by pair of hosts: %.2000s", d)
	}
	// Where softflowd met fragments, the ports of a conversation are folded.
	fragmented := map[tuple]bool{}
	for k := range theirs {
		if k.Sport == 0 && k.Dport == 0 {
			fragmented[tuple{Src: k.Src, Dst: k.Dst, Proto: k.Proto}] = true
		}
	}
	fold := func(l ledger) ledger {
		out := ledger{}
		for k, v := range l {
			hosts := tuple{Src: k.Src, Dst: k.Dst, Proto: k.Proto}
			switch {
			case k.Proto != 6 && k.Proto != 17:
			case fragmented[hosts]:
				out.add(hosts, v.Packets, v.Octets)
			default:
				out.add(k, v.Packets, v.Octets)
			}
		}
		return out
	}
	if d := cmp.Diff(fold(theirs), fold(ours.ledger), same); d != "" {
		t.Errorf("by 5-tuple: %.2000s", d)
	}
	t.Logf("%d tuples equal, %v in all", len(fold(theirs)), theirs.sum())
}

func pairs(l ledger) ledger {
	out := ledger{}
	for k, v := range l {
		out.add(tuple{Src: k.Src, Dst: k.Dst}, v.Packets, v.Octets)
	}
	return out
}
