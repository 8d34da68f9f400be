//go:build linux

package dccp

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"ipfixsuite/test/harness"
	"ipfixsuite/transport"
	"ipfixsuite/transport/dccp"
	"ipfixsuite/transport/dccp/kernel"
)

// hall takes the sessions of a listener.
type hall struct {
	begins chan struct{}
	ends   chan error
	hold   chan struct{} // taken before each message, unless nil
}

func (h hall) Open(transport.Peer, transport.Properties) (transport.Receiver, error) {
	h.begins <- struct{}{}
	return h, nil
}
func (hall) Barrier(done func())   { done() }
func (h hall) Closed(reason error) { h.ends <- reason }

func (h hall) Message(transport.Incoming) {
	if h.hold != nil {
		<-h.hold
	}
}

// serve starts a server in B. stop tells it to end, ended waits until it has.
func serve(t *testing.T, n *harness.Network, cfg kernel.ServerConfig, h hall) (s *kernel.Server, stop, ended func()) {
	t.Helper()
	cfg.Services, cfg.Scheme = []dccp.ServiceCode{service}, "dccp"
	var err error
	n.Inside(n.B, func() { s, err = kernel.NewServer(netip.MustParseAddrPort("192.0.2.2:0"), cfg) })
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { // ended by stop
		if err := s.Serve(ctx, h); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(wg.Wait)
	return s, stop, wg.Wait
}

// session opens one from A.
func session(t *testing.T, n *harness.Network, to netip.AddrPort, deadAfter time.Duration) (s transport.Session) {
	t.Helper()
	d := &kernel.Dialer{To: to, Scheme: "dccp", Config: kernel.Config{Services: []dccp.ServiceCode{service}}, DeadAfter: deadAfter}
	var err error
	n.Inside(n.A, func() { s, err = d.Dial(within(t)) })
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// kernelServerDrains: what has come when a server is told to end is handed over.
func kernelServerDrains(t *testing.T, n *harness.Network) {
	h := hall{make(chan struct{}, 2), make(chan error, 2), make(chan struct{})}
	s, stop, ended := serve(t, n, kernel.ServerConfig{}, h)
	var pair [2]transport.Session
	for i := range pair {
		pair[i] = session(t, n, s.Addr(), -1)
		<-h.begins
	}
	c, other := pair[0], pair[1]
	const messages = 20
	batch := make([]transport.Outgoing, messages)
	for i := range batch {
		batch[i].Data = make([]byte, 100)
	}
	if n, err := c.Send(t.Context(), batch); n != messages || err != nil {
		t.Fatal(n, err)
	}
	if err := c.Close(within(t)); err != nil { // they are there
		t.Error(err)
	}
	stop()
	<-h.ends // the other's: all were told, while the first message is held
	close(h.hold)
	<-h.ends
	ended()
	_ = other.Close(within(t))
	if st := s.Stats(); st.DatagramsReceived != messages {
		t.Errorf("%d of %d messages handed over", st.DatagramsReceived, messages)
	}
}

// kernelServerSilence: a session that brings nothing is ended.
func kernelServerSilence(t *testing.T, n *harness.Network) {
	h := hall{begins: make(chan struct{}, 1), ends: make(chan error, 1)}
	s, stop, ended := serve(t, n, kernel.ServerConfig{IdleTimeout: time.Second}, h)
	c := session(t, n, s.Addr(), -1)
	if err := <-h.ends; err == nil || !strings.Contains(err.Error(), "silent for 1s") {
		t.Errorf("ended with %v", err)
	}
	<-c.Done()
	if err := c.Err(); !errors.Is(err, transport.ErrPeerClosed) {
		t.Errorf("the peer of it: %v", err)
	}
	if err := c.Close(within(t)); err != nil {
		t.Error(err)
	}
	stop()
	ended()
}

// kernelServer: sessions on the kernel's sockets are bounded in number, and end
// in order from both sides.
func kernelServer(t *testing.T, n *harness.Network) {
	h := hall{begins: make(chan struct{}, 8), ends: make(chan error, 8)}
	s, stop, ended := serve(t, n, kernel.ServerConfig{MaxSessionsPerPrefix: 1}, h)
	a := session(t, n, s.Addr(), -1)
	<-h.begins
	if n, err := a.Send(t.Context(), []transport.Outgoing{{Data: make([]byte, 100)}, {Data: make([]byte, a.MaxMessage()+1)}}); n != 1 || !errors.Is(err, transport.ErrTooLarge) {
		t.Errorf("sent %d, %v", n, err)
	}
	if err := a.Probe(t.Context()); !errors.Is(err, transport.ErrNoProbe) {
		t.Error(err)
	}
	// One more from there is sent away.
	b := session(t, n, s.Addr(), -1)
	<-b.Done()
	if st := s.Stats(); st.SessionsRefused != 1 || st.Dropped["prefix-limit"] != 1 {
		t.Errorf("%+v", st)
	}
	if err := b.Close(within(t)); err != nil { // what the peer will not take is not waited for
		t.Error(err)
	}
	// We end in order, and then the server.
	if err := errors.Join(a.Close(within(t)), a.Err()); err != nil {
		t.Error(err)
	}
	if err := <-h.ends; err != nil {
		t.Errorf("ended with %v", err)
	}
	a = session(t, n, s.Addr(), -1)
	<-h.begins
	stop()
	if err := <-h.ends; !errors.Is(err, transport.ErrClosed) {
		t.Errorf("ended with %v", err)
	}
	<-a.Done()
	if err := a.Close(within(t)); err != nil {
		t.Error(err)
	}
	ended()
	if st := s.Stats(); st.SessionsOpened != 2 || st.SessionsClosed != 2 || st.DatagramsReceived != 1 || st.BytesReceived != 100 {
		t.Errorf("%+v", st)
	}
}

// emptyMessage: one without content is no end, though the kernel reports both
// alike.
func emptyMessage(t *testing.T, n *harness.Network) {
	l := kernelListen(t, n, versions["ipv4"].b)
	k, err := kernelDial(t, n, n.A, l.AddrPort(), service)
	if err != nil {
		t.Fatal(err)
	}
	got := accept(t, l)
	for _, msg := range []string{"one", "", "two"} {
		if _, err := k.Write([]byte(msg)); err != nil {
			t.Fatal(err)
		}
	}
	b := make([]byte, 100)
	for _, want := range []string{"one", "two"} {
		if n, err := got.Read(b); err != nil || string(b[:n]) != want {
			t.Errorf("%q, %v; want %q", b[:n], err, want)
		}
	}
	k.Close()
	if _, err := got.Read(b); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
}

// hostDies: a host that answers no more is given up, which the kernel never does.
func hostDies(t *testing.T, n *harness.Network) {
	l := kernelListen(t, n, versions["ipv4"].b)
	s := session(t, n, l.AddrPort(), time.Second)
	accept(t, l)
	n.Run(n.B, "tc qdisc add dev vb root netem loss 100%")
	defer n.Run(n.B, "tc qdisc del dev vb root")
	pace := time.NewTicker(20 * time.Millisecond)
	defer pace.Stop()
	for living := true; living; {
		select {
		case <-s.Done():
			living = false
		case <-pace.C:
			_, _ = s.Send(t.Context(), []transport.Outgoing{{Data: make([]byte, 500)}}) // until it is over
		}
	}
	if err := s.Err(); err == nil || !strings.Contains(err.Error(), "has acknowledged nothing for 1s") {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_ = s.Close(ctx) // what stands in the queue stays there
}
