//go:build linux

package carrier

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ipfixsuite/test/harness"
	"ipfixsuite/transport"
	"ipfixsuite/transport/dccp/wire"
)

var (
	lo4 = netip.MustParseAddr("127.0.0.1")
	lo6 = netip.MustParseAddr("::1")
)

// packet is a DCCP packet with some data.
func packet(t testing.TB, typ wire.Type, dst uint16, data string) []byte {
	t.Helper()
	p := wire.Packet{SrcPort: 1, DstPort: dst, Type: typ, Seq: 77, Data: []byte(data)}
	b, err := p.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func needRoot(t testing.TB) {
	t.Helper()
	if os.Getuid() != 0 {
		harness.Missing(t, "raw sockets need root")
	}
}

// receive reads n packets.
func receive(t testing.TB, c transport.DatagramConn, n int) []transport.Datagram {
	t.Helper()
	var got []transport.Datagram
	dst := make([]transport.Datagram, 7)
	for len(got) < n {
		m, err := c.ReadBatch(t.Context(), dst)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range dst[:m] {
			d.Data = bytes.Clone(d.Data)
			got = append(got, d)
		}
	}
	return got
}

func send(t testing.TB, c transport.DatagramConn, peer netip.AddrPort, local netip.Addr, packets ...[]byte) {
	t.Helper()
	var batch []transport.Datagram
	for _, p := range packets {
		batch = append(batch, transport.Datagram{Peer: peer, Local: local, Data: p})
	}
	if n, err := c.WriteBatch(batch); n != len(batch) || err != nil {
		t.Fatalf("%d of %d sent: %v", n, len(batch), err)
	}
}

func pair(t testing.TB, addr netip.Addr, port uint16) (server, client *Raw) {
	t.Helper()
	needRoot(t)
	wild := netip.IPv4Unspecified()
	if addr.Is6() {
		wild = netip.IPv6Unspecified()
	}
	server, err := ListenRaw(wild, Config{Port: port})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	client, err = ConnectRaw(t.Context(), netip.Addr{}, addr, Config{Port: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return server, client
}

func TestRawCarriesPacketsBothWays(t *testing.T) {
	for _, addr := range []netip.Addr{lo4, lo6} {
		t.Run(addr.String(), func(t *testing.T) {
			server, client := pair(t, addr, 4739)
			var sent [][]byte
			for i := range 70 {
				sent = append(sent, packet(t, wire.Data, 4739, fmt.Sprint("message ", i)))
			}
			send(t, client, netip.AddrPort{}, netip.Addr{}, sent...)
			got := receive(t, server, len(sent))
			for i, d := range got {
				if d.Peer != netip.AddrPortFrom(addr, 0) || d.Local != addr || !bytes.Equal(d.Data, sent[i]) {
					t.Fatalf("packet %d: from %v to %v: %x, want %x", i, d.Peer, d.Local, d.Data, sent[i])
				}
				if err := wire.VerifyChecksum(d.Data, addr, addr); err != nil {
					t.Fatal(err)
				}
			}
			// Another port's packet does not come through the filter.
			other := packet(t, wire.Data, 2, "not for the client")
			back := packet(t, wire.Data, 1, "back")
			send(t, server, got[0].Peer, got[0].Local, other, back)
			if d := receive(t, client, 1)[0]; !bytes.Equal(d.Data, back) {
				t.Errorf("client got %x", d.Data)
			}
		})
	}
}

// TestRawSourceAddress: where nobody says what address a packet leaves from,
// the checksum is right all the same.
func TestRawSourceAddress(t *testing.T) {
	server, client := pair(t, lo4, 4739)
	send(t, server, netip.AddrPortFrom(lo4, 0), netip.Addr{}, packet(t, wire.Data, 1, "x"))
	receive(t, client, 1)
	if s := client.Stats(); s.Checksum != 0 {
		t.Errorf("%+v", s)
	}
}

// RFC 4340, Section 9: a packet with a wrong checksum is ignored.
func TestRFC4340_9_WrongChecksumIsIgnored(t *testing.T) {
	server, _ := pair(t, lo4, 4739)
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW, wire.Protocol)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	right := packet(t, wire.Data, 4739, "right")
	wire.SetChecksum(right, lo4, lo4)
	wrong := bytes.Clone(right)
	wrong[len(wrong)-1] ^= 1
	for _, b := range [][]byte{wrong, right[:8], right} {
		if err := unix.Sendto(fd, b, 0, &unix.SockaddrInet4{Addr: lo4.As4()}); err != nil {
			t.Fatal(err)
		}
	}
	if d := receive(t, server, 1)[0]; !bytes.Equal(d.Data, right) {
		t.Errorf("got %s", hex.EncodeToString(d.Data))
	}
	if s := server.Stats(); s != (Stats{Short: 1, Checksum: 1}) {
		t.Errorf("%+v", s)
	}
}

func TestRawWithoutPrivilege(t *testing.T) {
	needRoot(t)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var full, less [2]unix.CapUserData
	if err := unix.Capget(&hdr, &full[0]); err != nil {
		t.Fatal(err)
	}
	less = full
	less[0].Effective &^= 1 << unix.CAP_NET_RAW
	if err := unix.Capset(&hdr, &less[0]); err != nil {
		t.Fatal(err)
	}
	_, err := ListenRaw(lo4, Config{})
	if back := unix.Capset(&hdr, &full[0]); back != nil {
		t.Fatal(back)
	}
	if e, ok := errors.AsType[*Error](err); !ok || !errors.Is(err, unix.EPERM) || !strings.Contains(e.Hint(), "dccp+udp") {
		t.Errorf("%v", err)
	}
}

func TestRawEnds(t *testing.T) {
	server, _ := pair(t, lo4, 4739)
	ended := make(chan error)
	go func() {
		_, err := server.ReadBatch(t.Context(), make([]transport.Datagram, 1))
		ended <- err
	}()
	server.Close()
	if err := <-ended; err == nil {
		t.Error("no error")
	}
	if _, err := server.WriteBatch([]transport.Datagram{{Peer: netip.AddrPortFrom(lo4, 0), Data: packet(t, wire.Data, 1, "")}}); err == nil {
		t.Error("no error")
	}
}

// TestMTU: RFC 4340, Section 14.2: packets of a connection that exceed the
// path's MTU are refused, those of the handshake are fragmented.
func TestMTU(t *testing.T) {
	needRoot(t)
	n := harness.NewNetwork(t)
	n.IP("-n " + n.A + " link set va up mtu 1400")
	n.IP("-n " + n.B + " link set vb up mtu 1400")
	for _, tt := range []struct {
		name      string
		peer      string
		listening bool
		want      int
	}{
		{"udp", "192.0.2.2", false, 1400 - 28},
		{"udp", "2001:db8::2", false, 1400 - 48},
		{"raw", "192.0.2.2", false, 1400 - 20},
		{"raw", "2001:db8::2", false, 1400 - 40},
		{"udp", "192.0.2.2", true, 1400 - 28},
		{"udp", "2001:db8::2", true, 1400 - 48},
		{"raw", "192.0.2.2", true, 1400 - 20},
		{"raw", "2001:db8::2", true, 1400 - 40},
	} {
		t.Run(fmt.Sprint(tt.name, "/", tt.peer, "/", tt.listening), func(t *testing.T) {
			peer := netip.MustParseAddr(tt.peer)
			wild := netip.IPv4Unspecified()
			if peer.Is6() {
				wild = netip.IPv6Unspecified()
			}
			var server, client transport.DatagramConn
			var err error
			n.Inside(n.B, func() {
				if tt.name == "udp" {
					server, err = ListenUDP(netip.AddrPortFrom(peer, 6511), Config{})
				} else {
					server, err = ListenRaw(peer, Config{})
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			defer server.Close()
			to := netip.AddrPortFrom(peer, 0)
			n.Inside(n.A, func() {
				switch {
				case tt.name == "udp" && tt.listening:
					client, err = ListenUDP(netip.AddrPortFrom(wild, 0), Config{})
				case tt.name == "udp":
					client, err = ConnectUDP(t.Context(), netip.AddrPortFrom(peer, 6511), Config{})
				case tt.listening:
					client, err = ListenRaw(wild, Config{})
				default:
					client, err = ConnectRaw(t.Context(), netip.Addr{}, peer, Config{})
				}
				if tt.name == "udp" {
					to = netip.AddrPortFrom(peer, 6511)
				}
				if err != nil {
					return
				}
				if got := client.MaxDatagram(to); got != tt.want {
					t.Errorf("MaxDatagram %d, want %d", got, tt.want)
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			fits := packet(t, wire.Data, 1, strings.Repeat("x", tt.want-16))
			exceeds := packet(t, wire.Data, 1, strings.Repeat("x", tt.want-15))
			request := packet(t, wire.Request, 1, strings.Repeat("x", 3000))
			n.Inside(n.A, func() {
				send(t, client, to, netip.Addr{}, request, fits)
				_, err := client.WriteBatch([]transport.Datagram{{Peer: to, Data: exceeds}})
				if !errors.Is(err, transport.ErrTooLarge) {
					t.Errorf("%v, want %v", err, transport.ErrTooLarge)
				}
				send(t, client, to, netip.Addr{}, request, fits)
			})
			for i, d := range receive(t, server, 4) {
				if want := [][]byte{request, fits}[i%2]; len(d.Data) != len(want) {
					t.Errorf("packet %d has %d octets, want %d", i, len(d.Data), len(want))
				}
			}
		})
	}
}

func TestMarkRule(t *testing.T) {
	const want = `tc qdisc add dev eth0 clsact
tc filter add dev eth0 egress protocol ip prio 1 handle 0x33 fw action pass
tc filter add dev eth0 egress protocol ip prio 2 u32 match ip protocol 33 0xff action drop
tc filter add dev eth0 egress protocol ipv6 prio 3 handle 0x33 fw action pass
tc filter add dev eth0 egress protocol ipv6 prio 4 u32 match ip6 protocol 33 0xff action drop
`
	if got := MarkRule("eth0", DefaultMark); got != want {
		t.Error(got)
	}
	advice := AdviceKernel("eth0", DefaultMark)
	_, shell, _ := strings.Cut(advice, "leave: ")
	if strings.Contains(advice, "\n") || strings.ReplaceAll(shell, "; ", "\n")+"\n" != want {
		t.Error(advice)
	}
}

// RFC 6773, Section 3.3: a datagram whose UDP checksum is zero is dropped.
func TestRFC6773_3_3_ZeroChecksumIsDropped(t *testing.T) {
	server, err := ListenUDP(netip.AddrPortFrom(lo4, 0), Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	client, err := ConnectUDP(t.Context(), server.LocalAddr(), Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for i, off := range []int{1, 0} {
		if err := control(client, func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_NO_CHECK, off) }); err != nil {
			t.Fatal(err)
		}
		send(t, client, netip.AddrPort{}, netip.Addr{}, packet(t, wire.Data, 1, fmt.Sprint(i)))
	}
	if d := receive(t, server, 1)[0]; d.Data[16] != '1' {
		t.Errorf("got %q", d.Data[16:])
	}
}

func TestPacketsCostNoAllocation(t *testing.T) {
	server, client := pair(t, lo4, 4739)
	userver, err := ListenUDP(netip.AddrPortFrom(lo4, 0), Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer userver.Close()
	uclient, err := ConnectUDP(t.Context(), userver.LocalAddr(), Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer uclient.Close()
	for _, c := range [][2]transport.DatagramConn{{server, client}, {userver, uclient}} {
		batch := []transport.Datagram{{Data: packet(t, wire.Data, 4739, "a")}, {Data: packet(t, wire.Data, 4739, "bb")}}
		dst := make([]transport.Datagram, 8)
		ctx := context.Background()
		if n := testing.AllocsPerRun(100, func() {
			if _, err := c[1].WriteBatch(batch); err != nil {
				t.Fatal(err)
			}
			for got := 0; got < len(batch); {
				n, err := c[0].ReadBatch(ctx, dst)
				if err != nil {
					t.Fatal(err)
				}
				got += n
			}
		}); n > 0 {
			t.Errorf("%T: %v allocations for 2 packets", c[0], n)
		}
	}
}
