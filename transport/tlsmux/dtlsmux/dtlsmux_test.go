package dtlsmux

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/dtls/v3"

	"ipfixsuite/transport/tlsmux"
	"ipfixsuite/transport/tlsmux/wire"
	"ipfixsuite/transport/transporttest"
)

// authority makes certificates for both ends.
type authority struct {
	transporttest.Authority
	pool *x509.CertPool
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	a := authority{transporttest.NewAuthority(t), x509.NewCertPool()}
	ca, err := os.ReadFile(a.File("ca.pem"))
	if err != nil || !a.pool.AppendCertsFromPEM(ca) {
		t.Fatal(err)
	}
	return a
}

func (a authority) certificate(t *testing.T, name string) tls.Certificate {
	t.Helper()
	c, err := tls.LoadX509KeyPair(a.File(name+".pem"), a.File(name+"-key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (a authority) client(t *testing.T) []dtls.ClientOption {
	return []dtls.ClientOption{dtls.WithCertificates(a.certificate(t, "exporter")), dtls.WithRootCAs(a.pool), dtls.WithServerName("collector")}
}

func (a authority) server(t *testing.T) []dtls.ServerOption {
	return []dtls.ServerOption{dtls.WithCertificates(a.certificate(t, "collector")), dtls.WithClientCAs(a.pool), dtls.WithClientAuth(dtls.RequireAndVerifyClientCert)}
}

// carriers are the two ends of a connection: a stream's, or one that keeps
// messages apart.
func carriers(t *testing.T, network string) (net.Conn, net.Conn) {
	t.Helper()
	addr := "127.0.0.1:0"
	if network == "unixpacket" {
		addr = filepath.Join(t.TempDir(), "s")
	}
	ln, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	accepted := make(chan net.Conn, 1)
	go func() { // ended by ln.Close
		if c, err := ln.Accept(); err == nil {
			accepted <- c
		}
	}()
	c, err := net.Dial(network, ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return c, <-accepted
}

// crumbs cuts what is written, and read, into small pieces.
type crumbs struct {
	net.Conn
	rng *rand.Rand
}

func (c crumbs) Read(b []byte) (int, error) { return c.Conn.Read(b[:min(len(b), 1+c.rng.IntN(700))]) }

func both(t *testing.T, a authority, x, y net.Conn) (c, s *Conn) {
	t.Helper()
	server, client := a.server(t), a.client(t)
	var wg sync.WaitGroup
	var err error
	wg.Go(func() { s, err = Server(t.Context(), y, server...) })
	c, cerr := Client(t.Context(), x, client...)
	wg.Wait()
	if err := errors.Join(err, cerr); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		s.Close()
	})
	return c, s
}

var here, there = wire.Address{Host: []byte("client"), Port: 1}, wire.Address{Host: []byte("server"), Port: 4740}

// Channels in a DTLS session over carriers that keep the order: agreed on by
// the extension, many at a time, whatever the carrier's segmentation.
func TestChannels(t *testing.T) {
	a := newAuthority(t)
	for _, row := range []struct {
		network string
		crumbs  bool
	}{{"tcp", false}, {"tcp", true}, {"unixpacket", false}} {
		t.Run(row.network, func(t *testing.T) {
			x, y := carriers(t, row.network)
			if row.crumbs {
				x, y = crumbs{x, rand.New(rand.NewPCG(1, 1))}, crumbs{y, rand.New(rand.NewPCG(1, 2))}
			}
			c, s := both(t, a, x, y)
			if !c.Agreed() || !s.Agreed() {
				t.Fatalf("agreed: client %v, server %v", c.Agreed(), s.Agreed())
			}
			mc, ms := tlsmux.Client(c, tlsmux.Config{}), tlsmux.Server(s, tlsmux.Config{})
			defer mc.Close()
			defer ms.Close()
			var wg sync.WaitGroup
			for i := range 10 {
				out, err := mc.Open(t.Context(), here, there)
				if err != nil {
					t.Fatal(err)
				}
				in, err := ms.Accept(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				want := bytes.Repeat([]byte{byte(i), 1, 2}, 50_000)
				wg.Go(func() {
					if _, err := out.Write(want); err != nil {
						t.Error(err)
					}
					out.Close()
				})
				wg.Go(func() {
					got, err := io.ReadAll(in)
					if err != nil || !bytes.Equal(got, want) {
						t.Errorf("channel %d: %d octets of %d, or others: %v", i, len(got), len(want), err)
					}
				})
			}
			wg.Wait()
		})
	}
}

// Section 2.1: with a peer that does not know the extension plain DTLS goes on.
func TestWithoutAgreement(t *testing.T) {
	a := newAuthority(t)
	for _, knows := range []string{"client", "server"} {
		t.Run("only the "+knows, func(t *testing.T) {
			x, y := carriers(t, "unixpacket")
			server, client := a.server(t), a.client(t)
			var wg sync.WaitGroup
			var plain *dtls.Conn
			var ours *Conn
			var err, perr error
			if knows == "client" {
				plain, perr = dtls.ServerWithOptions(packets{y}, y.RemoteAddr(), server...)
				wg.Go(func() { ours, err = Client(t.Context(), x, client...) })
			} else {
				plain, perr = dtls.ClientWithOptions(packets{x}, x.RemoteAddr(), client...)
				wg.Go(func() { ours, err = Server(t.Context(), y, server...) })
			}
			if perr == nil {
				perr = plain.HandshakeContext(t.Context())
			}
			wg.Wait()
			if err := errors.Join(err, perr); err != nil {
				t.Fatal(err)
			}
			defer plain.Close()
			defer ours.Close()
			if ours.Agreed() {
				t.Error("agreed with one that does not know it")
			}
			if _, err := plain.Write([]byte("hello")); err != nil {
				t.Fatal(err)
			}
			b := make([]byte, 3)
			if _, err := io.ReadFull(ours, b); err != nil || string(b) != "hel" {
				t.Errorf("%q, %v", b, err)
			}
		})
	}
}

// packets is a carrier that keeps messages apart, as pion takes it.
type packets struct{ net.Conn }

func (p packets) ReadFrom(b []byte) (int, net.Addr, error) {
	n, err := p.Read(b)
	return n, p.RemoteAddr(), err
}
func (p packets) WriteTo(b []byte, _ net.Addr) (int, error) { return p.Write(b) }

// OpenSSL offers the empty extension, or does not, and shows what our server
// makes of it.
func TestOpenSSL(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		if os.Getenv("IPFIXSUITE_REQUIRE_TOOLS") != "" {
			t.Fatal(err)
		}
		t.Skip("openssl is not installed")
	}
	a := newAuthority(t)
	for _, offer := range []bool{true, false} {
		t.Run("offered "+map[bool]string{true: "yes", false: "no"}[offer], func(t *testing.T) {
			// Its DTLS is over UDP; on the loopback, one datagram at a time, that
			// keeps the order.
			u, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
			if err != nil {
				t.Fatal(err)
			}
			if err := u.SetDeadline(time.Now().Add(time.Minute)); err != nil { // no hang, but a failure
				t.Fatal(err)
			}
			carrier := &answering{UDPConn: u}
			args := []string{"s_client", "-nbio", "-dtls1_2", "-connect", u.LocalAddr().String(), "-cert", a.File("exporter.pem"), "-key", a.File("exporter-key.pem"), "-CAfile", a.File("ca.pem"), "-verify_return_error"}
			if offer {
				args = append(args, "-serverinfo", "65357")
			}
			cmd := exec.Command(openssl, args...)
			stdin, hold := io.Pipe()
			defer hold.Close()
			var said bytes.Buffer
			cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &said, &said
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			s, err := Server(t.Context(), carrier, a.server(t)...)
			if err != nil {
				_ = cmd.Process.Kill()
				_ = cmd.Wait()
				t.Fatalf("%v\n%s", err, said.Bytes())
			}
			// As a speaker of the draft it opens a channel.
			request, _ := hex.DecodeString("01001b00050000006400000064" + "000178" + "0001" + "0006736572766572" + "1284")
			request[2] = byte(len(request))
			_, _ = hold.Write(request)
			got := make([]byte, len(request))
			if _, err := io.ReadFull(s, got); err != nil || !bytes.Equal(got, request) {
				t.Errorf("% x, %v", got, err)
			}
			hold.Close()
			s.Close()
			_ = cmd.Wait()
			if s.Agreed() != offer || strings.Contains(said.String(), "SERVERINFO FOR EXTENSION 65357") != offer {
				t.Errorf("agreed: %v\n%s", s.Agreed(), said.Bytes())
			}
		})
	}
}

// answering is a UDP socket as a connection with whoever sent first.
type answering struct {
	*net.UDPConn
	mu   sync.Mutex
	peer net.Addr
}

func (a *answering) Read(b []byte) (int, error) {
	n, peer, err := a.ReadFrom(b)
	a.mu.Lock()
	a.peer = peer
	a.mu.Unlock()
	return n, err
}

func (a *answering) Write(b []byte) (int, error) {
	a.mu.Lock()
	peer := a.peer
	a.mu.Unlock()
	return a.WriteTo(b, peer)
}

func (a *answering) RemoteAddr() net.Addr { return &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

// A carrier that brings something else ends the session.
func TestBadCarrier(t *testing.T) {
	a := newAuthority(t)
	x, y := carriers(t, "tcp")
	_, _ = x.Write(bytes.Repeat([]byte("GET / HTTP/1.1\r\n"), 100))
	defer x.Close()
	if _, err := Server(t.Context(), y, a.server(t)...); !errors.Is(err, ErrCarrier) {
		t.Errorf("%v", err)
	}
}

// Hellos by hand: records, then handshake messages, RFC 6347, Section 4.2.
func TestOffers(t *testing.T) {
	head := func(hello byte, body string) []byte {
		b, err := hex.DecodeString(strings.Join(strings.Fields(body), ""))
		if err != nil {
			t.Fatal(err)
		}
		n := byte(len(b))
		m := append([]byte{hello, 0, 0, n, 0, 0, 0, 0, 0, 0, 0, n}, b...)
		return append([]byte{22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, byte(len(m))}, m...)
	}
	random := strings.Repeat("aa", 32)
	client := "fefd " + random + " 00 02 c0de 0002 c02b 01 00"
	server := "fefd " + random + " 00 c02b 00"
	for _, row := range []struct {
		name    string
		record  []byte
		hello   byte
		is, ext bool
	}{
		{"offered", head(1, client+"0008 0017 0000 ff4d 0000"), 1, true, true},
		{"not offered", head(1, client+"0004 0017 0000"), 1, true, false},
		{"no extensions", head(1, client), 1, true, false},
		{"taken up", head(2, server+"0004 ff4d 0000"), 2, true, true},
		{"not empty", head(1, client+"0005 ff4d 0001 00"), 1, true, false},
		{"beyond its end", head(1, client+"0008 ff4e 0009 ff4d 0000"), 1, true, false},
		{"lists that do not end", head(1, "fefd "+random+" ff"), 1, true, false},
		{"the other hello", head(2, server+"0004 ff4d 0000"), 1, false, false},
		{"too short", head(1, "")[:20], 1, false, false},
	} {
		if is, ext := offers(row.record, row.hello); is != row.is || ext != row.ext {
			t.Errorf("%s: %v, %v", row.name, is, ext)
		}
	}
	part := head(1, client+"0008 0017 0000 ff4d 0000")
	part[recordHeader+3]++ // longer than what is here
	if is, ext := offers(part, 1); !is || ext {
		t.Errorf("a fragment: %v, %v", is, ext)
	}
}

func FuzzOffers(f *testing.F) {
	f.Add([]byte{22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 1, 0, 0}, byte(1))
	f.Fuzz(func(t *testing.T, b []byte, hello byte) {
		if is, ext := offers(b, hello); ext && !is {
			t.Error("extended, but no hello")
		}
	})
}
