package dtls

import (
	"bytes"
	"context"
	"net/netip"
	"sync"
	"testing"

	"ipfixsuite/transport/credentials"
)

// offers notes whether the last ClientHello offered a session.
type offers struct {
	mu      sync.Mutex
	offered bool
}

func (o *offers) filter(_, _ netip.AddrPort, b []byte) [][]byte {
	if says(b, typeClientHello) {
		if _, h, ok := clientHello(b); ok {
			o.mu.Lock()
			o.offered = len(h.sessionID) > 0
			o.mu.Unlock()
		}
	}
	return [][]byte{b}
}

func (o *offers) last() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.offered
}

// RFC 5238, Section 3.4: a session goes on over another transport. It is
// offered to the collector that made it alone, and under the credentials it
// was made with: here all collectors know all sessions, and would resume them.
func TestClientSessions_RFC5238_3_4(t *testing.T) {
	const otherPort, otherAddr = "198.51.100.1:4741", "198.51.100.2:4740"
	a, b := newAuthority(t, "test CA"), newAuthority(t, "other CA")
	twoNames := func(c *x509Cert) { c.DNSNames = append(c.DNSNames, "other.test") }
	both := t.TempDir() + "/both.pem"
	writeBoth(t, both, a, b)
	psk := func(identity, key string) *credentials.Credentials {
		return load(t, credentials.Config{PSKFile: pskFile(t, identity+":"+key+"\n"), PSKIdentity: identity})
	}
	withPSK := func(c *credentials.Config) { c.PSKFile = pskFile(t, "exporter-1:"+key1+"\nexporter-2:"+key1+"\n") }
	exporter := a.creds(t, "exporter.test", nil, nil)
	certFile, keyFile := a.issue(t, "exporter.test", nil, false)
	named := func(edit func(*credentials.Config)) *credentials.Credentials {
		cfg := credentials.Config{CertFile: certFile, KeyFile: keyFile, CAFile: a.ca()}
		if edit != nil {
			edit(&cfg)
		}
		return load(t, cfg)
	}
	for _, tt := range []struct {
		name             string
		first            Config // Credentials and ServerName; default: exporter and collector.test
		second           Config // the same; default: those of first
		to               string // whom the second session is with; default: otherPort
		between          func(collector *swap, d *Dialer, first *session, in *sunk)
		offered, resumed bool
	}{
		{name: "another port, another transport", offered: true, resumed: true},
		{name: "the name in another form", second: Config{ServerName: "Collector.TEST."}, offered: true, resumed: true},
		{name: "another host, though the certificate is for both", second: Config{ServerName: "other.test"}},
		{name: "another address of the host", to: otherAddr},
		{name: "another name to prove", first: Config{Credentials: named(nil)},
			second: Config{Credentials: named(func(c *credentials.Config) { c.ServerName = "other.test" })}},
		{name: "the same name to prove, another host",
			first:  Config{Credentials: named(func(c *credentials.Config) { c.ServerName = "other.test" })},
			second: Config{ServerName: "somewhere.test"}},
		{name: "another certificate of ours", second: Config{Credentials: a.creds(t, "exporter.test", nil, nil)}},
		{name: "another authority trusted as well", first: Config{Credentials: named(nil)},
			second: Config{Credentials: named(func(c *credentials.Config) { c.CAFile = both })}},
		{name: "pre-shared key", first: Config{Credentials: psk("exporter-1", key1)}, offered: true, resumed: true},
		{name: "another identity", first: Config{Credentials: psk("exporter-1", key1)}, second: Config{Credentials: psk("exporter-2", key1)}},
		{name: "a key instead of a certificate", second: Config{Credentials: psk("exporter-1", key1)}},
		{name: "a certificate instead of a key", first: Config{Credentials: psk("exporter-1", key1)}, second: Config{Credentials: exporter}},
		{name: "the collector has another certificate", offered: true, between: func(collector *swap, _ *Dialer, _ *session, _ *sunk) {
			collector.to(a.creds(t, "collector.test", withPSK, twoNames))
		}},
		{name: "full handshakes are wanted", between: func(_ *swap, d *Dialer, _ *session, _ *sunk) { d.Forget() }},
		{name: "a fatal alert ended the first", between: func(_ *swap, _ *Dialer, first *session, _ *sunk) {
			first.end(&AlertError{Code: alertDecryptError})
		}},
		{name: "closed in order", offered: true, resumed: true, between: func(_ *swap, _ *Dialer, first *session, in *sunk) {
			_ = first.Close(context.Background())
			wait(t, in.closed, "close")
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := newMemNetwork()
			o := new(offers)
			n.setFilter(o.filter)
			collector := newSwap(a.creds(t, "collector.test", withPSK, twoNames))
			known := NewSessions(0, 0)
			listeners := map[string]*serving{}
			for _, at := range []string{collectorAddr, otherPort, otherAddr} {
				listeners[at] = serve(t, n.listen(at), Config{Credentials: collector, Sessions: known})
			}
			shared := NewClientSessions(0)
			config := func(c, otherwise Config) Config {
				if c.Credentials == nil {
					c.Credentials = otherwise.Credentials
				}
				if c.ServerName == "" {
					c.ServerName = otherwise.ServerName
				}
				c.Resume = shared
				return c
			}
			first := config(tt.first, Config{Credentials: exporter, ServerName: "collector.test"})
			second := config(tt.second, first)
			if tt.to == "" {
				tt.to = otherPort
			}
			s := dial(t, memDialer(n, collectorAddr, first, addrN(1)))
			in := listeners[collectorAddr].session(t)
			if s.Peer().Resumed || o.last() || shared.Len() != 1 {
				t.Fatalf("the first session: resumed %v, offered %v; %d kept", s.Peer().Resumed, o.last(), shared.Len())
			}
			d := memDialer(n, tt.to, second, addrN(2), addrN(3))
			if tt.between != nil {
				tt.between(collector, d, s, in)
			}
			s = dial(t, d)
			in = listeners[tt.to].session(t)
			if s.Peer().Resumed != tt.resumed || in.peer.Resumed != tt.resumed || o.last() != tt.offered {
				t.Errorf("resumed %v and %v, want %v; offered %v, want %v", s.Peer().Resumed, in.peer.Resumed, tt.resumed, o.last(), tt.offered)
			}
			send(t, s, "through")
			expect(t, in, "through")
			// Its own next session resumes in any case.
			if s = dial(t, d); !s.Peer().Resumed {
				t.Error("a full handshake again")
			}
		})
	}
}

// A Dialer's own session goes before what others have made since, and what is
// shared is the latest of all.
func TestClientSessions_OwnFirst(t *testing.T) {
	collector, exporter := mutual(t)
	exporter.Resume = NewClientSessions(0)
	n := newMemNetwork()
	l := serve(t, n.listen(collectorAddr), collector)
	used := func(d *Dialer) []byte {
		s := dial(t, d)
		l.session(t) // kept by then
		return bytes.Clone(s.id)
	}
	d1, d2 := memDialer(n, collectorAddr, exporter, addrN(1)), memDialer(n, collectorAddr, exporter, addrN(2))
	one := used(d1)
	if !bytes.Equal(used(d2), one) {
		t.Error("the second dialer did not resume")
	}
	d2.Forget()
	two := used(d2)
	if bytes.Equal(two, one) {
		t.Error("resumed, though it was to be forgotten")
	}
	if !bytes.Equal(used(d1), one) || !bytes.Equal(used(d2), two) {
		t.Error("another's session goes before the own")
	}
	if !bytes.Equal(used(memDialer(n, collectorAddr, exporter, addrN(3))), two) {
		t.Error("the latest is not what others resume")
	}
	exporter.Resume = NewClientSessions(-1)
	if s := dial(t, memDialer(n, collectorAddr, exporter, addrN(4))); s.Peer().Resumed || exporter.Resume.Len() > 0 {
		t.Error("kept for no time")
	}
}
