package dtls

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ipfixsuite/transport"
	"ipfixsuite/transport/credentials"
	"ipfixsuite/transport/dtls/record"
)

// pskConfigs are a collector and an exporter with one key, given for each.
func pskConfigs(t testing.TB, collectorKey, exporterKey string) (collector, exporter Config) {
	t.Helper()
	collector = Config{Credentials: load(t, credentials.Config{PSKFile: pskFile(t, "exporter-1:"+collectorKey+"\nother:ffffffffffffffffffffffffffffffff\n")})}
	exporter = Config{Credentials: load(t, credentials.Config{PSKFile: pskFile(t, "exporter-1:"+exporterKey+"\n"), PSKIdentity: "exporter-1"})}
	return collector, exporter
}

const (
	key1 = "000102030405060708090a0b0c0d0e0f"
	key2 = "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff"
)

func TestSuites(t *testing.T) {
	a := newAuthority(t, "test CA")
	rsaCert, rsaKey := a.issue(t, "rsa.test", nil, true)
	exporter := a.creds(t, "exporter.test", nil, nil)
	for _, suite := range allSuites() {
		for _, cid := range []bool{false, true} {
			t.Run(fmt.Sprintf("%v cid %v", suite, cid), func(t *testing.T) {
				var cc, ec Config
				switch {
				case suite.PSK():
					cc, ec = pskConfigs(t, key1, key1)
				case strings.Contains(suite.String(), "RSA_WITH"):
					cc = Config{Credentials: load(t, credentials.Config{CertFile: rsaCert, KeyFile: rsaKey, CAFile: a.ca()})}
					ec = Config{Credentials: exporter, ServerName: "rsa.test"}
				default:
					cc = Config{Credentials: a.creds(t, "ecdsa.test", nil, nil)}
					ec = Config{Credentials: exporter, ServerName: "ecdsa.test"}
				}
				ec.Suites = []record.Suite{suite}
				cc.ConnectionID, ec.ConnectionID = cid, cid
				n := newMemNetwork()
				l := serve(t, n.listen(collectorAddr), cc)
				s := dial(t, memDialer(n, collectorAddr, ec, addrN(1)))
				send(t, s, "hello", strings.Repeat("x", 1300))
				got := l.session(t)
				expect(t, got, "hello", strings.Repeat("x", 1300))
				probe(t, s)
				if suite.PSK() && got.peer.Identity != "exporter-1" {
					t.Errorf("identity %q", got.peer.Identity)
				}
				if (s.sealer.Overhead() > record.HeaderLen+24) != cid {
					t.Errorf("connection id negotiated: %v", !cid)
				}
				if d := l.Stats().Dropped; len(d) != 0 {
					t.Errorf("dropped %v", d)
				}
			})
		}
	}
}

// Both refuse each other for what is wrong, and both say why.
func TestRefusals(t *testing.T) {
	a, other := newAuthority(t, "test CA"), newAuthority(t, "other CA")
	good := a.creds(t, "exporter.test", nil, nil)
	collector := a.creds(t, "collector.test", nil, nil)
	expired := func(c *x509Cert) { c.NotAfter = epochStart.Add(time.Hour) }
	clientOnly := func(c *x509Cert) { c.ExtKeyUsage = c.ExtKeyUsage[:1] }
	serverOnly := func(c *x509Cert) { c.ExtKeyUsage = c.ExtKeyUsage[1:] }
	foreign := func(name string) *credentials.Credentials {
		cert, key := other.issue(t, name, nil, false)
		return load(t, credentials.Config{CertFile: cert, KeyFile: key, CAFile: a.ca()})
	}
	pc, pe := pskConfigs(t, key1, key2)
	_, unknown := pskConfigs(t, key1, key1)
	unknown.Credentials = load(t, credentials.Config{PSKFile: pskFile(t, "nobody:"+key1), PSKIdentity: "nobody"})
	notAllowed := Config{Credentials: load(t, credentials.Config{PSKFile: pskFile(t, "exporter-1:"+key1), Allow: []string{"*.pop1.example"}})}
	_, pskGood := pskConfigs(t, key1, key1)

	for _, c := range []struct {
		name                string
		collector, exporter Config
		log, err            string
	}{
		{"exporter of another CA", Config{Credentials: collector}, Config{Credentials: foreign("exporter.test"), ServerName: "collector.test"},
			"not issued by an authority", "unknown certificate authority"},
		{"collector of another CA", Config{Credentials: foreign("collector.test")}, Config{Credentials: good, ServerName: "collector.test"},
			"unknown certificate authority", "not issued by an authority"},
		{"exporter expired", Config{Credentials: collector}, Config{Credentials: a.creds(t, "old.test", nil, expired), ServerName: "collector.test"},
			"expired on", "certificate expired"},
		{"collector expired", Config{Credentials: a.creds(t, "collector.test", nil, expired)}, Config{Credentials: good, ServerName: "collector.test"},
			"certificate expired", "expired on"},
		{"collector's name is another", Config{Credentials: collector}, Config{Credentials: good, ServerName: "elsewhere.test"},
			"access denied", "not for elsewhere.test"},
		{"exporter's name is not allowed", Config{Credentials: a.creds(t, "collector.test", func(c *credentials.Config) { c.Allow = []string{"*.pop1.example"} }, nil)},
			Config{Credentials: good, ServerName: "collector.test"}, "no --allow pattern matches", "access denied"},
		{"exporter's EKU lacks clientAuth", Config{Credentials: collector}, Config{Credentials: a.creds(t, "s.test", nil, serverOnly), ServerName: "collector.test"},
			"lacks clientAuth", "access denied"},
		{"collector's EKU lacks serverAuth", Config{Credentials: a.creds(t, "collector.test", nil, clientOnly)}, Config{Credentials: good, ServerName: "collector.test"},
			"access denied", "lacks serverAuth"},
		{"wrong key", pc, pe, "wrong pre-shared key", "decrypt error"},
		{"unknown identity", pc, unknown, `unknown pre-shared key identity \"nobody\"`, "unknown psk identity"},
		{"PSK identity not allowed", notAllowed, pskGood, "matches no --allow pattern", "access denied"},
		{"PSK against certificates", Config{Credentials: collector}, pskGood, "", "insufficient security"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newMemNetwork()
				l := serve(t, n.listen(collectorAddr), c.collector)
				start := time.Now()
				s, err := memDialer(n, collectorAddr, c.exporter, addrN(1)).Dial(t.Context())
				if err == nil {
					_ = s.Close(t.Context())
					t.Fatal("a session came about")
				}
				if !strings.Contains(err.Error(), c.err) {
					t.Errorf("exporter: %v; want %q", err, c.err)
				}
				if d := time.Since(start); d > 2*time.Second {
					t.Errorf("exporter learnt it after %v", d)
				}
				time.Sleep(DefaultHandshakeTimeout) // the collector's own deadline
				synctest.Wait()
				if log := l.log.String(); strings.Count(log, "\n") != 1 || !strings.Contains(log, c.log) {
					t.Errorf("collector's log %q; want %q once", log, c.log)
				}
				if st := l.Stats(); st.HandshakesStarted != 1 || st.HandshakesFailed != 1 || st.SessionsOpened != 0 {
					t.Errorf("collector's stats %+v", st)
				}
				l.l.mu.Lock()
				if len(l.l.peers) != 0 || l.l.half != 0 || len(l.l.prefix) != 0 {
					t.Errorf("left behind: %d peers, %d half-open, %d prefixes", len(l.l.peers), l.l.half, len(l.l.prefix))
				}
				l.l.mu.Unlock()
				_ = l.stop()
			})
		})
	}
}

func TestHandlerRefuses(t *testing.T) {
	collector, exporter := mutual(t)
	n := newMemNetwork()
	l := serve(t, n.listen(collectorAddr), collector)
	l.sink.refuse = fmt.Errorf("domain not allowed")
	// The alert may be there before the exporter's handshake is complete: then
	// it begins anew, to hear the same.
	s, err := memDialer(n, collectorAddr, exporter, addrN(1)).Dial(t.Context())
	if err == nil {
		wait(t, s.Done(), "end")
		if n, err := s.Send(context.Background(), []transport.Outgoing{{Data: []byte("x")}}); n != 0 || err == nil {
			t.Errorf("sent %d: %v", n, err)
		}
		err = s.Err()
	}
	if err == nil || !strings.Contains(err.Error(), "access denied") {
		t.Errorf("refused with %v", err)
	}
	eventually(t, "the count", func() bool { return l.Stats().SessionsRefused > 0 })
	if st := l.Stats(); st.SessionsRefused > dialAttempts || st.SessionsOpened != 0 {
		t.Errorf("collector's stats %+v", st)
	}
	if !strings.Contains(l.log.String(), "domain not allowed") {
		t.Errorf("log %q", l.log)
	}
}
