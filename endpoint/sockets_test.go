package endpoint

import (
	"context"
	"testing"

	"ipfixsuite/transport"
)

// The plain and the secure port of a collector are behind one UDP port (RFC
// 6951, Section 5.1), which is free again when both have ended.
func TestSockets_OneUDPPort_RFC6951_5_1(t *testing.T) {
	option := outer(t)
	oneUDPPort(t, "sctp+udp://127.0.0.1:4739"+option, "dtls+sctp+udp://127.0.0.1:4740"+option)
}

// The same holds for DCCP (RFC 6773, Section 3.8), where both may even be on
// one DCCP port, told apart by their service codes (RFC 4340, Section 8.1.2).
func TestSockets_OneUDPPort_RFC6773_3_8(t *testing.T) {
	option := outer(t)
	oneUDPPort(t, "dccp+udp://127.0.0.1:4739"+option, "dtls+dccp+udp://127.0.0.1:4740"+option)
	oneUDPPort(t, "dccp+udp://127.0.0.1:4740"+option, "dtls+dccp+udp://127.0.0.1:4740"+option)
}

func oneUDPPort(t *testing.T, plain, secure string) {
	t.Helper()
	exporter, collector := creds(t)
	shared := new(Sockets)
	for range 2 {
		var stops []func()
		for _, url := range []string{plain, secure} {
			l, err := Listen(parse(t, url), Config{Credentials: collector, Sockets: shared})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := Listen(parse(t, url), Config{Credentials: collector, Sockets: shared}); err == nil {
				t.Error("one port was taken twice")
			}
			in := &sink{got: make(chan string, 16)}
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- l.Serve(ctx, in) }()
			stops = append(stops, func() {
				cancel()
				if err := <-ended; err != nil {
					t.Error(err)
				}
				if err := l.Close(); err != nil { // again
					t.Error(err)
				}
			})
			d, err := Dialer(parse(t, url), Config{Credentials: exporter})
			if err != nil {
				t.Fatal(err)
			}
			dctx, done := context.WithTimeout(t.Context(), patience)
			defer done()
			s, err := d.Dial(dctx)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.Send(dctx, []transport.Outgoing{{Data: []byte(url)}}); err != nil {
				t.Fatal(err)
			}
			select {
			case got := <-in.got:
				if got != url {
					t.Errorf("got %q", got)
				}
			case <-dctx.Done():
				t.Fatal("nothing arrived")
			}
			if err := s.Close(dctx); err != nil {
				t.Error(err)
			}
		}
		for _, stop := range stops {
			stop()
		}
		if n := len(shared.open) + len(shared.dccps); n > 0 {
			t.Errorf("%d sockets left open", n)
		}
	}
}
