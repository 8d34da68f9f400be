package dccp

import (
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
	"time"

	"ipfixsuite/transport/dccp/wire"
)

// RFC 6773, Section 3.3: inside UDP DCCP's own checksum is sent as zero (SHOULD)
// and whatever a peer wrote there is ignored (MUST); Section 3.8: answers go to
// the UDP port that asked, whichever it is.
func TestRFC6773_3_3_ChecksumIsZeroAndIgnored(t *testing.T) {
	_, to := listenLoopback(t, ListenConfig{})
	peer, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(loopback, 0)))
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	if err := peer.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	for i, sum := range []uint16{0, 0xBEEF, 0xFFFF} {
		request := wire.Packet{SrcPort: uint16(7000 + i), DstPort: to.Port, Type: wire.Request, Service: service, Seq: 1}
		b, err := request.AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		binary.BigEndian.PutUint16(b[6:], sum)
		if _, err := peer.WriteToUDPAddrPort(b, netip.AddrPortFrom(to.IP, to.UDP)); err != nil {
			t.Fatal(err)
		}
		for answered := false; !answered; { // the one before may be answered twice
			b = make([]byte, 1500)
			n, err := peer.Read(b)
			if err != nil {
				t.Fatalf("checksum %#x: no answer: %v", sum, err)
			}
			var p wire.Packet
			if err := p.Parse(b[:n]); err != nil {
				t.Fatal(err)
			}
			if got := binary.BigEndian.Uint16(b[6:]); got != 0 {
				t.Errorf("%v with checksum %#x", p.Type, got)
			}
			answered = p.Type == wire.Response && p.DstPort == request.SrcPort
		}
	}
}

// RFC 6773, Section 3.8, SHOULD: each connection that a client makes has a UDP
// port of its own.
func TestRFC6773_3_8_APortForEachConnection(t *testing.T) {
	l, to := listenLoopback(t, ListenConfig{})
	seen := map[uint16]bool{}
	for range 8 {
		client, server := connect(t, l, to, Config{})
		from := client.LocalAddr().(Addr)
		if from.UDP == 0 || seen[from.UDP] {
			t.Errorf("UDP port %d again", from.UDP)
		}
		seen[from.UDP] = true
		if server.RemoteAddr().(Addr).UDP != from.UDP {
			t.Errorf("the server answers %v, the client is %v", server.RemoteAddr(), from)
		}
	}
}
