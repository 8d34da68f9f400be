package dccp

import (
	"errors"
	"io"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"ipfixsuite/transport/dccp/core"
)

// RFC 4340, Section 8.3: whom the Reset reaches holds TIMEWAIT, so that no
// connection with the same addresses and ports begins while packets of the old
// one may be under way; for a connection that has taken its socket with it as
// well, whoever closed.
func TestRFC4340_8_3_TimeWaitOfDial(t *testing.T) {
	for name, closes := range map[string]func(client, server *Conn) error{
		"client closes": func(c, _ *Conn) error { return c.Close() },
		"server closes": func(_, s *Conn) error { return s.Close() },
		"server aborts": func(_, s *Conn) error { return s.Abort() },
	} {
		t.Run(name, func(t *testing.T) {
			l, to := listenLoopback(t, ListenConfig{})
			c, s := connect(t, l, to, Config{})
			if err := closes(c, s); err != nil {
				t.Error(err)
			}
			wait(t, c.Done(), "the client's end")
			c.e.wg.Wait() // its socket is closed
			if !departed.waits(time.Now(), c.key) {
				t.Error("not in TIMEWAIT")
			}
			// The same ports again.
			e, err := NewEndpoint(Addr{IP: loopback, UDP: c.key.Local.Port()}, Config{})
			if err != nil {
				t.Fatal(err)
			}
			defer e.Close()
			if _, err := e.connect(within(t), to, c.key.LocalPort, service, &Config{}); !errors.Is(err, errPortInUse) {
				t.Errorf("connected from the same ports: %v", err)
			}
			again, err := e.Dial(within(t), to, service, Config{})
			if err != nil {
				t.Fatal(err)
			}
			again.Abort()
		})
	}
}

// A server's connection is in TIMEWAIT if its client has reset it, as long as
// somebody listens on its socket; it does not hold the socket afterwards.
func TestRFC4340_8_3_TimeWaitOfListen(t *testing.T) {
	l, err := Listen(Addr{IP: loopback, Port: 4739, UDP: freeUDP(t)}, []ServiceCode{service}, ListenConfig{})
	if err != nil {
		t.Fatal(err)
	}
	c, s := connect(t, l, l.Addr().(Addr), Config{})
	c.Abort()
	wait(t, s.Done(), "the server's end")
	if n := l.e.Stats().Conns; n != 1 {
		t.Errorf("%d connections in TIMEWAIT", n)
	}
	if _, err := s.Read(nil); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("%v", err)
	}
	l.Close()
	l.e.wg.Wait()
}

func TestTimeWaitsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w timeWaits
		key := func(i int) core.Tuple {
			return core.Tuple{Local: netip.AddrPortFrom(loopback, uint16(i)), LocalPort: uint16(i >> 16)}
		}
		for i := range 2 * maxTimeWaits {
			w.add(time.Now(), key(i))
			w.add(time.Now(), key(i))
		}
		if len(w.order) != maxTimeWaits || len(w.until) != maxTimeWaits || w.waits(time.Now(), key(0)) || !w.waits(time.Now(), key(2*maxTimeWaits-1)) {
			t.Errorf("%d remembered", len(w.order))
		}
		time.Sleep(timeWait)
		if w.waits(time.Now(), key(2*maxTimeWaits-1)) || len(w.until) != 0 {
			t.Errorf("%d remembered for ever", len(w.until))
		}
	})
}
