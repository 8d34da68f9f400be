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

// kernelServerDrains: what has come when a server is told to end is handed over.
func kernelServerDrains(t *testing.T, n *harness.Network) {
	cfg := kernel.ServerConfig{Config: kernel.Config{Services: []dccp.ServiceCode{service}}, Scheme: "dccp"}
	var s *kernel.Server
	var err error
	n.Inside(n.B, func() { s, err = kernel.NewServer(netip.MustParseAddrPort("192.0.2.2:0"), cfg) })
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	h := hall{make(chan struct{}, 2), make(chan error, 2), make(chan struct{})}
	var wg sync.WaitGroup
	wg.Go(func() { // ended by stop
		if err := s.Serve(ctx, h); err != nil {
			t.Error(err)
		}
	})
	var pair [2]transport.Session
	for i := range pair {
		n.Inside(n.A, func() { pair[i], err = (&kernel.Dialer{To: s.Addr(), Config: cfg.Config}).Dial(within(t)) })
		if err != nil {
			t.Fatal(err)
		}
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
	wg.Wait()
	_ = other.Close(within(t))
	if st := s.Stats(); st.DatagramsReceived != messages {
		t.Errorf("%d of %d messages handed over", st.DatagramsReceived, messages)
	}
}

// kernelServer: sessions on the kernel's sockets are bounded in number and in
// silence, and end in order from both sides.
func kernelServer(t *testing.T, n *harness.Network) {
	cfg := kernel.ServerConfig{
		Config: kernel.Config{Services: []dccp.ServiceCode{service}}, Scheme: "dccp", MaxSessionsPerPrefix: 1, IdleTimeout: 2 * time.Second,
	}
	var s *kernel.Server
	var err error
	n.Inside(n.B, func() { s, err = kernel.NewServer(netip.MustParseAddrPort("192.0.2.2:0"), cfg) })
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	h := hall{begins: make(chan struct{}, 8), ends: make(chan error, 8)}
	var wg sync.WaitGroup
	wg.Go(func() { // ended by stop
		if err := s.Serve(ctx, h); err != nil {
			t.Error(err)
		}
	})
	d := &kernel.Dialer{To: s.Addr(), Scheme: "dccp", Config: cfg.Config}
	open := func() transport.Session {
		t.Helper()
		var o transport.Session
		var err error
		n.Inside(n.A, func() { o, err = d.Dial(within(t)) })
		if err != nil {
			t.Fatal(err)
		}
		return o
	}
	a := open()
	<-h.begins
	if n, err := a.Send(t.Context(), []transport.Outgoing{{Data: make([]byte, 100)}, {Data: make([]byte, a.MaxMessage()+1)}}); n != 1 || !errors.Is(err, transport.ErrTooLarge) {
		t.Errorf("sent %d, %v", n, err)
	}
	if err := a.Probe(t.Context()); !errors.Is(err, transport.ErrNoProbe) {
		t.Error(err)
	}
	// One more from there is sent away.
	b := open()
	<-b.Done()
	if st := s.Stats(); st.SessionsRefused != 1 || st.Dropped["prefix-limit"] != 1 {
		t.Errorf("%+v", st)
	}
	if err := b.Close(within(t)); err != nil { // what the peer will not take is not waited for
		t.Error(err)
	}
	// Silence ends the first.
	if err := <-h.ends; err == nil || !strings.Contains(err.Error(), "silent for 2s") {
		t.Errorf("ended with %v", err)
	}
	<-a.Done()
	if err := a.Err(); !errors.Is(err, transport.ErrPeerClosed) {
		t.Errorf("the peer of it: %v", err)
	}
	if err := a.Close(within(t)); err != nil {
		t.Error(err)
	}
	// We end in order, and then the server.
	for _, end := range []func(c transport.Session){
		func(c transport.Session) {
			<-h.begins
			if err := errors.Join(c.Close(within(t)), c.Err()); err != nil {
				t.Error(err)
			}
			if err := <-h.ends; err != nil {
				t.Errorf("ended with %v", err)
			}
		},
		func(c transport.Session) {
			<-h.begins
			stop()
			if err := <-h.ends; !errors.Is(err, transport.ErrClosed) {
				t.Errorf("ended with %v", err)
			}
			<-c.Done()
			if err := c.Close(within(t)); err != nil {
				t.Error(err)
			}
		},
	} {
		end(open())
	}
	wg.Wait()
	if st := s.Stats(); st.SessionsOpened != 3 || st.SessionsClosed != 3 || st.DatagramsReceived != 1 || st.BytesReceived != 100 {
		t.Errorf("%+v", st)
	}
}

// emptyMessage: one without content is no end, though the kernel reports both
// alike.
func emptyMessage(t *testing.T, n *harness.Network) {
	l := kernelListen(t, n, versions["ipv4"].b)
	k, err := kernelDialFrom(t, n, l.AddrPort())
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

func kernelDialFrom(t *testing.T, n *harness.Network, to netip.AddrPort) (c *kernel.Conn, err error) {
	t.Helper()
	n.Inside(n.A, func() {
		c, err = kernel.Dial(within(t), netip.AddrPort{}, to, kernel.Config{Services: []dccp.ServiceCode{service}})
	})
	return c, err
}

// hostDies: a host that answers no more is given up, which the kernel never does.
func hostDies(t *testing.T, n *harness.Network) {
	l := kernelListen(t, n, versions["ipv4"].b)
	d := &kernel.Dialer{To: l.AddrPort(), Scheme: "dccp", Config: kernel.Config{Services: []dccp.ServiceCode{service}}, DeadAfter: time.Second}
	var s transport.Session
	var err error
	n.Inside(n.A, func() { s, err = d.Dial(within(t)) })
	if err != nil {
		t.Fatal(err)
	}
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
