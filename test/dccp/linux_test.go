//go:build linux

package dccp

import (
	"bytes"
	"errors"
	"io"
	"net/netip"
	"sync"
	"syscall"
	"testing"
	"time"

	"ipfixsuite/test/harness"
	"ipfixsuite/test/uml"
	"ipfixsuite/transport/dccp"
	"ipfixsuite/transport/dccp/carrier"
	"ipfixsuite/transport/dccp/kernel"
	"ipfixsuite/transport/dccp/wire"
)

// TestLinux holds our DCCP, as IP protocol 33, against that of Linux 6.1.
func TestLinux(t *testing.T) {
	if !uml.Inside() {
		t.Parallel()
		dir := t.TempDir()
		uml.Job{Modules: []string{"dccp_ipv4", "dccp_ipv6"}, Shared: dir, Limit: 8 * time.Minute}.Self(t)
		judge(t, dir)
		return
	}
	n := newNetwork(t)
	for _, v := range []string{"ipv4", "ipv6"} {
		t.Run(v+"/kernel sockets", func(t *testing.T) { kernelSockets(t, n, versions[v].b) })
	}
	t.Run("raw without the mark rule", func(t *testing.T) { withoutRule(t, n) })
	mark(t, n)
	stop := n.Record(t, uml.Shared("short.pcap"))
	for _, v := range []string{"ipv4", "ipv6"} {
		ip := versions[v]
		t.Run(v+"/our client", func(t *testing.T) { ourClient(t, n, ip) })
		t.Run(v+"/their close", func(t *testing.T) { theirClose(t, n, ip) })
		t.Run(v+"/wrong service code", func(t *testing.T) { wrongService(t, n, ip) })
		t.Run(v+"/no listener", func(t *testing.T) { noListener(t, n, ip) })
		t.Run(v+"/our server", func(t *testing.T) { ourServer(t, n, ip) })
		t.Run(v+"/our server closes", func(t *testing.T) { ourServerCloses(t, n, ip) })
		t.Run(v+"/our server refuses", func(t *testing.T) { ourServerRefuses(t, n, ip) })
	}
	stop()
	stop = n.Record(t, uml.Shared("long.pcap"))
	t.Run("ten thousand there", func(t *testing.T) { bulkThere(t, n, versions["ipv4"], 10_000) })
	t.Run("ten thousand back", func(t *testing.T) { bulkBack(t, n, versions["ipv6"], 10_000) })
	t.Run("a thousand there", func(t *testing.T) { bulkThere(t, n, versions["ipv6"], 1_000) })
	t.Run("a thousand back", func(t *testing.T) { bulkBack(t, n, versions["ipv4"], 1_000) })
	stop()
	n.Run(n.A, "tc qdisc add dev va root netem delay 20ms loss 5%")
	n.Run(n.B, "tc qdisc add dev vb root netem delay 20ms loss 5%")
	stop = n.Record(t, uml.Shared("lossy.pcap"))
	t.Run("loss there", func(t *testing.T) { bulkThere(t, n, versions["ipv6"], 400) })
	t.Run("loss back", func(t *testing.T) { bulkBack(t, n, versions["ipv4"], 400) })
	t.Run("loss there, IPv4", func(t *testing.T) { bulkThere(t, n, versions["ipv4"], 100) })
	t.Run("loss back, IPv6", func(t *testing.T) { bulkBack(t, n, versions["ipv6"], 100) })
	stop()
}

// accept takes the connection that c, a client of ours, has made.
func accept(t *testing.T, l *kernel.Listener) *kernel.Conn {
	t.Helper()
	k, err := l.AcceptConn()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { k.Close() })
	k.SetDeadline(time.Now().Add(patience))
	return k
}

// toKernel connects a client of ours with B's kernel.
func toKernel(t *testing.T, n *harness.Network, ip addresses, cfg dccp.Config) (*dccp.Conn, *kernel.Conn) {
	t.Helper()
	l := kernelListen(t, n, ip.b)
	c, err := dial(t, n, l.AddrPort(), service, cfg)
	if err != nil {
		t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(patience))
	return c, accept(t, l)
}

// fromKernel connects B's kernel with a server of ours.
func fromKernel(t *testing.T, n *harness.Network, ip addresses) (*dccp.Conn, *kernel.Conn) {
	t.Helper()
	l := listen(t, n, ip.a, dccp.ListenConfig{})
	k, err := kernelDial(t, n, n.B, l.Addr().(dccp.Addr).AddrPort(), service)
	if err != nil {
		t.Fatal(err)
	}
	k.SetDeadline(time.Now().Add(patience))
	c, err := l.AcceptConn()
	if err != nil {
		t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(patience))
	return c, k
}

// pingPong exchanges messages one by one, of all sizes.
func pingPong(t *testing.T, a, b io.ReadWriter, most int) {
	t.Helper()
	buf := make([]byte, 4096)
	for i := range 60 {
		msg := message(i, most)
		for _, pair := range [][2]io.ReadWriter{{a, b}, {b, a}} {
			if _, err := pair[0].Write(msg); err != nil {
				t.Fatalf("message %d of %d octets: %v", i, len(msg), err)
			}
			n, err := pair[1].Read(buf)
			if err != nil || !bytes.Equal(buf[:n], msg) {
				t.Fatalf("message %d of %d octets came as %d: %v", i, len(msg), n, err)
			}
		}
	}
}

func ourClient(t *testing.T, n *harness.Network, ip addresses) {
	c, k := toKernel(t, n, ip, dccp.Config{})
	pingPong(t, c, k, min(c.MPS(), k.MPS()))
	// Linux answers a Close when its application has seen the end.
	var wg sync.WaitGroup
	wg.Go(func() {
		if n, err := k.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
			t.Errorf("after our close they read %d, %v", n, err)
		}
	})
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	wg.Wait()
	if s := c.Stats(); s.SequenceInvalid+s.OptionErrors+s.VectorsInvalid+s.Unexpected > 0 {
		t.Errorf("%+v", s)
	}
}

func theirClose(t *testing.T, n *harness.Network, ip addresses) {
	c, k := toKernel(t, n, ip, dccp.Config{})
	if _, err := k.Write([]byte("bye")); err != nil {
		t.Fatal(err)
	}
	k.Close()
	buf := make([]byte, 10)
	if n, err := c.Read(buf); err != nil || string(buf[:n]) != "bye" {
		t.Errorf("%q, %v", buf[:n], err)
	}
	if n, err := c.Read(buf); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("after their close we read %d, %v (%v)", n, err, c.Err())
	}
}

func wantReset(t *testing.T, err error, code wire.ResetCode) {
	t.Helper()
	if r, ok := errors.AsType[*dccp.ResetError](err); !ok || r.Code != code || !r.Remote {
		t.Errorf("%v, want a reset by the peer: %v", err, code)
	}
}

func wrongService(t *testing.T, n *harness.Network, ip addresses) {
	l := kernelListen(t, n, ip.b)
	_, err := dial(t, n, l.AddrPort(), service+1, dccp.Config{})
	wantReset(t, err, wire.ResetBadServiceCode)
}

func noListener(t *testing.T, n *harness.Network, ip addresses) {
	_, err := dial(t, n, netip.AddrPortFrom(ip.b, 9), service, dccp.Config{})
	wantReset(t, err, wire.ResetNoConnection)
}

func ourServer(t *testing.T, n *harness.Network, ip addresses) {
	c, k := fromKernel(t, n, ip)
	pingPong(t, k, c, min(c.MPS(), k.MPS()))
	k.Close()
	if n, err := c.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("after their close we read %d, %v", n, err)
	}
	if s := c.Stats(); s.SequenceInvalid+s.OptionErrors+s.VectorsInvalid+s.Unexpected > 0 {
		t.Errorf("%+v", s)
	}
}

func ourServerCloses(t *testing.T, n *harness.Network, ip addresses) {
	c, k := fromKernel(t, n, ip)
	// A Linux client answers CloseReq when its application closes.
	var wg sync.WaitGroup
	wg.Go(func() {
		if n, err := k.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
			t.Errorf("after our close they read %d, %v", n, err)
		}
		k.Close()
	})
	c.Close()
	wg.Wait()
	<-c.Done()
}

func ourServerRefuses(t *testing.T, n *harness.Network, ip addresses) {
	l := listen(t, n, ip.a, dccp.ListenConfig{})
	at := l.Addr().(dccp.Addr)
	if _, err := kernelDial(t, n, n.B, at.AddrPort(), service+1); err == nil {
		t.Error("connected for another service")
	}
	if s := l.Endpoint().Stats().Listeners[at.Port]; s.BadService == 0 || s.Accepted != 0 {
		t.Errorf("%+v", s)
	}
}

// withoutRule shows what the mark rule is for: a kernel with DCCP resets what
// it does not know, and who meets that is told what to do.
func withoutRule(t *testing.T, n *harness.Network) {
	l := listen(t, n, versions["ipv4"].a, dccp.ListenConfig{})
	k, err := kernelDial(t, n, n.B, l.Addr().(dccp.Addr).AddrPort(), service)
	if err == nil {
		k.SetDeadline(time.Now().Add(patience))
		_, err = k.Read(make([]byte, 1))
	}
	if !errors.Is(err, syscall.ECONNREFUSED) && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("our kernel left a connection to us alone: %v", err)
	}
	kl := kernelListen(t, n, versions["ipv4"].b)
	c, err := dial(t, n, kl.AddrPort(), service, dccp.Config{})
	if err == nil {
		c.SetDeadline(time.Now().Add(patience))
		_, err = c.Read(make([]byte, 1))
	}
	wantReset(t, err, wire.ResetNoConnection)
	hint, ok := errors.AsType[interface {
		error
		Hint() string
	}](err)
	if !ok || hint.Hint() != carrier.AdviceKernel("IFACE", carrier.DefaultMark) {
		t.Errorf("%v", err)
	}
}
