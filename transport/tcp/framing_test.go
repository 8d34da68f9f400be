package tcp

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"testing"
	"time"
)

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
