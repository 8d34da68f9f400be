package tcp

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"ipfixsuite/transport"
	"ipfixsuite/transport/credentials"
	"ipfixsuite/transport/transporttest"
)

func TestSession(t *testing.T) {
	ca := newAuthority(t)
	for _, row := range []struct {
		name     string
		addr     string
		secure   bool
		identity string // of the exporter
	}{
		{"tcp IPv4", "127.0.0.1:0", false, "127.0.0.1"},
		{"tcp IPv6", "[::1]:0", false, "::1"},
		{"tcp, IPv4 to all addresses", "[::]:0", false, "127.0.0.1"},
		{"tls", "127.0.0.1:0", true, "exporter"},
	} {
		t.Run(row.name, func(t *testing.T) {
			var cfg Config
			if row.secure {
				cfg.Credentials = ca.Credentials(t, "collector")
			}
			l := serveAt(t, row.addr, cfg, transporttest.NewSink())
			to := l.Addr()
			if to.Addr().IsUnspecified() {
				to = netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), to.Port())
			}
			d := &Dialer{Remote: to}
			if row.secure {
				d = ca.dialer(t, to)
			}
			s := dial(t, d)
			var want [][]byte
			for i, n := range []int{16, 17, 1400, 65535, 400, 30000, 65535, 65535, 16} {
				want = append(want, message(n, i))
			}
			send(t, s, want...)
			in := wait(t, l.Opened, "session")
			got := in.Messages(t, len(want))
			for i := range want {
				if !bytes.Equal(got[i], want[i]) {
					t.Errorf("message %d of %d octets arrived otherwise", i, len(want[i]))
				}
			}
			if in.Peer.Identity != row.identity || in.Peer.Remote != s.Peer().Local || in.Properties.Secure != row.secure || !in.Properties.Stream {
				t.Errorf("peer %+v, properties %+v", in.Peer, in.Properties)
			}
			var fates []transport.Fate
			eventually(t, "all acknowledged", func() bool {
				fates = s.(transport.Tracker).Fates(fates)
				return len(fates) > 0 && fates[len(fates)-1].Last == uint64(len(want))
			})
			next := uint64(1)
			for _, f := range fates {
				if f.First != next || f.Last < f.First || !f.Arrived {
					t.Errorf("fates %v", fates)
				}
				next = f.Last + 1
			}
			if err := s.Close(t.Context()); err != nil || s.Err() != nil {
				t.Errorf("Close: %v, Err: %v", err, s.Err())
			}
			if err := wait(t, in.Over, "Closed"); err != nil {
				t.Errorf("closed: %v", err)
			}
			if st := l.Stats(); st.DatagramsReceived != uint64(len(want)) || st.SessionsOpened != 1 {
				t.Errorf("stats %+v", st)
			}
		})
	}
}

func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	timeout := time.After(20 * time.Second)
	for !f() {
		select {
		case <-tick.C:
		case <-timeout:
			t.Fatalf("%s: not within 20 s", what)
		}
	}
}

// connect is a peer that writes octets, not messages.
func connect(t testing.TB, l *serving) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
	return c
}

// RFC 7011, Section 10.4.3: messages are found by their length, however the
// stream is cut.
func TestFraming_AnySegmentation(t *testing.T) {
	l := serve(t, Config{})
	rng := rand.New(rand.NewPCG(1, 2))
	for round := range 20 {
		var stream []byte
		var want [][]byte
		for i := range 50 {
			n := headerLen + rng.IntN(200)
			if i%17 == 0 {
				n = 65535 - rng.IntN(100)
			}
			m := message(n, i)
			want, stream = append(want, m), append(stream, m...)
		}
		c := connect(t, l)
		for len(stream) > 0 {
			n := 1 + rng.IntN(1+min(len(stream)-1, 1<<rng.IntN(18)))
			if _, err := c.Write(stream[:n]); err != nil {
				t.Fatal(err)
			}
			stream = stream[n:]
		}
		c.Close()
		in := wait(t, l.Opened, "session")
		got := in.Messages(t, len(want))
		for i := range want {
			if !bytes.Equal(got[i], want[i]) {
				t.Fatalf("round %d: message %d arrived otherwise", round, i)
			}
		}
		if err := wait(t, in.Over, "Closed"); err != nil {
			t.Errorf("closed: %v", err)
		}
	}
}

func TestFraming_Bad(t *testing.T) {
	good := message(100, 1)
	for _, row := range []struct {
		name   string
		stream []byte
		reason string
		sync   bool
	}{
		{"NetFlow v9", []byte{0, 9, 0, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, "version 9, length 20", true},
		{"length within the header", []byte{0, 10, 0, 15, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, "version 10, length 15", true},
		{"text", []byte("GET / HTTP/1.1\r\n\r\n"), "lost its synchronisation", true},
		{"ends in a header", []byte{0, 10, 0}, "ended within a message, after 3 octets", false},
		{"ends in a message", good[:99], "ended within a message, after 99 octets", false},
	} {
		t.Run(row.name, func(t *testing.T) {
			l := serve(t, Config{})
			c := connect(t, l)
			if _, err := c.Write(append(bytes.Clone(good), row.stream...)); err != nil {
				t.Fatal(err)
			}
			_ = c.(*net.TCPConn).CloseWrite()
			in := wait(t, l.Opened, "session")
			err := wait(t, in.Over, "Closed")
			if err == nil || !bytes.Contains([]byte(err.Error()), []byte(row.reason)) || errors.Is(err, ErrOutOfSync) != row.sync {
				t.Errorf("closed: %v", err)
			}
			if got := in.Messages(t, 1); len(got) != 1 || !bytes.Equal(got[0], good) {
				t.Error("what came before is not there")
			}
			if n := l.Stats().Dropped["out-of-sync"]; (n == 1) != row.sync {
				t.Errorf("out-of-sync %d", n)
			}
			if _, err := io.ReadAll(c); err != nil && row.sync == false {
				t.Errorf("connection is not closed in order: %v", err)
			}
		})
	}
}

func TestStalledMessageAndIdleConnection(t *testing.T) {
	l := serve(t, Config{StallTimeout: 50 * time.Millisecond})
	c := connect(t, l)
	m := message(100, 1)
	if _, err := c.Write(m[:50]); err != nil {
		t.Fatal(err)
	}
	if err := wait(t, wait(t, l.Opened, "session").Over, "Closed"); err == nil || err.Error() != "a message was left unfinished for 50ms" {
		t.Errorf("closed: %v", err)
	}
	idle := serve(t, Config{IdleTimeout: 100 * time.Millisecond})
	_, _ = connect(t, idle).Write(m) // in time or not: nothing comes after it
	if err := wait(t, wait(t, idle.Opened, "session").Over, "Closed"); err == nil || err.Error() != "nothing came for 100ms" {
		t.Errorf("closed: %v", err)
	}
	for _, l := range []*serving{l, idle} {
		if n := l.Stats().Dropped["stalled"]; n != 1 {
			t.Errorf("stalled %d", n)
		}
	}
}

func TestLimits(t *testing.T) {
	ca := newAuthority(t)
	l := serve(t, Config{MaxSessions: 2})
	for range 2 {
		connect(t, l)
		wait(t, l.Opened, "session")
	}
	turnedAway(t, l)
	eventually(t, "refusal counted", func() bool {
		st := l.Stats()
		return st.SessionsRefused == 1 && st.Dropped["session-limit"] == 1
	})
	l = serve(t, Config{Credentials: ca.Credentials(t, "collector"), MaxHalfOpenPerPrefix: 1})
	slow := connect(t, l)
	eventually(t, "handshake begun", func() bool { return l.Stats().HandshakesStarted == 1 })
	turnedAway(t, l)
	eventually(t, "refusal counted", func() bool { return l.Stats().HandshakesLimited == 1 })
	slow.Close()
	eventually(t, "end of the slow handshake", func() bool { return l.Stats().HandshakesFailed == 1 })
	dial(t, ca.dialer(t, l.Addr()))
	eventually(t, "a session", func() bool { return l.Stats().SessionsOpened == 1 })
	l = serve(t, Config{Credentials: ca.Credentials(t, "collector"), HandshakeTimeout: 50 * time.Millisecond})
	_, _ = io.ReadAll(connect(t, l)) // it is ended by the bound on time
	eventually(t, "end of a handshake that does not go on", func() bool { return l.Stats().HandshakesFailed == 1 })
}

// turnedAway connects where that is one too many: it is reset, at once or a
// little later.
func turnedAway(t *testing.T, l *serving) {
	t.Helper()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		return
	}
	defer c.Close()
	if _, err := io.ReadAll(c); err == nil {
		t.Error("one connection too many was taken, or ended in order")
	}
}

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

// What the peer's host has not acknowledged has no fate, and a peer that takes
// nothing neither blocks nor grows.
func TestPeerThatReadsNothing(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	accepted := make(chan net.Conn, 1)
	go func() { // ended by ln.Close
		if c, err := ln.Accept(); err == nil {
			_ = c.(*net.TCPConn).SetReadBuffer(4096)
			accepted <- c
		}
	}()
	s := dial(t, &Dialer{Remote: netip.MustParseAddrPort(ln.Addr().String()), Config: Config{DeadAfter: time.Second}})
	defer wait(t, accepted, "connection").Close()
	m := []transport.Outgoing{{Data: message(60000, 1)}}
	sent := uint64(0)
	var last error
	for {
		if _, last = s.Send(t.Context(), m); last != nil {
			break
		}
		sent++
	}
	if !errors.Is(last, transport.ErrBusy) {
		t.Fatalf("Send: %v", last)
	}
	wait(t, s.Done(), "the kernel's verdict") // its window is shut: TCP_USER_TIMEOUT
	if err := s.Err(); err == nil || errors.Is(err, transport.ErrPeerClosed) {
		t.Errorf("ended with %v", err)
	}
	arrived := uint64(0)
	for _, f := range s.(transport.Tracker).Fates(nil) {
		arrived += f.Last - f.First + 1
	}
	if arrived >= sent {
		t.Errorf("%d of %d messages are said to have arrived", arrived, sent)
	}
	t.Logf("%d of %d messages acknowledged, then %v", arrived, sent, s.Err())
}

// A peer that breaks off while it is told the end has perhaps not read what
// its host acknowledged: Close says so.
func TestClose_Broken(t *testing.T) {
	for _, orderly := range []bool{true, false} {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		go func() { // ended by ln.Close
			c, err := ln.Accept()
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, c) // until the end
			if !orderly {
				_ = c.(*net.TCPConn).SetLinger(0)
			}
			c.Close()
		}()
		s := dial(t, &Dialer{Remote: addrPort(ln.Addr())})
		send(t, s, message(1000, 1))
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		if err := s.Close(ctx); (err == nil) != orderly || ctx.Err() != nil {
			t.Errorf("orderly %v: %v", orderly, err)
		}
		cancel()
		ln.Close()
	}
}

// A collector that stops says so, and still takes what is under way.
func TestListenerParts(t *testing.T) {
	ca := newAuthority(t)
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprint("secure ", secure), func(t *testing.T) {
			var cfg Config
			if secure {
				cfg.Credentials = ca.Credentials(t, "collector")
			}
			l := serve(t, cfg)
			d := &Dialer{Remote: l.Addr()}
			if secure {
				d = ca.dialer(t, l.Addr())
			}
			s := dial(t, d)
			in := wait(t, l.Opened, "session")
			const n = 200
			for i := range n {
				send(t, s, message(5000, i))
			}
			l.end(t)
			wait(t, s.Done(), "end")
			if err := s.Err(); !errors.Is(err, transport.ErrPeerClosed) {
				t.Errorf("exporter's session ended with %v", err)
			}
			if err := wait(t, in.Over, "Closed"); !errors.Is(err, transport.ErrClosed) {
				t.Errorf("closed: %v", err)
			}
			arrived := uint64(0)
			for _, f := range s.(transport.Tracker).Fates(nil) {
				arrived += f.Last - f.First + 1
			}
			if got := len(in.Messages(t, 0)); uint64(got) < arrived {
				t.Errorf("%d messages read, %d said to have arrived", got, arrived)
			}
		})
	}
}

func TestHandlerRefuses(t *testing.T) {
	k := transporttest.NewSink()
	k.Refuse = errors.New("not wanted")
	l := serveAt(t, "127.0.0.1:0", Config{}, k)
	if _, err := io.ReadAll(connect(t, l)); err != nil {
		t.Error(err)
	}
	if st := l.Stats(); st.SessionsRefused != 1 || st.SessionsOpened != 0 {
		t.Errorf("stats %+v", st)
	}
}

func TestAllocations(t *testing.T) {
	ca := newAuthority(t)
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprint("secure ", secure), func(t *testing.T) {
			l, s := pair(t, ca, secure)
			_ = l
			batch := make([]transport.Outgoing, 32)
			for i := range batch {
				batch[i].Data = message(1400, i)
			}
			var fates []transport.Fate
			round := func() {
				for rest := batch; len(rest) > 0; {
					n, err := s.Send(t.Context(), rest)
					if err != nil && !errors.Is(err, transport.ErrBusy) {
						t.Fatal(err)
					}
					rest = rest[n:]
				}
				fates = s.(transport.Tracker).Fates(fates[:0])
			}
			for range 200 {
				round()
			}
			// A wait for room costs; it comes once a buffer at most.
			if n := testing.AllocsPerRun(500, round) / float64(len(batch)); n >= 0.5 {
				t.Errorf("%.2f allocations a message", n)
			}
		})
	}
}

// counter is a Handler that only counts.
type counter struct{}

func (c counter) Open(transport.Peer, transport.Properties) (transport.Receiver, error) {
	return c, nil
}
func (counter) Message(transport.Incoming) {}
func (counter) Barrier(func())             {}
func (counter) Closed(error)               {}

func pair(t testing.TB, ca authority, secure bool) (transport.Listener, transport.Session) {
	t.Helper()
	var cfg Config
	if secure {
		cfg.Credentials = ca.Credentials(t, "collector")
	}
	l, err := Listen(netip.MustParseAddrPort("127.0.0.1:0"), cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	over := make(chan error, 1)
	go func() { over <- l.Serve(ctx, counter{}) }() // ended by stop
	d := &Dialer{Remote: l.Addr()}
	if secure {
		d = ca.dialer(t, l.Addr())
	}
	s := dial(t, d)
	t.Cleanup(func() {
		stop()
		if err := wait(t, over, "end of Serve"); err != nil {
			t.Error(err)
		}
	})
	return l, s
}

func BenchmarkSession(b *testing.B) {
	ca := newAuthority(b)
	for _, secure := range []bool{false, true} {
		b.Run(fmt.Sprintf("secure=%v", secure), func(b *testing.B) {
			_, s := pair(b, ca, secure)
			m := message(1400, 1)
			batch := make([]transport.Outgoing, 64)
			for i := range batch {
				batch[i].Data = m
			}
			b.SetBytes(int64(len(m)))
			b.ReportAllocs()
			sent := 0
			for b.Loop() {
				if sent%len(batch) == 0 {
					for rest := batch; len(rest) > 0; {
						n, _ := s.Send(b.Context(), rest)
						rest = rest[n:]
					}
				}
				sent++
			}
		})
	}
}
