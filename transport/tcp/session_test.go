package tcp

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"ipfixsuite/transport"
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
