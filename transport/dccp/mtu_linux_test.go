package dccp

import (
	"net/netip"
	"os"
	"testing"

	"ipfixsuite/test/harness"
)

// TestRFC4340_14_PathMTU: the maximum packet size follows the path's, on a
// connection that lives.
func TestRFC4340_14_PathMTU(t *testing.T) {
	if os.Getuid() != 0 {
		harness.Missing(t, "network namespaces and raw sockets need root")
	}
	n := harness.NewNetwork(t)
	n.IP("-n " + n.A + " link set va up")
	n.IP("-n " + n.B + " link set vb up")
	for _, ip := range []string{"192.0.2.2", "2001:db8::2"} {
		for _, udp := range []uint16{0, 6511} {
			to := Addr{IP: netip.MustParseAddr(ip), Port: 4739, UDP: udp}
			t.Run(to.String(), func(t *testing.T) { pathMTU(t, n, to) })
		}
	}
}

func pathMTU(t *testing.T, n *harness.Network, to Addr) {
	n.IP("-n " + n.A + " link set va mtu 1500")
	var l *Listener
	var c *Conn
	var err error
	n.Inside(n.B, func() { l, err = Listen(to, []ServiceCode{service}, ListenConfig{}) })
	if err != nil {
		t.Fatal(err)
	}
	defer l.e.Close()
	n.Inside(n.A, func() { c, err = Dial(within(t), to, service, Config{}) })
	if err != nil {
		t.Fatal(err)
	}
	defer c.Abort()
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	s, err := l.accept(within(t))
	if err != nil {
		t.Fatal(err)
	}
	expect(t, s, "x")
	before := c.MPS()
	headers := 20
	if to.IP.Is6() {
		headers = 40
	}
	if to.UDP != 0 {
		headers += 8
	}
	if spare := 1500 - headers - before; spare < 24 || spare > 80 {
		t.Errorf("MPS %d leaves %d octets for DCCP's header", before, spare)
	}
	if got := s.MPS(); got != before {
		t.Errorf("the server's MPS is %d, the client's %d", got, before)
	}
	exchange := func(size int) bool {
		b := make([]byte, 2000)
		for range 20 {
			if _, err := c.Write(b[:size]); err != nil {
				return false // already known to be too large
			}
			if _, err := c.Transmit(within(t), []byte("end")); err != nil {
				t.Fatal(err)
			}
			n, err := s.Read(b)
			if err != nil {
				t.Fatal(err)
			}
			if n == size {
				s.Read(b)
				return true
			}
			if c.MPS() < size {
				return false
			}
		}
		return false
	}
	if !exchange(before) {
		t.Error("a message of the MPS does not get through")
	}
	n.IP("-n " + n.A + " link set va mtu 1300")
	if exchange(before) {
		t.Error("a message went that exceeds the MTU")
	}
	if after := c.MPS(); after != before-200 {
		t.Errorf("MPS %d, then %d", before, after)
	}
	if !exchange(c.MPS()) {
		t.Error("a message of the new MPS does not get through")
	}
}
