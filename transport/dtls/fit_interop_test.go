package dtls

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"ipfixsuite/test/harness"
	"ipfixsuite/transport"
	"ipfixsuite/transport/credentials"
	"ipfixsuite/transport/udp"
)

// narrow is a socket whose path drops what is large, without a word.
type narrow struct {
	*udp.Conn
	dropped *atomic.Int64
}

func (n narrow) WriteBatch(batch []transport.Datagram) (int, error) {
	for i, d := range batch {
		if len(d.Data) > smallDatagram {
			n.dropped.Add(1)
			continue
		}
		if _, err := n.Conn.WriteBatch(batch[i : i+1]); err != nil {
			return i, err
		}
	}
	return len(batch), nil
}

// RFC 6347, Section 4.1.1.1: servers that others wrote put our smaller
// fragments together, beside pieces of the larger ones that they already have.
func TestInteropSmallerFragments_RFC6347_4_1_1_1(t *testing.T) {
	a := newAuthority(t, "test CA")
	cert, key := a.issue(t, "collector.test", nil, false)
	cfg := Config{Credentials: a.creds(t, "exporter.test", nil, many), ServerName: "collector.test"}
	for name, args := range map[string][]string{
		"openssl": {"s_server", "-dtls1_2", "-mtu", "500", "-Verify", "1", "-CAfile", a.ca(), "-cert", cert, "-key", key, "-accept"},
		"gnutls-serv": {"--udp", "--echo", "--mtu", "500", "--require-client-cert", "--verify-client-cert", "--x509cafile=" + a.ca(),
			"--x509certfile=" + cert, "--x509keyfile=" + key, "-p"},
	} {
		t.Run(name, func(t *testing.T) {
			// gnutls-serv 3.7.9 does not get over a flight that comes once more
			// while it stands still: its keys are others from then on.
			var s *session
			var p *peerProcess
			var err error
			for range 3 {
				if s, p, err = through(t, cfg, name, args); err == nil {
					break
				}
				t.Log(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			send(t, s, "through\n")
			if name == "openssl" {
				p.says(t, "through", 1)
			} else {
				eventually(t, "the echo", func() bool { return s.Stats().RecordsDropped > 0 })
			}
			_ = s.Close(t.Context())
		})
	}
}

// through dials a server by a path that drops what is large.
func through(t *testing.T, cfg Config, name string, args []string) (*session, *peerProcess, error) {
	port := harness.FreePort(t)
	p := start(t, name, append(slices.Clone(args), strconv.Itoa(port))...)
	dropped := new(atomic.Int64)
	d := udpDialer(port, cfg)
	d.Config.Retransmit = 500 * time.Millisecond // gnutls-serv takes its time over each record
	connect := d.Connect
	d.Connect = func(ctx context.Context) (transport.DatagramConn, netip.AddrPort, error) {
		c, to, err := connect(ctx)
		if err != nil {
			return nil, to, err
		}
		return narrow{c.(*udp.Conn), dropped}, to, nil
	}
	s, err := d.Dial(t.Context())
	if err != nil {
		return nil, p, err
	}
	t.Cleanup(func() { _ = s.Close(context.Background()) })
	if dropped.Load() < largeTries {
		t.Errorf("%d datagrams were too large: nothing is proven", dropped.Load())
	}
	return s.(*session), p, nil
}

// loses is a listener's socket that loses the first hello.
type loses struct {
	*udp.Conn
	hellos *atomic.Int64 // with a cookie
	lost   *atomic.Bool
}

func (l loses) ReadBatch(ctx context.Context, dst []transport.Datagram) (int, error) {
	for {
		n, err := l.Conn.ReadBatch(ctx, dst)
		kept := dst[:0]
		for _, d := range dst[:n] {
			if says(d.Data, typeClientHello) {
				if l.lost.CompareAndSwap(false, true) {
					continue
				}
				if _, h, ok := clientHello(d.Data); ok && len(h.cookie) > 0 {
					l.hellos.Add(1)
				}
			}
			kept = append(kept, d)
		}
		if len(kept) > 0 || err != nil {
			return len(kept), err
		}
	}
}

// RFC 6347, Section 4.2.1: clients that others wrote take the ServerHello for
// no replay of the HelloVerifyRequest when their first hello was lost: they
// have no need to send the second one twice.
func TestInteropServerHelloNumber_RFC6347_4_2_1(t *testing.T) {
	a := newAuthority(t, "test CA")
	cert, key := a.issue(t, "exporter.test", nil, false)
	for name, args := range map[string][]string{
		"openssl": {"s_client", "-nbio", "-dtls1_2", "-CAfile", a.ca(), "-cert", cert, "-key", key, "-connect"},
		"gnutls-cli": {"--udp", "--x509cafile=" + a.ca(), "--x509certfile=" + cert, "--x509keyfile=" + key,
			"--verify-hostname=collector.test", "127.0.0.1", "-p"},
	} {
		t.Run(name, func(t *testing.T) {
			tool(t, name)
			creds := a.creds(t, "collector.test", nil, nil)
			hellos := int64(0)
			// A machine that stands still for a second has them sent twice as well.
			for range 3 {
				if hellos = helloLost(t, creds, name, args); hellos == 1 {
					return
				}
			}
			t.Errorf("%d hellos with a cookie", hellos)
		})
	}
}

// helloLost meets a client whose first hello is lost, and returns how many it
// sent with a cookie.
func helloLost(t *testing.T, creds *credentials.Credentials, name string, args []string) int64 {
	t.Helper()
	c, err := udp.Listen(netip.MustParseAddrPort("127.0.0.1:0"), udp.Config{})
	if err != nil {
		t.Fatal(err)
	}
	conn := loses{c, new(atomic.Int64), new(atomic.Bool)}
	l := serve(t, conn, Config{Credentials: creds})
	to := c.LocalAddr().String()
	if name == "gnutls-cli" {
		to = fmt.Sprint(c.LocalAddr().Port())
	}
	p := start(t, name, append(slices.Clone(args), to)...)
	got := l.session(t)
	n := conn.hellos.Load()
	if !conn.lost.Load() {
		t.Error("no hello was lost")
	}
	if name == "openssl" {
		// What it says when it has our last flight; its input it may be deaf to.
		p.says(t, "Cipher is", 1)
	} else {
		fmt.Fprint(p.in, "a message\n")
		expect(t, got, "a message\n")
	}
	return n
}
