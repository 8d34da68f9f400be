package dtls

import (
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	pion "github.com/pion/dtls/v3"

	"ipfixsuite/heartbeat"
	"ipfixsuite/transport"
	"ipfixsuite/transport/credentials"
	"ipfixsuite/transport/dtls/record"
)

// With mutual authentication, from a new source port each time.
func TestResumption(t *testing.T) {
	for _, kind := range []string{"certificates", "psk", "ecdhe-psk-gcm"} {
		t.Run(kind, func(t *testing.T) {
			collector, exporter := mutual(t)
			want := "exporter.test"
			if kind != "certificates" {
				collector, exporter = pskConfigs(t, key1, key1)
				want = "exporter-1"
				if kind == "psk" {
					exporter.Suites = []record.Suite{record.PSKAES128GCM}
				}
			}
			n := newMemNetwork()
			l := serve(t, n.listen(collectorAddr), collector)
			d := memDialer(n, collectorAddr, exporter, addrN(1), addrN(2), addrN(3))
			for i := range 3 {
				s := dial(t, d)
				got := l.session(t)
				if s.Peer().Resumed != (i > 0) || got.peer.Resumed != (i > 0) || got.peer.Identity != want {
					t.Errorf("session %d: resumed %v and %v, identity %q", i, s.Peer().Resumed, got.peer.Resumed, got.peer.Identity)
				}
				m := fmt.Sprint("message ", i)
				send(t, s, m)
				expect(t, got, m)
				probe(t, s)
				_ = s.Close(t.Context())
			}
			if st := l.Stats(); st.SessionsResumed != 2 || st.SessionsOpened != 3 {
				t.Errorf("stats %+v", st)
			}
		})
	}
}

// A resumed session is no way around an expired certificate, a TTL, or a name
// no longer allowed.
func TestResumptionIsCheckedAgain(t *testing.T) {
	a := newAuthority(t, "test CA")
	// A bubble's clock starts at the beginning of 2000.
	start := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	soon := a.creds(t, "exporter.test", nil, func(c *x509Cert) { c.NotAfter = start.Add(time.Hour) })
	long := a.creds(t, "long.test", nil, nil)
	for _, c := range []struct {
		name  string
		creds *credentials.Credentials
		sleep time.Duration
		ttl   time.Duration
		ok    bool
		full  bool
	}{
		{"within certificate and TTL", long, time.Hour, 2 * time.Hour, true, false},
		{"certificate expired", soon, 2 * time.Hour, 8 * time.Hour, false, false},
		{"TTL over", long, 2 * time.Hour, time.Hour, true, true},
		{"never", long, time.Minute, -1, true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newMemNetwork()
				l := serve(t, n.listen(collectorAddr), Config{Credentials: a.creds(t, "collector.test", nil, nil), SessionTTL: c.ttl, IdleTimeout: -1})
				d := memDialer(n, collectorAddr, Config{Credentials: c.creds, ServerName: "collector.test"}, addrN(1), addrN(2))
				dial(t, d)
				time.Sleep(c.sleep)
				s, err := d.Dial(t.Context())
				if (err == nil) != c.ok {
					t.Fatalf("second session: %v", err)
				}
				if err == nil {
					if s.Peer().Resumed == c.full {
						t.Errorf("resumed %v", s.Peer().Resumed)
					}
					_ = s.Close(t.Context())
				}
				_ = l.stop()
			})
		})
	}
}

// A collector that restarted knows no session: the exporter's offer falls back
// to a full handshake.
func TestResumptionUnknownToServer(t *testing.T) {
	collector, exporter := mutual(t)
	n := newMemNetwork()
	l := serve(t, n.listen(collectorAddr), collector)
	d := memDialer(n, collectorAddr, exporter, addrN(1), addrN(2), addrN(3))
	dial(t, d)
	_ = l.stop()
	serve(t, n.listen(collectorAddr), collector)
	for _, resumed := range []bool{false, true} {
		s := dial(t, d)
		if s.Peer().Resumed != resumed {
			t.Errorf("resumed %v, want %v", s.Peer().Resumed, resumed)
		}
		probe(t, s)
	}
}

// Connection IDs belong to full handshakes; a resumed session goes on without.
func TestResumptionWithConnectionID(t *testing.T) {
	collector, exporter := mutual(t)
	collector.ConnectionID, exporter.ConnectionID = true, true
	n := newMemNetwork()
	l := serve(t, n.listen(collectorAddr), collector)
	d := memDialer(n, collectorAddr, exporter, addrN(1), addrN(2))
	for i := range 2 {
		s := dial(t, d)
		send(t, s, "x")
		expect(t, l.session(t), "x")
		probe(t, s)
		if cid := s.sealer.Overhead() > record.HeaderLen+24; cid != (i == 0) {
			t.Errorf("session %d: connection id %v", i, cid)
		}
	}
}

func TestSessionCache(t *testing.T) {
	now := time.Unix(1000, 0)
	c := newSessionCache(2, time.Minute)
	put := func(key, id string, at time.Time) {
		c.put(key, stored{session: pionSession(id), heartbeat: heartbeat.PeerAllowed}, at)
	}
	put("a", "1", now)
	put("b", "2", now)
	put("c", "3", now)
	if _, ok := c.get("a", now); ok {
		t.Error("the oldest did not make room")
	}
	if s, ok := c.get("b", now); !ok || s.heartbeat != heartbeat.PeerAllowed {
		t.Error("b is gone")
	}
	if _, ok := c.get("b", now.Add(time.Minute)); ok || c.len() != 1 {
		t.Error("b outlived its TTL")
	}
	put("c", "4", now)
	c.del("c", []byte("3"))
	if _, ok := c.get("c", now); !ok {
		t.Error("an old session's end took the newer one")
	}
	c.del("c", []byte("4"))
	if c.len() != 0 {
		t.Error("c was not forgotten")
	}
}

func pionSession(id string) pion.Session { return pion.Session{ID: []byte(id)} }

// The peer moves to a new address in mid-session (NAT rebinding): authentic
// newest records under the Connection ID take the session along; forged and
// replayed ones do not (RFC 9146, Section 6).
func TestConnectionIDMove_RFC9146_6(t *testing.T) {
	collector, exporter := mutual(t)
	collector.ConnectionID, exporter.ConnectionID = true, true
	n := newMemNetwork()
	l := serve(t, n.listen(collectorAddr), collector)
	s := dial(t, memDialer(n, collectorAddr, exporter, addrN(1)))
	got := l.session(t)
	home, away, to := s.conn.LocalAddr(), netip.MustParseAddrPort("203.0.113.7:999"), netip.MustParseAddrPort(collectorAddr)
	address := func() netip.AddrPort {
		l.l.mu.Lock()
		defer l.l.mu.Unlock()
		for _, s := range l.l.byCID {
			return s.remote
		}
		return netip.AddrPort{}
	}
	var captured []byte
	n.setFilter(func(_, _ netip.AddrPort, b []byte) [][]byte {
		captured = append([]byte(nil), b...)
		return [][]byte{b}
	})
	send(t, s, "one")
	expect(t, got, "one")
	n.setFilter(nil)

	n.send(away, to, captured)
	forged := append([]byte(nil), captured...)
	forged[10]++
	forged[len(forged)-1] ^= 1
	n.send(away, to, forged)
	eventually(t, "the counting", func() bool {
		d := l.Stats().Dropped
		return d["replayed"] == 1 && d["bad-mac"] == 1
	})
	if a := address(); a != home {
		t.Fatalf("a replay or forgery moved the session to %v", a)
	}
	// Two authentic records, the older arriving later and from elsewhere.
	older, err := s.sealer.Seal(nil, record.ApplicationData, []byte("late"))
	if err != nil {
		t.Fatal(err)
	}
	newer, err := s.sealer.Seal(nil, record.ApplicationData, []byte("two"))
	if err != nil {
		t.Fatal(err)
	}
	n.send(away, to, newer)
	expect(t, got, "two")
	if a := address(); a != away {
		t.Fatalf("the session did not move: %v", a)
	}
	n.send(home, to, older)
	expect(t, got, "late")
	if a := address(); a != away {
		t.Fatalf("an older record moved the session to %v", a)
	}
	// It comes home with the next, and is answered there.
	send(t, s, "three")
	expect(t, got, "three")
	probe(t, s)
	l.l.mu.Lock()
	if len(l.l.peers) != 1 {
		t.Errorf("%d addresses kept", len(l.l.peers))
	}
	l.l.mu.Unlock()
	_ = s.Close(t.Context())
	wait(t, got.closed, "close")
}

var _ transport.Dialer = (*Dialer)(nil)
