package dtls

import (
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ipfixsuite/transport/credentials"
)

// swap is a Source that a test turns to other credentials.
type swap struct {
	mu      sync.Mutex
	now     *credentials.Credentials
	changed chan struct{}
}

func newSwap(c *credentials.Credentials) *swap { return &swap{now: c, changed: make(chan struct{})} }

func (s *swap) Current() *credentials.Credentials {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

func (s *swap) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

func (s *swap) to(c *credentials.Credentials) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = c
	close(s.changed)
	s.changed = make(chan struct{})
}

// New sessions prove the new certificate, on both sides by a full handshake;
// living ones go on.
func TestCredentials_swapped(t *testing.T) {
	a := newAuthority(t, "test CA")
	with := func(name string) *credentials.Credentials { return a.creds(t, name, nil, nil) }
	for _, c := range []struct {
		name     string
		swap     func(collector, exporter *swap)
		identity string
	}{
		{"nothing", func(_, _ *swap) {}, "exporter.test"},
		{"the exporter's", func(_, e *swap) { e.to(with("renewed.test")) }, "renewed.test"},
		{"the collector's", func(c, _ *swap) { c.to(with("collector.test")) }, "exporter.test"},
		{"both", func(c, e *swap) { c.to(with("collector.test")); e.to(with("renewed.test")) }, "renewed.test"},
	} {
		t.Run(c.name, func(t *testing.T) {
			collector, exporter := newSwap(with("collector.test")), newSwap(with("exporter.test"))
			n := newMemNetwork()
			l := serve(t, n.listen(collectorAddr), Config{Credentials: collector})
			d := memDialer(n, collectorAddr, Config{Credentials: exporter, ServerName: "collector.test"}, addrN(1), addrN(2), addrN(3))
			first := dial(t, d)
			inFirst := l.session(t)
			c.swap(collector, exporter)
			second := dial(t, d)
			inSecond := l.session(t)
			if full := c.name != "nothing"; second.Peer().Resumed == full || inSecond.peer.Resumed == full {
				t.Errorf("resumed: %v", second.Peer().Resumed)
			}
			if inSecond.peer.Identity != c.identity {
				t.Errorf("came as %s", inSecond.peer.Identity)
			}
			send(t, first, "old")
			expect(t, inFirst, "old")
			probe(t, first)
			send(t, second, "new")
			expect(t, inSecond, "new")
			// What the second made can be resumed.
			if third := dial(t, d); !third.Peer().Resumed || l.session(t).peer.Identity != c.identity {
				t.Error("the session of the new credentials was not resumed")
			}
		})
	}
}

// An authority that is no longer trusted vouches for nobody: not by a session
// to be resumed, on either side, nor by one that lives.
func TestCredentials_revokedAuthority(t *testing.T) {
	a, b := newAuthority(t, "test CA"), newAuthority(t, "new CA")
	// Both ends trust both, but the certificates are of the first.
	both := t.TempDir() + "/both.pem"
	writeBoth(t, both, a, b)
	of := func(by *authority, name, ca string) *credentials.Credentials {
		return by.creds(t, name, func(c *credentials.Config) { c.CAFile = ca }, nil)
	}
	t.Run("at the collector", func(t *testing.T) {
		collector := newSwap(of(b, "collector.test", both))
		n := newMemNetwork()
		l := serve(t, n.listen(collectorAddr), Config{Credentials: collector})
		d := memDialer(n, collectorAddr, Config{Credentials: of(a, "exporter.test", both), ServerName: "collector.test"}, addrN(1), addrN(2), addrN(3))
		s := dial(t, d)
		in := l.session(t)
		good := dial(t, memDialer(n, collectorAddr, Config{Credentials: of(b, "good.test", both), ServerName: "collector.test"}, addrN(4)))
		inGood := l.session(t)
		collector.to(of(b, "collector.test", b.ca()))
		wait(t, in.closed, "the end of the session of the revoked authority")
		if in.reason == nil || !strings.Contains(in.reason.Error(), "not let in any more: exporter's certificate") || !strings.Contains(in.reason.Error(), "not issued by an authority") {
			t.Errorf("reason: %v", in.reason)
		}
		wait(t, s.Done(), "the exporter's end of it")
		if s, err := d.Dial(t.Context()); err == nil || !strings.Contains(err.Error(), "unknown certificate authority") {
			t.Errorf("let in again: %v, %v", s, err)
		}
		send(t, good, "x")
		expect(t, inGood, "x")
		if n := l.l.cache.len(); n != 0 {
			t.Errorf("%d sessions kept to be resumed", n)
		}
	})
	t.Run("at the exporter", func(t *testing.T) {
		exporter := newSwap(of(b, "exporter.test", both))
		n := newMemNetwork()
		l := serve(t, n.listen(collectorAddr), Config{Credentials: of(a, "collector.test", both)})
		d := memDialer(n, collectorAddr, Config{Credentials: exporter, ServerName: "collector.test"}, addrN(1), addrN(2))
		s := dial(t, d)
		in := l.session(t)
		exporter.to(of(b, "exporter.test", b.ca()))
		if s, err := d.Dial(t.Context()); err == nil || !strings.Contains(err.Error(), "not issued by an authority") {
			t.Errorf("trusted again: %v, %v", s, err)
		}
		send(t, s, "goes on") // until there is another
		expect(t, in, "goes on")
	})
}

func writeBoth(t *testing.T, name string, list ...*authority) {
	t.Helper()
	var all []byte
	for _, a := range list {
		all = append(all, readFile(t, a.ca())...)
	}
	writeFile(t, name, all)
}

// Who is no longer allowed, or whose key is another, is sent away; the others
// stay.
func TestCredentials_allowAndKeysRechecked(t *testing.T) {
	const keys = "r1.pop1.test:" + key1 + "\nr2.pop2.test:" + key2
	start := func(file string, allow ...string) *credentials.Credentials {
		return load(t, credentials.Config{PSKFile: pskFile(t, file), Allow: allow})
	}
	for _, c := range []struct {
		name   string
		to     *credentials.Credentials
		reason [2]string // of r1 and r2; empty: stays
	}{
		{"all allowed", start(keys, "**"), [2]string{}},
		{"one pattern less", start(keys, "*.pop2.test"), [2]string{"matches no --allow pattern", ""}},
		{"one key less", start("r1.pop1.test:" + key1), [2]string{"", "not known"}},
		{"another key", start("r1.pop1.test:" + key2 + "\nr2.pop2.test:" + key2), [2]string{"is another now", ""}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				collector := newSwap(start(keys))
				n := newMemNetwork()
				l := serve(t, n.listen(collectorAddr), Config{Credentials: collector, IdleTimeout: -1})
				var dialers [2]*Dialer
				var in [2]*sunk
				for i, line := range strings.Split(keys, "\n") {
					dialers[i] = memDialer(n, collectorAddr, Config{Credentials: load(t, credentials.Config{PSKFile: pskFile(t, line)})}, addrN(1+2*i), addrN(2+2*i))
					dial(t, dialers[i])
					in[i] = l.session(t)
				}
				collector.to(c.to)
				synctest.Wait()
				for i, want := range c.reason {
					closed := false
					select {
					case <-in[i].closed:
						closed = true
						if !strings.Contains(in[i].reason.Error(), want) {
							t.Errorf("r%d: %v, want %q", i+1, in[i].reason, want)
						}
					default:
					}
					if closed != (want != "") {
						t.Errorf("r%d closed: %v", i+1, closed)
					}
					s, err := dialers[i].Dial(t.Context())
					if (err == nil) != (want == "") {
						t.Errorf("r%d again: %v", i+1, err)
					}
					if err == nil {
						if !s.Peer().Resumed {
							t.Errorf("r%d is not resumed: nothing of its has changed", i+1)
						}
						_ = s.Close(t.Context())
					}
				}
				_ = l.stop()
			})
		})
	}
}

// A certificate that has expired since its session began is no reason to end
// that; an identity that is read another way is.
func TestCredentials_recheckSession(t *testing.T) {
	a := newAuthority(t, "test CA")
	chain := func(cert func(*x509Cert)) [][]byte {
		return a.creds(t, "r1.pop1.test", nil, cert).Certificate().Certificate
	}
	by := a.creds(t, "collector.test", nil, nil)
	short := func(c *x509Cert) { c.NotAfter = epochStart.Add(time.Hour) }
	names := func(c *x509Cert) { c.DNSNames = []string{"a.test", "r1.pop1.test"} }
	pop1 := a.creds(t, "collector.test", func(c *credentials.Config) { c.Allow = []string{"*.pop1.test"} }, nil)
	for _, c := range []struct {
		name, want string
		a          admission
		now        *credentials.Credentials
	}{
		{"expired since", "", admission{"r1.pop1.test", chain(short), epochStart, by}, pop1},
		{"another name counts", "a.test is let in as r1.pop1.test now", admission{"a.test", chain(names), epochStart, by}, pop1},
		{"no certificates any more", "no authority", admission{"r1.pop1.test", chain(nil), epochStart, by},
			load(t, credentials.Config{PSKFile: pskFile(t, "a:"+key1)})},
	} {
		err := c.a.stands(c.now)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

// The credentials change while a handshake is under way that began with the
// old ones.
func TestCredentials_changeDuringHandshake(t *testing.T) {
	a := newAuthority(t, "test CA")
	collector := newSwap(a.creds(t, "collector.test", nil, nil))
	n := newMemNetwork()
	l := serve(t, n.listen(collectorAddr), Config{Credentials: collector})
	l.sink.open = func() {
		collector.to(a.creds(t, "collector.test", func(c *credentials.Config) { c.Allow = []string{"*.pop1.test"} }, nil))
	}
	s, err := memDialer(n, collectorAddr, Config{Credentials: a.creds(t, "exporter.test", nil, nil), ServerName: "collector.test"}, addrN(1)).Dial(t.Context())
	if err == nil {
		wait(t, s.Done(), "the end of a session that slipped in")
	}
	in := l.session(t)
	wait(t, in.closed, "the end")
	if in.reason == nil || !strings.Contains(in.reason.Error(), "no --allow pattern matches") {
		t.Errorf("reason: %v", in.reason)
	}
	l.l.mu.Lock()
	defer l.l.mu.Unlock()
	if len(l.l.peers) != 0 || l.l.count != 0 || l.l.half != 0 {
		t.Errorf("left behind: %d peers, %d sessions, %d half-open", len(l.l.peers), l.l.count, l.l.half)
	}
}
