package tcp

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"ipfixsuite/transport"
	"ipfixsuite/transport/credentials"
)

func TestTLS_Resumption(t *testing.T) {
	ca := newAuthority(t)
	holder := new(credentials.Holder)
	if _, err := holder.Reload(ca.Config("collector")); err != nil {
		t.Fatal(err)
	}
	l := serve(t, Config{Credentials: holder})
	d := ca.dialer(t, l.Addr())
	resumed := func() bool {
		s := dial(t, d)
		send(t, s, message(100, 1))
		in := wait(t, l.Opened, "session")
		if in.Peer.Resumed != s.Peer().Resumed {
			t.Errorf("resumed: collector says %v, exporter %v", in.Peer.Resumed, s.Peer().Resumed)
		}
		if in.Peer.Identity != "exporter" || s.Peer().Identity != "collector" {
			t.Errorf("identities %q and %q", in.Peer.Identity, s.Peer().Identity)
		}
		in.Messages(t, 1)
		return s.Peer().Resumed
	}
	if resumed() {
		t.Error("the first session resumed")
	}
	if !resumed() {
		t.Error("the second session did not resume")
	}
	d.Forget()
	if resumed() {
		t.Error("resumed what was to be forgotten")
	}
	if !resumed() {
		t.Error("not resumed after a full handshake")
	}
	// A session of other credentials is not resumed.
	if _, err := holder.Reload(ca.Config("collector", "exporter")); err != nil {
		t.Fatal(err)
	}
	if resumed() {
		t.Error("resumed although the collector's credentials changed")
	}
	if n := l.Stats().SessionsResumed; n != 2 {
		t.Errorf("SessionsResumed %d", n)
	}
}

func TestTLS_CredentialsEndSessions(t *testing.T) {
	ca := newAuthority(t)
	holder := new(credentials.Holder)
	if _, err := holder.Reload(ca.Config("collector")); err != nil {
		t.Fatal(err)
	}
	l := serve(t, Config{Credentials: holder})
	s := dial(t, ca.dialer(t, l.Addr()))
	in := wait(t, l.Opened, "session")
	if _, err := holder.Reload(ca.Config("collector", "other")); err != nil {
		t.Fatal(err)
	}
	if err := wait(t, in.Over, "Closed"); err == nil || !bytes.HasPrefix([]byte(err.Error()), []byte("not let in any more: ")) {
		t.Errorf("closed: %v", err)
	}
	wait(t, s.Done(), "end at the exporter")
}

// RFC 8446, Section 6.1: an end that nobody authenticated is none in order.
func TestTLS_Truncation(t *testing.T) {
	ca := newAuthority(t)
	l := serve(t, Config{Credentials: ca.Credentials(t, "collector")})
	s := dial(t, ca.dialer(t, l.Addr()))
	in := wait(t, l.Opened, "session")
	_ = s.(*session).conn.tcp.CloseWrite()
	if err := wait(t, in.Over, "Closed"); !errors.Is(err, ErrTruncated) {
		t.Errorf("collector: %v", err)
	}

	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	creds := ca.Credentials(t, "collector")
	go func() { // ended by ln.Close
		c, err := ln.Accept()
		if err != nil {
			return
		}
		tc := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{creds.Certificate()}})
		_, _ = tc.Read(make([]byte, headerLen))
		_ = c.Close() // as a killed process does
	}()
	s = dial(t, ca.dialer(t, netip.MustParseAddrPort(ln.Addr().String())))
	_, _ = s.Send(t.Context(), []transport.Outgoing{{Data: message(headerLen, 1)}}) // it may hear of the end
	wait(t, s.Done(), "end")
	if err := s.Err(); !errors.Is(err, ErrTruncated) {
		t.Errorf("exporter: %v", err)
	}
}

// Both must say no in the handshake, TLS 1.3's late verdict included.
func TestTLS_Refusals(t *testing.T) {
	ca, foreign := newAuthority(t), newAuthority(t)
	for _, row := range []struct {
		name string
		l    Config
		d    Config
		want string
	}{
		{"exporter of another authority", Config{Credentials: ca.Credentials(t, "collector")},
			Config{Credentials: foreign.Credentials(t, "exporter"), ServerName: "collector"}, "not issued by an authority"},
		{"collector of another authority", Config{Credentials: foreign.Credentials(t, "collector")},
			Config{Credentials: ca.Credentials(t, "exporter"), ServerName: "collector"}, "not issued by an authority"},
		{"exporter not allowed", Config{Credentials: ca.Credentials(t, "collector", "other")},
			Config{Credentials: ca.Credentials(t, "exporter"), ServerName: "collector"}, "bad certificate"},
		{"other name than dialled", Config{Credentials: ca.Credentials(t, "collector")},
			Config{Credentials: ca.Credentials(t, "exporter"), ServerName: "elsewhere"}, "not for elsewhere"},
		{"plain collector", Config{}, Config{Credentials: ca.Credentials(t, "exporter"), ServerName: "collector"}, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			l := serve(t, row.l)
			d := &Dialer{Remote: l.Addr(), Config: row.d}
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			s, err := d.Dial(ctx)
			if err == nil {
				s.Close(ctx)
				t.Fatal("a session came about")
			}
			t.Log(err)
			if row.name == "exporter of another authority" {
				return // the reason is the collector's, the alert names its kind
			}
			if !bytes.Contains([]byte(err.Error()), []byte(row.want)) {
				t.Errorf("error %v, want %q in it", err, row.want)
			}
		})
	}
	if _, err := Listen(netip.MustParseAddrPort("127.0.0.1:0"), Config{Credentials: new(credentials.Holder)}); err == nil {
		t.Error("listening without a certificate")
	}
}

// An exporter that sends in the clear to where TLS is spoken is called that.
func TestTLS_InTheClear(t *testing.T) {
	told := make(chan string, 8)
	log := slog.New(slog.NewTextHandler(toldTo(func(b []byte) { told <- string(b) }), nil))
	l := serve(t, Config{Credentials: newAuthority(t).Credentials(t, "collector"), Log: log})
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write(message(100, 1)); err != nil {
		t.Fatal(err)
	}
	if line := wait(t, told, "a refusal"); !strings.Contains(line, "in the clear") {
		t.Error(line)
	}
}

type toldTo func(b []byte)

func (w toldTo) Write(b []byte) (int, error) { w(b); return len(b), nil }
