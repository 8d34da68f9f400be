package dccp

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ipfixsuite/transport"
	"ipfixsuite/transport/dccp/wire"
)

// taker is a Handler and its one Receiver.
type taker struct {
	refuse bool
	got    chan string
	closed chan error
}

func (k *taker) Open(transport.Peer, transport.Properties) (transport.Receiver, error) {
	if k.refuse {
		return nil, errors.New("not wanted")
	}
	return k, nil
}
func (k *taker) Message(m transport.Incoming) { k.got <- string(m.Data) }
func (k *taker) Barrier(done func())          { done() }
func (k *taker) Closed(reason error)          { k.closed <- reason }

// served is a Server with its handler, and a session to it.
func served(t *testing.T, refuse bool) (k *taker, s transport.Session, stop func() error) {
	t.Helper()
	e, err := NewUDPEndpoint(loopback, Config{})
	if err != nil {
		t.Fatal(err)
	}
	l, err := NewServer(e, 4739, []ServiceCode{service}, "dccp+udp", ListenConfig{}, e.Close)
	if err != nil {
		t.Fatal(err)
	}
	k = &taker{refuse: refuse, got: make(chan string, 10), closed: make(chan error, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- l.Serve(ctx, k) }()
	d := &Dialer{To: Addr{IP: loopback, Port: 4739, UDP: e.LocalAddr().UDP}, Service: service, Scheme: "dccp+udp"}
	if s, err = d.Dial(within(t)); err != nil {
		t.Fatal(err)
	}
	return k, s, func() error { cancel(); return <-ended }
}

// Far more messages than the queue holds, in one call: each is taken once, in
// its order.
func TestSessionSendsABatch(t *testing.T) {
	k, s, stop := served(t, false)
	const n = 3 * 256
	batch := make([]transport.Outgoing, n)
	for i := range batch {
		batch[i].Data = []byte(fmt.Sprint(i))
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for done := 0; done < n; {
			m, err := s.Send(t.Context(), batch[done:])
			if err != nil && !errors.Is(err, transport.ErrBusy) {
				t.Error(err)
				break
			}
			done += m
		}
	})
	for i := range n {
		if got := wait(t, k.got, "a message"); got != fmt.Sprint(i) {
			t.Fatalf("message %d is %q", i, got)
		}
	}
	wg.Wait()
	if st := s.Stats(); st.MessagesSent != n || st.BytesSent == 0 {
		t.Errorf("%+v", st)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

func TestSession(t *testing.T) {
	k, s, stop := served(t, false)
	if _, err := s.Send(t.Context(), []transport.Outgoing{{Data: []byte("a")}, {Data: make([]byte, s.MaxMessage()+1)}}); !errors.Is(err, transport.ErrTooLarge) {
		t.Errorf("%v", err)
	}
	if got := wait(t, k.got, "the message"); got != "a" {
		t.Errorf("%q", got)
	}
	if err := s.Close(within(t)); err != nil || s.Err() != nil {
		t.Errorf("%v, %v", err, s.Err())
	}
	if reason := wait(t, k.closed, "the end"); reason != nil {
		t.Errorf("closed in order, and told %v", reason)
	}
	// Close waits for the last word on what was sent.
	if got := s.(transport.Tracker).Fates(nil); len(got) != 1 || got[0] != (transport.Fate{First: 1, Last: 1, Arrived: true}) {
		t.Errorf("%+v", got)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

// A collector that was killed, and started again on its port, answers Close by a
// Reset: the session did not end in order, and who closes it hears of that.
func TestSessionClose_Disorder(t *testing.T) {
	for _, killed := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			n := newLAN()
			serve := func() *Endpoint {
				e := n.endpoint(t, collectorAt.String(), false)
				if _, err := e.Listen(4739, []ServiceCode{service}, ListenConfig{Config: Config{Receive: func(*Conn, []byte) {}}}); err != nil {
					t.Fatal(err)
				}
				return e
			}
			e := serve()
			to := Addr{IP: collectorAt.Addr(), Port: 4739, UDP: collectorAt.Port()}
			c, err := n.dial(within(t), t, "192.0.2.2:9", to, service, Config{Track: true})
			if err != nil {
				t.Fatal(err)
			}
			s := &session{c: c}
			if k, err := s.Send(t.Context(), []transport.Outgoing{{Data: []byte("acknowledged")}}); k != 1 || err != nil {
				t.Fatal(k, err)
			}
			pass(time.Second)
			if killed {
				n.set(func(n *lan) { n.lose = func(p lanPacket) bool { return p.from == collectorAt } })
				_ = e.Close() // which nobody hears of
				n.set(func(n *lan) { n.lose = nil })
				serve()
			}
			err = s.Close(within(t))
			r, reset := errors.AsType[*ResetError](err)
			if killed != reset || killed && (r.Code != wire.ResetNoConnection || !r.Remote) || !killed && err != nil {
				t.Errorf("killed %v: %v", killed, err)
			}
			if got := s.Fates(nil); len(got) != 1 || !got[0].Arrived {
				t.Errorf("killed %v: %+v", killed, got)
			}
		})
	}
}

func TestServerEnds(t *testing.T) {
	k, s, stop := served(t, false)
	if _, err := s.Send(t.Context(), []transport.Outgoing{{Data: []byte("a")}}); err != nil {
		t.Fatal(err)
	}
	wait(t, k.got, "the message")
	if err := stop(); err != nil {
		t.Error(err)
	}
	if reason := wait(t, k.closed, "the end"); !errors.Is(reason, transport.ErrClosed) {
		t.Errorf("%v", reason)
	}
	wait(t, s.Done(), "the session's end")
	if !errors.Is(s.Err(), transport.ErrPeerClosed) {
		t.Errorf("%v", s.Err())
	}
}

func TestServerRefuses(t *testing.T) {
	k, s, stop := served(t, true)
	_, _ = s.Send(t.Context(), []transport.Outgoing{{Data: []byte("a")}})
	wait(t, s.Done(), "the session's end")
	if _, ok := errors.AsType[*ResetError](s.Err()); !ok {
		t.Errorf("%v", s.Err())
	}
	if len(k.got) > 0 {
		t.Error("a message was handed over")
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}
