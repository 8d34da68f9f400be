package dccp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"ipfixsuite/test/harness"
	"ipfixsuite/transport/dccp/ccid"
	"ipfixsuite/transport/dccp/wire"
)

func TestMessagesBothWays(t *testing.T) {
	l, to := listenLoopback(t, ListenConfig{})
	client, server := connect(t, l, to, Config{})
	for i := range 100 {
		fmt.Fprintf(client, "there %d", i)
		expect(t, server, fmt.Sprint("there ", i))
		fmt.Fprintf(server, "back %d", i)
		expect(t, client, fmt.Sprint("back ", i))
	}
	if server.RemoteAddr().String() != client.LocalAddr().String() || client.RemoteAddr().String() != to.String() {
		t.Errorf("addresses: %v %v, %v %v", client.LocalAddr(), client.RemoteAddr(), server.LocalAddr(), server.RemoteAddr())
	}
	if err := client.Close(); err != nil {
		t.Error(err)
	}
	if n, err := server.Read(nil); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("after close: %d, %v", n, err)
	}
	if _, err := client.Write(nil); !errors.Is(err, net.ErrClosed) {
		t.Errorf("write after close: %v", err)
	}
	if _, err := client.Read(nil); !errors.Is(err, net.ErrClosed) {
		t.Errorf("read after close: %v", err)
	}
}

// TestCongestionControl: both ends settle for what the server prefers of what
// the client offers (RFC 4340, Section 10).
func TestCongestionControl(t *testing.T) {
	two, three := ccid.TCPLike, ccid.TFRC
	for _, tt := range []struct{ client, server, want []ccid.ID }{
		{nil, nil, []ccid.ID{two}},
		{[]ccid.ID{three}, nil, []ccid.ID{three}},
		{nil, []ccid.ID{three}, []ccid.ID{three}},
		{[]ccid.ID{two, three}, []ccid.ID{three, two}, []ccid.ID{three}},
		{[]ccid.ID{two}, []ccid.ID{three}, nil},
	} {
		t.Run(fmt.Sprintf("%d and %d", tt.client, tt.server), func(t *testing.T) {
			l, to := listenLoopback(t, ListenConfig{Config: Config{CCIDs: tt.server}})
			if tt.want == nil {
				if _, err := Dial(within(t), to, service, Config{CCIDs: tt.client}); err == nil {
					t.Error("they have nothing in common")
				}
				return
			}
			client, server := connect(t, l, to, Config{CCIDs: tt.client})
			for i := range 200 {
				fmt.Fprintf(client, "there %d", i)
				expect(t, server, fmt.Sprint("there ", i))
			}
			for _, c := range []*Conn{client, server} {
				if send, receive := c.CCIDs(); send != tt.want[0] || receive != tt.want[0] {
					t.Errorf("CCIDs %d and %d, want %d", send, receive, tt.want[0])
				}
			}
		})
	}
}

// TestServerCloses: a server asks the client to close, so that the client
// holds TIMEWAIT (RFC 4340, Section 8.3).
func TestServerCloses(t *testing.T) {
	l, to := listenLoopback(t, ListenConfig{})
	client, server := connect(t, l, to, Config{})
	if err := server.Shutdown(within(t)); err != nil {
		t.Error(err)
	}
	if n, err := client.Read(nil); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("%d, %v", n, err)
	}
	if _, err := client.Write(nil); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("%v", err)
	}
	wait(t, client.Done(), "the client's end")
	client.e.wg.Wait() // its socket went with it
	if s := l.e.Stats(); s.Conns != 0 {
		t.Errorf("%+v", s)
	}
}

func TestAbort(t *testing.T) {
	l, to := listenLoopback(t, ListenConfig{})
	client, server := connect(t, l, to, Config{})
	client.Abort()
	_, err := server.Read(nil)
	wantReset(t, err, wire.ResetAborted)
	wantReset(t, server.Err(), wire.ResetAborted)
	_, err = server.Write([]byte("x"))
	wantReset(t, err, wire.ResetAborted)
}

// RFC 4340, Section 8.1.2: a Request for a service that is not served is
// answered with Reset "Bad Service Code"; Section 8.3.1: one for a port where
// nobody listens with "No Connection".
func TestRFC4340_8_1_2_BadServiceCode(t *testing.T) {
	_, to := listenLoopback(t, ListenConfig{})
	_, err := Dial(within(t), to, service+1, Config{})
	wantReset(t, err, wire.ResetBadServiceCode)
	to.Port++
	_, err = Dial(within(t), to, service, Config{})
	wantReset(t, err, wire.ResetNoConnection)
}

// TestServiceCodesShareAPort: RFC 4340, Section 8.1.2: the service code tells
// apart what is spoken on one port.
func TestServiceCodesShareAPort(t *testing.T) {
	plain, to := listenLoopback(t, ListenConfig{}, 1, 2)
	secure, err := plain.e.Listen(to.Port, []ServiceCode{3}, ListenConfig{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := plain.e.Listen(to.Port, []ServiceCode{4, 2}, ListenConfig{}); !errors.Is(err, errInUse) {
		t.Errorf("service code served twice: %v", err)
	}
	for s, l := range map[ServiceCode]*Listener{1: plain, 2: plain, 3: secure} {
		c, err := Dial(within(t), to, s, Config{})
		if err != nil {
			t.Fatal(err)
		}
		c.Write([]byte("x"))
		a, err := l.accept(within(t))
		if err != nil || a.ServiceCode() != s || c.ServiceCode() != s {
			t.Errorf("service %v: %v", s, err)
		}
		c.Abort()
	}
	if err := secure.Close(); err != nil {
		t.Error(err)
	}
	_, err = Dial(within(t), to, 3, Config{})
	wantReset(t, err, wire.ResetBadServiceCode)
	if _, err := secure.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("%v", err)
	}
}

func TestTooBusy(t *testing.T) {
	l, to := listenLoopback(t, ListenConfig{Backlog: 1})
	client, err := Dial(within(t), to, service, Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Abort()
	client.Write([]byte("x"))
	expect(t, mustAccept(t, l, func(c *Conn) { l.accepted <- c }), "x") // put back: nobody accepts it
	_, err = Dial(within(t), to, service, Config{})
	wantReset(t, err, wire.ResetTooBusy)

	few, to := listenLoopback(t, ListenConfig{MaxConnsPerPrefix: 1})
	connect(t, few, to, Config{})
	_, err = Dial(within(t), to, service, Config{})
	wantReset(t, err, wire.ResetTooBusy)
}

func mustAccept(t *testing.T, l *Listener, then func(*Conn)) *Conn {
	t.Helper()
	c, err := l.accept(within(t))
	if err != nil {
		t.Fatal(err)
	}
	then(c)
	return c
}

// RFC 4340, Section 14: a message larger than the MPS is refused before it is
// queued.
func TestRFC4340_14_TooLarge(t *testing.T) {
	l, to := listenLoopback(t, ListenConfig{})
	client, server := connect(t, l, to, Config{})
	most := client.MPS()
	if _, err := client.Write(make([]byte, most+1)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("%v", err)
	}
	if s := client.Stats(); s.Queued != 0 || s.TooLarge != 1 {
		t.Errorf("%+v", s)
	}
	for _, size := range []int{most, 0, 1} {
		if _, err := client.Write([]byte(strings.Repeat("x", size))); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, most+1)
		if n, err := server.Read(b); n != size || err != nil {
			t.Errorf("read %d, %v; want %d", n, err, size)
		}
	}
	client.Write([]byte("longer"))
	if n, err := server.Read(make([]byte, 4)); n != 4 || !errors.Is(err, io.ErrShortBuffer) {
		t.Errorf("read %d, %v", n, err)
	}
}

func TestDeadlines(t *testing.T) {
	l, to := listenLoopback(t, ListenConfig{})
	client, server := connect(t, l, to, Config{})
	past := time.Unix(1, 0)
	client.SetDeadline(past)
	if _, err := client.Read(nil); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read: %v", err)
	}
	if _, err := client.Write(nil); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("write: %v", err)
	}
	client.SetDeadline(time.Time{})
	var wg sync.WaitGroup
	for range 3 { // who waits already hears of a new deadline as well
		wg.Go(func() {
			if _, err := client.Read(nil); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("read: %v", err)
			}
		})
	}
	client.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	wg.Wait()
	client.SetReadDeadline(time.Time{})
	server.Write([]byte("still here"))
	expect(t, client, "still here")
	l.SetDeadline(past)
	if _, err := l.Accept(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("accept: %v", err)
	}
}

// TestAddresses: a socket for all addresses answers from the one that was
// asked.
func TestAddresses(t *testing.T) {
	e, err := NewUDPEndpoint(netip.IPv6Unspecified(), Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	l, err := e.Listen(1, []ServiceCode{service}, ListenConfig{})
	if err != nil {
		t.Fatal(err)
	}
	for _, ip := range []string{"127.0.0.1", "127.0.0.2", "::1"} {
		to := Addr{IP: netip.MustParseAddr(ip), Port: 1, UDP: e.LocalAddr().UDP}
		c, s := connect(t, l, to, Config{})
		if s.LocalAddr() != net.Addr(to) || c.RemoteAddr() != net.Addr(to) {
			t.Errorf("%v, want %v", s.LocalAddr(), to)
		}
		s.Write([]byte("back"))
		expect(t, c, "back")
		// Such a socket may dial as well.
		d, err := e.Dial(within(t), to, service, Config{})
		if err != nil {
			t.Fatal(err)
		}
		d.Write([]byte("from myself"))
		if s, err = l.accept(within(t)); err != nil {
			t.Fatal(err)
		}
		expect(t, s, "from myself")
	}
}

func TestEndpointCloses(t *testing.T) {
	l, to := listenLoopback(t, ListenConfig{})
	client, server := connect(t, l, to, Config{})
	if err := l.e.Close(); err != nil {
		t.Error(err)
	}
	if _, err := server.Read(nil); !errors.Is(err, net.ErrClosed) {
		t.Errorf("%v", err)
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("%v", err)
	}
	_, err := client.Read(nil)
	wantReset(t, err, wire.ResetAborted)
	if _, err := l.e.Dial(within(t), to, service, Config{}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("%v", err)
	}
	if _, err := l.e.Listen(2, []ServiceCode{1}, ListenConfig{}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("%v", err)
	}
}

// TestListenEnds: a socket that was made for one Listener goes with it and its
// last connection.
func TestListenEnds(t *testing.T) {
	l, err := Listen(Addr{IP: loopback, Port: 4739, UDP: freeUDP(t)}, []ServiceCode{service}, ListenConfig{})
	if err != nil {
		t.Fatal(err)
	}
	client, server := connect(t, l, l.Addr().(Addr), Config{})
	l.Close()
	client.Write([]byte("the connection lives on"))
	expect(t, server, "the connection lives on")
	client.Close()
	l.e.wg.Wait()
}

func freeUDP(t *testing.T) uint16 { return uint16(harness.FreePort(t)) }

func TestDialFails(t *testing.T) {
	// Nobody there: ICMP is no verdict, time is.
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	to := Addr{IP: loopback, Port: 1, UDP: freeUDP(t)}
	if _, err := Dial(ctx, to, service, Config{}); !errors.Is(err, ctx.Err()) || ctx.Err() == nil {
		t.Errorf("%v", err)
	} else if want := fmt.Sprintf("connect to dccp+udp 127.0.0.1:1 udp %d: ", to.UDP); !strings.HasPrefix(err.Error(), want) {
		t.Errorf("%v, want %s…", err, want)
	}
	e, err := NewUDPEndpoint(loopback, Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if _, err := e.Dial(t.Context(), Addr{IP: loopback, Port: 1}, service, Config{}); !errors.Is(err, errCarrier) {
		t.Errorf("%v", err)
	}
	if _, err := Dial(t.Context(), to, service, Config{CCIDs: []ccid.ID{200}}); err == nil {
		t.Error("CCID 200 is implemented")
	}
}
