package dccp

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
	"time"

	pion "github.com/pion/dtls/v3"
	"github.com/pion/dtls/v3/pkg/protocol/extension"
	"github.com/pion/dtls/v3/pkg/protocol/handshake"

	"ipfixsuite/transport"
	"ipfixsuite/transport/dccp/wire"
	"ipfixsuite/transport/dtls/record"
)

// TestRFC5238_3_6_OnePortTwoCodes: Section 3.6: plain IPFIX and IPFIX under
// DTLS have Service Codes of their own (SHOULD); on one port they are told
// apart by the code (MAY), whatever their first packet holds.
func TestRFC5238_3_6_OnePortTwoCodes(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, s *secured) {
		plain, err := NewServer(s.endpoint, collectorTo.Port, []ServiceCode{service}, "dccp+udp", ListenConfig{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- plain.Serve(ctx, s) }()
		defer func() {
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}()

		secure, a := s.dial(s.dialer())
		if a.peer.Scheme != "dtls+dccp+udp" || a.peer.Identity != "exporter.test" {
			t.Errorf("%+v", a.peer)
		}
		s.send(secure, "under DTLS")
		a.expect(t, "under DTLS")

		c, err := s.lan.dial(t.Context(), t, "192.0.2.3:9", collectorTo, service, Config{})
		if err != nil {
			t.Fatal(err)
		}
		hello := "\x16\xfe\xff\x00\x00 looks like DTLS, and is not asked for"
		for _, m := range []string{hello, "in the clear"} {
			if _, err := c.Write([]byte(m)); err != nil {
				t.Fatal(err)
			}
		}
		b := <-s.opened
		if b.peer.Scheme != "dccp+udp" || b.peer.Identity != "192.0.2.3" {
			t.Errorf("%+v", b.peer)
		}
		b.expect(t, hello, "in the clear")
		if from, to := plain.Addr(), s.listener.Addr(); from != to {
			t.Errorf("two ports: %v, %v", from, to)
		}
		_, err = s.lan.dial(t.Context(), t, "192.0.2.4:9", collectorTo, secureService+1, Config{})
		wantReset(t, err, wire.ResetBadServiceCode)
		_ = c.Shutdown(t.Context())
		s.part(secure, a)
	})
}

// packetConn is a carrier of datagrams as pion wants it.
type packetConn struct {
	*Datagrams
	ctx  context.Context
	peer net.Addr
}

func (p packetConn) ReadFrom(b []byte) (int, net.Addr, error) {
	var one [1]transport.Datagram
	if _, err := p.ReadBatch(p.ctx, one[:]); err != nil {
		return 0, nil, err
	}
	return copy(b, one[0].Data), p.peer, nil
}

func (p packetConn) WriteTo(b []byte, _ net.Addr) (int, error) {
	_, err := p.WriteBatch([]transport.Datagram{{Data: b}})
	return len(b), err
}

func (p packetConn) LocalAddr() net.Addr              { return p.peer }
func (p packetConn) SetDeadline(time.Time) error      { return nil }
func (p packetConn) SetReadDeadline(time.Time) error  { return nil }
func (p packetConn) SetWriteDeadline(time.Time) error { return nil }

// versions is the extension by which a client of DTLS 1.3 says that it knows
// 1.2 too (RFC 9147, Section 5.3).
type versions struct{}

func (versions) TypeValue() extension.TypeValue { return 43 }
func (versions) Unmarshal([]byte) error         { return nil }
func (versions) Marshal() ([]byte, error) {
	return []byte{0, 43, 0, 5, 4, 0xfe, 0xfc, 0xfe, 0xfd}, nil
}

// TestRFC5238_3_7_OneCodeForAllVersions: Section 3.7, RECOMMENDED: the Service
// Code says nothing of DTLS's version. A client that knows a newer one agrees
// on ours; one that knows only an older one is answered by DTLS, not by DCCP.
func TestRFC5238_3_7_OneCodeForAllVersions(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, s *secured) {
		dial := func(from string) packetConn {
			c, err := s.lan.dial(t.Context(), t, from, collectorTo, secureService, Config{})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			t.Cleanup(cancel)
			return packetConn{c.Datagrams(), ctx, net.UDPAddrFromAddrPort(netip.AddrPortFrom(c.remote.IP, 4740))}
		}

		newer := dial("192.0.2.3:9")
		creds := s.exporter.Credentials.Current()
		//nolint:staticcheck // the form that transport/dtls uses
		conn, err := pion.Client(newer, newer.peer, &pion.Config{
			Certificates: []tls.Certificate{creds.Certificate()}, RootCAs: creds.Roots(), ServerName: "collector.test",
			InsecureSkipVerify: true, ExtendedMasterSecret: pion.RequireExtendedMasterSecret, // the clock is virtual
			ClientHelloMessageHook: func(h handshake.MessageClientHello) handshake.Message {
				h.Extensions = append(h.Extensions, versions{})
				return &h
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.HandshakeContext(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write([]byte("of 1.2")); err != nil {
			t.Fatal(err)
		}
		a := <-s.opened
		a.expect(t, "of 1.2")
		_ = conn.Close()
		<-a.closed

		// DTLS 1.0, twice: without the cookie, and with it.
		older := dial("192.0.2.4:9")
		hello := func(seq byte, cookie []byte) []byte {
			b := append([]byte{0xfe, 0xff}, make([]byte, 32)...)
			b = append(b, 0, byte(len(cookie)))
			b = append(b, cookie...)
			b = append(b, 0, 2, 0xc0, 0x09, 1, 0) // ECDHE-ECDSA with AES-128-CBC
			n := byte(len(b))
			b = append([]byte{1, 0, 0, n, 0, seq, 0, 0, 0, 0, 0, n}, b...)
			return append(binary.BigEndian.AppendUint16([]byte{22, 0xfe, 0xff, 0, 0, 0, 0, 0, 0, 0, seq}, uint16(len(b))), b...)
		}
		var cookie []byte
		buf := make([]byte, 2000)
		for seq := range byte(2) {
			if _, err := older.WriteTo(hello(seq, cookie), nil); err != nil {
				t.Fatal(err)
			}
			n, _, err := older.ReadFrom(buf)
			if err != nil {
				t.Fatal(err)
			}
			list, whole := records(buf[:n])
			switch r := list[0]; {
			case !whole:
				t.Fatalf("no DTLS: %x", buf[:n])
			case seq == 0 && (r.Type != record.Handshake || r.content[0] != 3):
				t.Fatalf("no HelloVerifyRequest: %v", r)
			case seq == 0:
				cookie = append([]byte(nil), r.content[15:]...)
			case r.Type != record.Alert || r.content[0] != 2:
				t.Errorf("no alert: %v", r)
			}
		}
		if err := older.c.Err(); err != nil {
			t.Errorf("DCCP ended it: %v", err)
		}
		for _, p := range s.lan.packets(func(p lanPacket) bool { return p.Type == wire.Request }) {
			if p.Service != secureService {
				t.Errorf("service code %v", p.Service)
			}
		}
		_ = older.c.Shutdown(t.Context())
	})
}
