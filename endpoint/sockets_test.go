package endpoint

import (
	"context"
	"testing"
	"time"

	"ipfixsuite/transport"
)

// The plain and the secure port of a collector are behind one UDP port (RFC
// 6951, Section 5.1), which is free again when both have ended.
func TestSockets_OneUDPPort_RFC6951_5_1(t *testing.T) {
	exporter, collector := creds(t)
	option := outer(t)
	plain, secure := "sctp+udp://127.0.0.1:4739"+option, "dtls+sctp+udp://127.0.0.1:4740"+option
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
			dctx, done := context.WithTimeout(t.Context(), 10*time.Second)
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
		if len(shared.open) > 0 {
			t.Errorf("%d sockets left open", len(shared.open))
		}
	}
}
