package dtls

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipfixsuite/heartbeat"
	"ipfixsuite/transport/dtls/record"
)

// savedOf is what a collector leaves for the one that follows it.
func savedOf(t *testing.T, s *Sessions) *Sessions {
	t.Helper()
	next := NewSessions(0, 0)
	b := s.Append(nil, time.Now())
	if n, err := next.Load(b, time.Now()); err != nil || n != s.Len() {
		t.Fatalf("%d of %d sessions loaded, %v", n, s.Len(), err)
	}
	return next
}

// A collector that restarted with the sessions of the one before resumes its
// exporters' at once, whatever authenticated them, and knows them by name.
func TestSessionsAcrossRestart(t *testing.T) {
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
			d := memDialer(n, collectorAddr, exporter, addrN(1), addrN(2), addrN(3))
			sessions := NewSessions(0, 0)
			for i := range 3 {
				collector.Sessions = sessions
				l := serve(t, n.listen(collectorAddr), collector)
				s := dial(t, d)
				got := l.session(t)
				if s.Peer().Resumed != (i > 0) || got.peer.Resumed != (i > 0) || got.peer.Identity != want {
					t.Errorf("session %d: resumed %v and %v, identity %q", i, s.Peer().Resumed, got.peer.Resumed, got.peer.Identity)
				}
				send(t, s, "x")
				expect(t, got, "x")
				probe(t, s)
				_ = l.stop()
				sessions = savedOf(t, sessions)
			}
		})
	}
}

// What is loaded is no way around an expired certificate, another authority,
// or the sessions' own end.
func TestSessionsAreCheckedAgain(t *testing.T) {
	a, other := newAuthority(t, "test CA"), newAuthority(t, "another CA")
	start := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) // of a bubble
	soon := a.creds(t, "soon.test", nil, func(c *x509Cert) { c.NotAfter = start.Add(time.Hour) })
	long := a.creds(t, "long.test", nil, nil)
	collector, moved := a.creds(t, "collector.test", nil, nil), other.creds(t, "collector.test", nil, nil)
	for _, c := range []struct {
		name        string
		exporter    Config
		then        Config // the collector's, after the restart
		sleep       time.Duration
		ok, resumed bool
	}{
		{"all is well", Config{Credentials: long}, Config{Credentials: collector}, 2 * time.Hour, true, true},
		{"the certificate has expired", Config{Credentials: soon}, Config{Credentials: collector}, 2 * time.Hour, false, false},
		{"another authority", Config{Credentials: long}, Config{Credentials: moved}, time.Hour, false, false},
		{"the collector's certificate was renewed", Config{Credentials: long}, Config{Credentials: a.creds(t, "collector.test", nil, nil)}, time.Hour, true, false},
		{"their time is over", Config{Credentials: long}, Config{Credentials: collector}, 9 * time.Hour, true, false},
		{"the restarted one resumes none", Config{Credentials: long}, Config{Credentials: collector, SessionTTL: -1}, time.Hour, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newMemNetwork()
				sessions := NewSessions(0, 0)
				l := serve(t, n.listen(collectorAddr), Config{Credentials: collector, Sessions: sessions})
				c.exporter.ServerName = "collector.test"
				d := memDialer(n, collectorAddr, c.exporter, addrN(1), addrN(2))
				_ = dial(t, d).Close(t.Context())
				synctest.Wait()
				b := sessions.Append(nil, time.Now())
				_ = l.stop()
				time.Sleep(c.sleep)
				c.then.Sessions = NewSessions(0, c.then.SessionTTL)
				if _, err := c.then.Sessions.Load(b, time.Now()); err != nil {
					t.Fatal(err)
				}
				l = serve(t, n.listen(collectorAddr), c.then)
				s, err := d.Dial(t.Context())
				if (err == nil) != c.ok {
					t.Fatal(err)
				}
				if err == nil {
					if s.Peer().Resumed != c.resumed {
						t.Errorf("resumed %v", s.Peer().Resumed)
					}
					_ = s.Close(t.Context())
				}
				_ = l.stop()
			})
		})
	}
}

func someSessions(t testing.TB, n int, now time.Time) *Sessions {
	t.Helper()
	s := NewSessions(0, 0)
	for i := range n {
		v := savedSession{
			ID: []byte(fmt.Sprint("id ", i)), Secret: bytes.Repeat([]byte{byte(i)}, masterSecretLen), Heartbeat: uint8(i % 3),
			Expires: now.Add(time.Duration(i) * time.Minute).Unix(),
		}
		if i%2 == 0 {
			v.Suite, v.Certificates = uint16(record.ECDHEECDSAAES128GCM), [][]byte{[]byte("leaf"), []byte("authority")}
			v.Made = bytes.Repeat([]byte{7}, 32)
		} else {
			v.Suite, v.Identity, v.PSKHash = uint16(record.PSKAES128GCM), []byte("exporter-1"), make([]byte, 32)
		}
		st, err := v.stored()
		if err != nil {
			t.Fatal(err)
		}
		s.cache.putUntil(string(v.ID), st, now)
	}
	return s
}

func TestSessions_RoundTrip(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	s := someSessions(t, 6, now)
	b := s.Append([]byte("before"), now.Add(90*time.Second))
	next := NewSessions(3, 2*time.Hour)
	// Two are over, and three is all there is room for: the newest stay.
	if n, err := next.Load(bytes.TrimPrefix(b, []byte("before")), now.Add(90*time.Second)); n != 3 || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	for i := 3; i < 6; i++ {
		key := fmt.Sprint("id ", i)
		want, _ := s.cache.get(key, now)
		got, ok := next.cache.get(key, now)
		if diff := cmp.Diff(want.session, got.session); !ok || diff != "" || got.heartbeat != heartbeat.Mode(i%3) || got.made != want.made || !got.expires.Equal(want.expires) {
			t.Errorf("session %d: %v, %v\n%s", i, ok, got.expires, diff)
		}
	}
	// A clock that was set back gives nobody more time.
	early := NewSessions(0, time.Minute)
	if _, err := early.Load(bytes.TrimPrefix(b, []byte("before")), now.Add(-24*time.Hour)); err != nil {
		t.Fatal(err)
	}
	if _, ok := early.cache.get("id 5", now.Add(-24*time.Hour+time.Minute)); ok {
		t.Error("lives longer than a new one")
	}
	if c := s.Changes(); c != 6 {
		t.Errorf("%d changes", c)
	}
}

// All or nothing: half a file is no file.
func TestSessions_LoadRefuses(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	good := string(someSessions(t, 4, now.Add(time.Hour)).Append(nil, now))
	for name, c := range map[string]struct{ bad, why string }{
		"nothing":        {"", "EOF"},
		"cut short":      {good[:len(good)/2], "EOF"},
		"more behind":    {good + "{}", "more than one"},
		"another format": {strings.Replace(good, `"version":1`, `"version":2`, 1), "version 2"},
		"unknown field":  {strings.Replace(good, `"suite"`, `"sweet"`, 1), "sweet"},
		"no id":          {strings.Replace(good, `"id":"aWQgMA=="`, `"id":""`, 1), "session 0: an id of 0"},
		"short secret":   {strings.Replace(good, `"secret":"AQEB`, `"secret":"`, 1), "session 1: a secret of 45"},
		"unknown suite":  {strings.Replace(good, `"suite":168`, `"suite":5`, 1), "cipher suite 0x0005"},
		"no certificate": {strings.Replace(good, `"certificates":["bGVhZg==","YXV0aG9yaXR5"],`, "", 1), "chain of 0"},
		"no fingerprint": {strings.Replace(good, `"made":"BwcH`, `"made":"`, 1), "session 0: a fingerprint of 29"},
		"heartbeat":      {strings.Replace(good, `"heartbeat":1`, `"heartbeat":3`, 1), "heartbeat mode 3"},
	} {
		s := NewSessions(0, 0)
		n, err := s.Load([]byte(c.bad), now)
		if err == nil || n != 0 || s.Len() != 0 || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: %d loaded, %v", name, n, err)
		}
	}
}

func FuzzSessionsLoad(f *testing.F) {
	now := time.Unix(1_800_000_000, 0)
	f.Add(someSessions(f, 4, now.Add(time.Hour)).Append(nil, now))
	f.Add([]byte(`{"version":1,"sessions":[]}`))
	f.Add([]byte(`{"version":1,"sessions":[{"id":"AA==","secret":null,"expires":-1}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		s := NewSessions(2, time.Hour)
		n, err := s.Load(b, now)
		if n > 2 || s.Len() > 2 || err != nil && s.Len() != 0 {
			t.Fatalf("%d loaded, %d there, %v", n, s.Len(), err)
		}
		for _, v := range s.saved(now) {
			st, err := v.stored()
			if err != nil || st.expires.After(now.Add(time.Hour)) {
				t.Fatalf("%v, %v", st.expires, err)
			}
		}
		again := s.Append(nil, now)
		if !json.Valid(again) {
			t.Fatalf("%q", again)
		}
		next := NewSessions(2, time.Hour)
		if _, err := next.Load(again, now); err != nil || !bytes.Equal(next.Append(nil, now), again) {
			t.Fatalf("%v\n%s", err, again)
		}
	})
}
