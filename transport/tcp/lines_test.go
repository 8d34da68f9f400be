package tcp

import (
	"crypto/tls"
	"testing"
	"time"
)

// client is a TLS client of crypto/tls with a cache of its own.
func (a authority) client(t testing.TB, l *serving, version uint16, cache tls.ClientSessionCache) (resumed bool) {
	t.Helper()
	c, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{
		Certificates: []tls.Certificate{a.Credentials(t, "exporter").Certificate()}, ServerName: "collector", ClientSessionCache: cache,
		InsecureSkipVerify: true, MaxVersion: version, //nolint:gosec // what the collector does is looked at
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
	if _, err := c.Write(message(100, 1)); err != nil {
		t.Fatal(err)
	}
	_ = c.CloseWrite()
	_, _ = c.Read(make([]byte, 1)) // the tickets of TLS 1.3 come before the end
	in := wait(t, l.Opened, "session")
	in.Messages(t, 1)
	if in.Peer.Resumed != c.ConnectionState().DidResume {
		t.Errorf("resumed: collector says %v, client %v", in.Peer.Resumed, c.ConnectionState().DidResume)
	}
	return in.Peer.Resumed
}

// A TLS session that was barred is not resumed, by a ticket of any session of
// its line; others are.
func TestTLS_Bar(t *testing.T) {
	ca := newAuthority(t)
	for _, row := range []struct {
		name    string
		version uint16
	}{{"TLS 1.2", tls.VersionTLS12}, {"TLS 1.3", tls.VersionTLS13}} {
		t.Run(row.name, func(t *testing.T) {
			l := serve(t, Config{Credentials: ca.Credentials(t, "collector")})
			srv := &l.Listener.(*listener).server
			dial := func(cache tls.ClientSessionCache) bool { return ca.client(t, l, row.version, cache) }
			bad, good := tls.NewLRUClientSessionCache(1), tls.NewLRUClientSessionCache(1)
			if dial(bad) || dial(good) {
				t.Error("resumed at first")
			}
			first, _ := bad.Get("collector")
			if !dial(bad) || !dial(good) {
				t.Fatal("not resumed")
			}
			srv.bar(1) // the first line
			if dial(bad) {
				t.Error("resumed what is barred")
			}
			if !dial(bad) || !dial(good) {
				t.Error("not resumed, though not barred")
			}
			bad.Put("collector", first)
			if dial(bad) {
				t.Error("resumed by the first ticket of what is barred")
			}
			for line := range uint64(maxBarred + 1) {
				srv.bar(1000 + line)
			}
			if n := len(srv.lines.barred); n > maxBarred {
				t.Errorf("%d are remembered", n)
			}
			if dial(good) {
				t.Error("resumed a session of which it is not known whether it is barred")
			}
			if !dial(good) {
				t.Error("not resumed ever after")
			}
		})
	}
}

// RFC 6066, Section 3; RFC 7301, Section 3.2: the name that was dialled goes
// with the ClientHello, an address does not; plain IPFIX offers no protocol, and
// a peer that offers one of its own gets plain IPFIX.
func TestTLS_NameAndProtocol(t *testing.T) {
	ca := newAuthority(t)
	creds := ca.Credentials(t, "collector")
	for _, row := range []struct{ dialled, sent string }{{"collector", "collector"}, {"127.0.0.1", ""}} {
		hello := make(chan *tls.ClientHelloInfo, 1)
		ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{ClientAuth: tls.RequireAnyClientCert, GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
			hello <- h
			return nil, nil //nolint:nilnil // the one that it has
		}, Certificates: []tls.Certificate{creds.Certificate()}})
		if err != nil {
			t.Fatal(err)
		}
		go func() { // ended by ln.Close
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				_, _ = c.Read(make([]byte, 1))
				c.Close()
			}
		}()
		d := ca.dialer(t, addrPort(ln.Addr()))
		d.Config.ServerName = row.dialled
		dial(t, d)
		if h := wait(t, hello, "ClientHello"); h.ServerName != row.sent || len(h.SupportedProtos) != 0 {
			t.Errorf("%s: sent the name %q, protocols %q", row.dialled, h.ServerName, h.SupportedProtos)
		}
		ln.Close()
	}
	l := serve(t, Config{Credentials: creds, NextProtos: []string{"x"}})
	for _, offer := range [][]string{nil, {"h2"}, {"h2", "x"}} {
		d := ca.dialer(t, l.Addr())
		d.Config.NextProtos = offer
		send(t, dial(t, d), message(100, 1))
		wait(t, l.Opened, "session").Messages(t, 1)
	}
}
