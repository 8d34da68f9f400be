package userspace

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"ipfixsuite/transport/sctp"
	"ipfixsuite/transport/sctp/shim"
)

// Associations are bounded in all and for one prefix; what is turned away is
// counted and finds room when there is some.
func TestListener_Limits(t *testing.T) {
	l := listen(t, loopback4, Config{MaxAssociations: 5, MaxPerPrefix: 2})
	client := func(ctx context.Context, ip string) (*end, error) {
		cfg := hasty()
		cfg.MaxRetransmits = 1 << 20
		cfg.Local = netip.AddrPortFrom(netip.MustParseAddr(ip), 0)
		cfg.UDPPort = UDPAddr(l).Port()
		a, err := Dial(ctx, l.Addr(), cfg)
		if err != nil {
			return nil, err
		}
		return receive(t, a), nil
	}
	var last *end
	for _, ip := range []string{"127.0.1.1", "127.0.1.2", "127.0.2.1", "127.0.3.1", "127.0.4.1"} {
		var err error
		if last, err = client(withPatience(t), ip); err != nil {
			t.Fatalf("%s: %v", ip, err)
		}
	}
	for ip, why := range map[string]string{"127.0.1.3": "a third of the prefix", "127.0.5.1": "a sixth in all"} {
		ctx, giveUp := context.WithCancel(withPatience(t))
		refused := make(chan error, 1)
		before := l.Stats().Limited
		go func() { _, err := client(ctx, ip); refused <- err }()
		eventually(t, func() bool { return l.Stats().Limited > before }, func() any { return l.Stats() })
		giveUp()
		if err := <-refused; !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", why, err)
		}
	}
	if n := l.(*acceptor).s.Associations(); n != 5 {
		t.Errorf("%d associations", n)
	}
	last.Abort("")
	if _, err := client(withPatience(t), "127.0.6.1"); err != nil {
		t.Errorf("after one has gone: %v", err)
	}
}

// What nobody reads is bounded on the socket in all, and associations that are
// read go on beside those that are not.
func TestSocket_MemoryIsShared(t *testing.T) {
	const memory = 400_000
	l := listen(t, loopback4, Config{Memory: memory})
	socket := l.(*acceptor).s
	flood := patient()
	ctx, cancel := context.WithCancel(t.Context())
	var senders sync.WaitGroup
	for range 3 { // never read
		ca, err := dial(t, l, flood)
		if err != nil {
			t.Fatal(err)
		}
		c := receive(t, ca)
		if _, err := l.Accept(withPatience(t)); err != nil {
			t.Fatal(err)
		}
		senders.Go(func() {
			for ctx.Err() == nil {
				if _, err := c.Send(ctx, []sctp.Message{{Data: numbered(0, 1200)}}); err != nil {
					return
				}
			}
		})
	}
	defer senders.Wait()
	defer cancel()
	eventually(t, func() bool { return l.Stats().Dropped[shim.DropQueue.String()] > 0 }, func() any { return l.Stats() })
	s, c := pairOn(t, l, patient())
	for i := range 300 {
		c.send(t, sctp.Message{Data: numbered(i, 1200)})
		if g := s.next(t, sctp.EventMessage); !bytes.Equal(g.data, numbered(i, 1200)) {
			t.Fatalf("message %d: %.8q", i, g.data)
		}
		if use := socket.use.Load(); use > 2*memory {
			t.Fatalf("%d octets held", use)
		}
	}
}

func TestDial_Fails(t *testing.T) {
	plain := listen(t, loopback4, Config{})
	secure := listen(t, loopback4, Config{Config: sctp.Config{Auth: true}})
	auth := Config{Config: sctp.Config{Auth: true}}
	auth.UDPPort = UDPAddr(plain).Port()
	if _, err := Dial(withPatience(t), plain.Addr(), auth); !errors.Is(err, shim.ErrPeerNoAuth) {
		t.Errorf("SCTP-AUTH demanded of a plain listener: %v", err)
	}
	if _, err := dial(t, secure, Config{}); err == nil || !strings.Contains(err.Error(), "SCTP-AUTH is required") {
		t.Errorf("plain at one that demands SCTP-AUTH: %v", err)
	}
	if n := secure.Stats().Refused; n != 1 {
		t.Errorf("%d refused", n)
	}
	closed := netip.AddrPortFrom(loopback4, testPort+1)
	if _, err := Dial(withPatience(t), closed, Config{UDPPort: UDPAddr(plain).Port()}); err == nil {
		t.Error("dialed a port where nobody listens")
	} else if _, ok := errors.AsType[*shim.RefusedError](err); !ok {
		t.Errorf("a port where nobody listens: %v", err)
	}
	r := newRelay(t, UDPAddr(plain))
	r.set(none)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	cfg := Config{UDPPort: r.front.LocalAddr().(*net.UDPAddr).AddrPort().Port()}
	if _, err := Dial(ctx, plain.Addr(), cfg); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("no answer: %v", err)
	}
	cfg.Config = hasty().Config
	if _, err := Dial(withPatience(t), plain.Addr(), cfg); !errors.Is(err, shim.ErrNoAnswer) {
		t.Errorf("no answer and no deadline: %v", err)
	}
	cfg.RTOMin = time.Hour
	if _, err := Dial(withPatience(t), plain.Addr(), cfg); !errors.Is(err, errTimers) {
		t.Errorf("timers out of order: %v", err)
	}
}

// One UDP socket carries many associations, of two ports, dialed from one
// other socket; closing it ends them all.
func TestSocket_ManyAssociations(t *testing.T) {
	before := runtime.NumGoroutine()
	server, err := Open(netip.AddrPortFrom(loopback4, 0), Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	client, err := Open(netip.AddrPortFrom(loopback4, 0), Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	const each = 25
	var work, used sync.WaitGroup
	for _, port := range []uint16{4739, 4740} {
		l, err := server.Listen(port, Config{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := server.Listen(port, Config{}); err == nil {
			t.Error("listens twice on one port")
		}
		work.Go(func() {
			for range each {
				a, err := l.Accept(withPatience(t))
				if err != nil {
					t.Error(err)
					return
				}
				work.Go(func() { mirror(a) })
			}
		})
		for i := range each {
			used.Add(1)
			work.Go(func() {
				done := sync.OnceFunc(used.Done)
				defer done()
				cfg := Config{UDPPort: server.UDPAddr().Port()}
				a, err := client.Dial(withPatience(t), netip.AddrPortFrom(loopback4, port), cfg)
				if err != nil {
					t.Error(err)
					return
				}
				text := fmt.Sprintf("association %d of port %d", i, port)
				if _, err := a.Send(withPatience(t), []sctp.Message{{Data: []byte(text)}}); err != nil {
					t.Error(err)
				}
				var ev sctp.Event
				if err := a.Receive(&ev); err != nil || string(ev.Message.Data) != text {
					t.Errorf("%q, %v", ev.Message.Data, err)
				}
				if i%2 == 0 { // the others end with their socket
					_ = a.Shutdown()
				}
				done()
				for a.Receive(&ev) == nil {
				}
			})
		}
	}
	used.Wait()
	living := func() any { return server.Associations() }
	eventually(t, func() bool { return server.Associations() == 2*(each/2) }, living)
	client.Close()
	work.Wait()
	eventually(t, func() bool { return server.Associations() == 0 }, living)
	server.Close()
	if n := server.use.Load() + client.use.Load(); n != 0 {
		t.Errorf("%d octets are still accounted for", n)
	}
	eventually(t, func() bool { return runtime.NumGoroutine() <= before },
		func() any { b := make([]byte, 1<<16); return string(b[:runtime.Stack(b, true)]) })
}

// mirror sends everything back until the association ends.
func mirror(a sctp.Association) {
	var ev sctp.Event
	for a.Receive(&ev) == nil {
		if ev.Kind == sctp.EventMessage {
			_, _ = a.Send(context.Background(), []sctp.Message{ev.Message})
		}
	}
}

func TestListener_Close(t *testing.T) {
	l := listen(t, loopback4, Config{})
	s, c := pairOn(t, l, Config{})
	waiting := make(chan error, 1)
	go func() {
		_, err := l.Accept(context.Background())
		waiting <- err
	}()
	l.Close()
	if err := <-waiting; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept: %v", err)
	}
	if _, err := s.over(t); err == nil {
		t.Error("the accepted association lives on without a socket")
	}
	_, err := c.over(t)
	if lost, ok := errors.AsType[*sctp.LostError](err); !ok || !lost.Aborted {
		t.Errorf("the client is told %v", err)
	}
	l.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	l2 := listen(t, loopback4, Config{})
	if _, err := l2.Accept(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Accept with a context that has ended: %v", err)
	}
}
