package doctor

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"ipfixsuite/endpoint"
	"ipfixsuite/pki"
	"ipfixsuite/transport"
	"ipfixsuite/transport/credentials"
	"ipfixsuite/transport/dtls"
)

// An error of a session leads to what is to be done about it.
func TestExplain(t *testing.T) {
	secure := transport.Endpoint{Scheme: "tls+tcp", Host: "h", Port: 1}
	for _, c := range []struct {
		err  error
		want string
	}{
		{&dtls.AlertError{Code: 48}, "--ca must hold"},
		{&dtls.AlertError{Code: 49}, "--allow"},
		{&dtls.AlertError{Code: 200}, ""},
		{&net.OpError{Op: "remote error", Err: tls.AlertError(116)}, "wants a certificate"},
		{&net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}, "does it listen there"},
		{&net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.EHOSTUNREACH)}, "ip route get"},
		{os.NewSyscallError("connect", syscall.EPERM), "nft list ruleset"},
		{fmt.Errorf("read: %w", syscall.ECONNRESET), "hung up"},
		{context.DeadlineExceeded, "firewall"},
		{errors.New("tls: first record does not look like a TLS handshake"), "openssl s_client"},
	} {
		if got := explain(fmt.Errorf("with h: %w", c.err), secure); !strings.Contains(got, c.want) || (c.want == "") != (got == "" || strings.Contains(got, "openssl")) && c.want != "openssl s_client" {
			t.Errorf("%v: %q", c.err, got)
		}
	}
}

// deaf is a collector that takes sessions and never answers a heartbeat.
type deaf struct{ transport.Receiver }

func (deaf) Open(transport.Peer, transport.Properties) (transport.Receiver, error) {
	return deaf{}, nil
}
func (deaf) Barrier(func()) {}
func (deaf) Closed(error)   {}

func pair(t *testing.T) (exporter, collector *credentials.Credentials) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "pki")
	if err := errors.Join(pki.Init(dir, pki.Options{}), pki.Issue(dir, "collector.example", nil, pki.Options{}), pki.Issue(dir, "exporter.example", nil, pki.Options{})); err != nil {
		t.Fatal(err)
	}
	load := func(name string) *credentials.Credentials {
		c, err := credentials.Load(credentials.Config{
			CertFile: filepath.Join(dir, name+".pem"), KeyFile: filepath.Join(dir, name+"-key.pem"), CAFile: filepath.Join(dir, "ca.pem"),
		})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	return load("exporter.example"), load("collector.example")
}

// serve has a listener's sessions taken until the test ends.
func serve(t *testing.T, l transport.Listener) netip.AddrPort {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- l.Serve(ctx, deaf{}) }() // ended by cancel
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return l.Addr()
}

// patience bounds each step that is answered: only what is not has to wait.
const patience = time.Minute

// A collector whose sinks hang does not answer heartbeats.
func TestTarget_deaf(t *testing.T) {
	exporter, collector := pair(t)
	l, err := endpoint.Listen(transport.Endpoint{Scheme: "dtls+udp", Host: "127.0.0.1"}, endpoint.Config{Credentials: collector})
	if err != nil {
		t.Fatal(err)
	}
	target := at("dtls+udp", serve(t, l), exporter)
	dialer, err := endpoint.Dialer(target.Endpoint, target.Config)
	if err != nil {
		t.Fatal(err)
	}
	open, _, err := target.dial(t.Context(), dialer)
	if err != nil {
		t.Fatal(err)
	}
	s := &Section{Well: true}
	target.Timeout = 200 * time.Millisecond
	target.alive(t.Context(), s, open)
	target.Timeout = patience
	target.close(t.Context(), s, open)
	if s.Well || !has(s, Fail, "heartbeat", "not answered within 200ms") || !has(s, OK, "close", "in order") {
		t.Errorf("%+v", s)
	}
}

// at is the collector collector.example at an address.
func at(scheme string, addr netip.AddrPort, exporter *credentials.Credentials) Target {
	return Target{
		Endpoint: transport.Endpoint{Scheme: scheme, Host: "collector.example", Port: addr.Port()}, Timeout: patience,
		Config: endpoint.Config{Credentials: exporter, Lookup: func(context.Context, string) ([]netip.Addr, error) {
			return []netip.Addr{addr.Addr()}, nil
		}},
	}
}

// Of a name with several addresses one that nobody serves is no failure.
func TestTarget_oneOfTwoAddresses(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() { // ends with the listener
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.(*net.TCPConn).CloseWrite()
		}
	}()
	port := uint16(l.Addr().(*net.TCPAddr).Port)
	check := func(names ...string) *Section {
		s := &Section{Well: true}
		Target{
			Endpoint: transport.Endpoint{Scheme: "tcp", Host: "a.localhost", Port: port}, Timeout: patience,
			Config: endpoint.Config{Lookup: func(context.Context, string) (list []netip.Addr, err error) {
				for _, n := range names {
					list = append(list, netip.MustParseAddr(n))
				}
				return list, nil
			}},
		}.Check(t.Context(), s)
		return s
	}
	if s := check("127.0.0.2", "127.0.0.1", "127.0.0.1"); !s.Well || !has(s, Warn, "session", "127.0.0.2") || !has(s, OK, "session", "127.0.0.1") ||
		!has(s, OK, "name", "a.localhost is 127.0.0.2 (IPv4), 127.0.0.1 (IPv4), in ") {
		t.Errorf("%+v", s)
	}
	if s := check("127.0.0.2", "127.0.0.3"); s.Well || !has(s, Fail, "session", "127.0.0.3") {
		t.Errorf("%+v", s)
	}
	if s := check(); s.Well || !has(s, Fail, "name", "has no address") {
		t.Errorf("%+v", s)
	}
}

// The route is asked of the system, and the path's MTU.
func TestRoutes(t *testing.T) {
	s := &Section{Well: true}
	list, first := routes(s, []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")})
	if len(list) != 1 || first.mtu < 1280 || first.source != netip.MustParseAddr("127.0.0.1") || !s.Well {
		t.Errorf("%v, %+v, %+v", list, first, s)
	}
}

func TestHost(t *testing.T) {
	s := &Section{Well: true}
	Host(s, 0, time.Now())
	if !s.Well || len(s.Findings) < 2 || s.Findings[1].Step != "clock" {
		t.Errorf("%+v", s)
	}
}

// A collector that has TLS and no MTA-TLS serves an exporter that asks for it,
// with less.
func TestTarget_noChannels(t *testing.T) {
	exporter, collector := pair(t)
	l, err := endpoint.Listen(transport.Endpoint{Scheme: "tls+tcp", Host: "127.0.0.1"}, endpoint.Config{Credentials: collector})
	if err != nil {
		t.Fatal(err)
	}
	s := &Section{Well: true}
	at("mta+tls+tcp", serve(t, l), exporter).Check(t.Context(), s)
	if !s.Well || !has(s, OK, "session", "the collector is collector.example") || !has(s, Warn, "channels", "plain TLS") || !has(s, OK, "second session", "resumed") {
		t.Errorf("%+v", s)
	}
}
