package tcp

import (
	"bytes"
	"net"
	"testing"
)

// gate is a connection whose writes wait to be let through.
type gate struct {
	net.Conn
	writes chan []byte
	let    chan struct{}
}

func (g gate) Write(b []byte) (int, error) {
	g.writes <- bytes.Clone(b)
	<-g.let
	return len(b), nil
}

// A message that comes alone is written at once. What comes while a write is
// under way goes out together, in pieces of whole messages, as soon as it is
// over: nothing waits for anything but that.
func TestWriter_GathersWhileItWrites(t *testing.T) {
	ca := newAuthority(t)
	for _, row := range []struct {
		name   string
		secure bool
		piece  int
	}{{"tcp", false, plainMax}, {"tls", true, piece}} {
		t.Run(row.name, func(t *testing.T) {
			var cfg Config
			if row.secure {
				cfg.Credentials = ca.Credentials(t, "collector")
			}
			l := serve(t, cfg)
			d := &Dialer{Remote: l.Addr()}
			if row.secure {
				d = ca.dialer(t, l.Addr())
			}
			c, err := d.Connect(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			g := gate{c.Conn, make(chan []byte, 1), make(chan struct{})}
			c.Conn = g
			var w writer
			w.init(c, DefaultBuffer)
			over := make(chan error, 1)
			go func() { over <- w.run() }() // ended by finish
			w.put(message(100, 0))
			if b := wait(t, g.writes, "the first message"); len(b) != 100 {
				t.Fatalf("%d octets", len(b))
			}
			const n = 1000
			var want []byte
			for i := range n {
				m := message(100, i)
				want = append(want, m...)
				if w.put(m) != nil {
					t.Fatal("no room")
				}
			}
			g.let <- struct{}{}
			writes := 0
			for len(want) > 0 {
				b := wait(t, g.writes, "a write")
				if !bytes.HasPrefix(want, b) || len(b)%100 != 0 || len(b) > row.piece || len(b) < len(want) && len(b) <= row.piece-100 {
					t.Fatalf("a write of %d octets, %d to go", len(b), len(want))
				}
				want = want[len(b):]
				writes++
				g.let <- struct{}{}
			}
			t.Logf("%d messages of 100 octets in %d writes", n, writes)
			w.finish()
			if err := wait(t, over, "end"); err != nil {
				t.Error(err)
			}
		})
	}
}
