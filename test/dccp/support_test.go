//go:build linux

package dccp

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"ipfixsuite/capture"
	"ipfixsuite/test/harness"
	"ipfixsuite/transport/dccp"
	"ipfixsuite/transport/dccp/carrier"
	"ipfixsuite/transport/dccp/kernel"
)

const (
	service dccp.ServiceCode = 0x3f495046
	// captures names the folder where the guest writes what it captured.
	captures = "IPFIXSUITE_CAPTURES"
)

// newNetwork is two namespaces, A for us and B for the kernel's DCCP.
func newNetwork(t *testing.T) *harness.Network {
	n := harness.NewNetwork(t)
	n.IP("-n " + n.A + " link set va up")
	n.IP("-n " + n.B + " link set vb up")
	return n
}

// mark keeps A's own kernel from answering for us.
func mark(t *testing.T, n *harness.Network) {
	t.Helper()
	for line := range strings.Lines(carrier.MarkRule("va", carrier.DefaultMark)) {
		n.Run(n.A, strings.TrimSpace(line))
	}
}

// addresses are those of A and B in one IP version.
type addresses struct{ a, b netip.Addr }

var versions = map[string]addresses{
	"ipv4": {netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")},
	"ipv6": {netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")},
}

// within bounds one step of a test; the guest is slow.
func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// dial connects our end in A with a port of B's kernel.
func dial(t *testing.T, n *harness.Network, to netip.AddrPort, s dccp.ServiceCode, cfg dccp.Config) (*dccp.Conn, error) {
	t.Helper()
	var c *dccp.Conn
	var err error
	n.Inside(n.A, func() { c, err = dccp.Dial(within(t), dccp.Addr{IP: to.Addr(), Port: to.Port()}, s, cfg) })
	if err == nil {
		t.Cleanup(func() { c.Abort() })
	}
	return c, err
}

// kernelListen listens in B with the kernel's DCCP.
func kernelListen(t *testing.T, n *harness.Network, at netip.Addr) *kernel.Listener {
	t.Helper()
	var l *kernel.Listener
	var err error
	n.Inside(n.B, func() {
		l, err = kernel.Listen(netip.AddrPortFrom(at, 0), kernel.Config{Services: []dccp.ServiceCode{service}})
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	l.SetDeadline(time.Now().Add(20 * time.Second))
	return l
}

// kernelDial connects the kernel's end in B.
func kernelDial(t *testing.T, n *harness.Network, to dccp.Addr, s dccp.ServiceCode) (*kernel.Conn, error) {
	t.Helper()
	var c *kernel.Conn
	var err error
	n.Inside(n.B, func() {
		c, err = kernel.Dial(within(t), netip.AddrPort{}, to.AddrPort(), kernel.Config{Services: []dccp.ServiceCode{s}})
	})
	if err == nil {
		t.Cleanup(func() { c.Close() })
	}
	return c, err
}

// listen listens in A with our DCCP.
func listen(t *testing.T, n *harness.Network, at netip.Addr, cfg dccp.ListenConfig) *dccp.Listener {
	t.Helper()
	var l *dccp.Listener
	var err error
	n.Inside(n.A, func() { l, err = dccp.Listen(dccp.Addr{IP: at}, []dccp.ServiceCode{service}, cfg) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Endpoint().Close() })
	l.SetDeadline(time.Now().Add(20 * time.Second))
	return l
}

// message is the i-th of a test; its length runs through all up to most.
func message(i, most int) []byte {
	b := fmt.Appendf(nil, "message %d ", i)
	for want := len(b) + i*97%max(most-len(b)+1, 1); len(b) < want; {
		b = append(b, byte(i))
	}
	return b
}

// number reads a message's.
func number(b []byte) (i int) {
	if _, err := fmt.Sscanf(string(b[:min(len(b), 30)]), "message %d ", &i); err != nil {
		return -1
	}
	return i
}

// record writes what passes vb to a file until it is stopped.
func record(t *testing.T, n *harness.Network, name string) (stop func()) {
	t.Helper()
	dir := os.Getenv(captures)
	f, err := os.Create(filepath.Join(dir, name+".pcap"))
	if err != nil {
		t.Fatal(err)
	}
	// The guest is slow to write, and a block of the ring goes at the latest
	// after Latency, however little is in it: so there is time for seconds.
	const latency = 500 * time.Millisecond
	buffered := bufio.NewWriterSize(f, 1<<20)
	w := pcapgo.NewWriterNanos(buffered)
	if err := w.WriteFileHeader(1<<16, layers.LinkTypeEthernet); err != nil {
		t.Fatal(err)
	}
	var r *capture.Ring
	n.Inside(n.B, func() { r, err = capture.Live("vb", capture.LiveConfig{Latency: latency}) })
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	captured := uint64(0)
	wg.Go(func() {
		for {
			p, err := r.Next()
			if err != nil {
				if !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Error(err)
				}
				return
			}
			if err := w.WritePacket(gopacket.CaptureInfo{Timestamp: time.Unix(0, p.Time), CaptureLength: len(p.Data), Length: p.Length}, p.Data); err != nil {
				t.Error(err)
				return
			}
			captured++
		}
	})
	return func() {
		r.SetReadDeadline(time.Now().Add(2 * latency)) // what the ring still holds back
		wg.Wait()
		// What a busy host misses is no fault of the packets, if it is little.
		if s := r.Stats(); s.Drops > 0 {
			t.Logf("%d packets missed by the capture", s.Drops)
			if s.Drops > captured/10 {
				t.Errorf("only %d captured", captured)
			}
		}
		r.Close()
		if err := errors.Join(buffered.Flush(), f.Close()); err != nil {
			t.Error(err)
		}
	}
}
