package tcp

import (
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"ipfixsuite/transport"
	"ipfixsuite/transport/transporttest"
)

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
