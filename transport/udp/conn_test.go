package udp

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"ipfixsuite/test/harness"
	"ipfixsuite/transport"
)

// families are the loopback addresses; a host without IPv6 says so.
func families(t *testing.T, f func(t *testing.T, addr netip.Addr)) {
	for _, tt := range []struct{ name, addr string }{{"IPv4", "127.0.0.1"}, {"IPv6", "::1"}} {
		t.Run(tt.name, func(t *testing.T) {
			addr := netip.MustParseAddr(tt.addr)
			if pc, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr, 0))); err != nil {
				t.Skipf("no %s on this host: %v", tt.name, err)
			} else {
				_ = pc.Close()
			}
			f(t, addr)
		})
	}
}

func listen(t testing.TB, addr netip.Addr, cfg Config) *Conn {
	t.Helper()
	c, err := Listen(netip.AddrPortFrom(addr, 0), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func connect(t testing.TB, to netip.AddrPort, cfg Config) *Conn {
	t.Helper()
	c, err := Connect(t.Context(), to, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// readN reads want datagrams and keeps copies.
func readN(t testing.TB, c *Conn, want int) []transport.Datagram {
	t.Helper()
	ctx := soon(t)
	var all []transport.Datagram
	dst := make([]transport.Datagram, 7)
	for len(all) < want {
		n, err := c.ReadBatch(ctx, dst)
		if err != nil {
			t.Fatalf("after %d of %d datagrams: %v", len(all), want, err)
		}
		for _, d := range dst[:n] {
			d.Data = bytes.Clone(d.Data)
			all = append(all, d)
		}
	}
	return all
}

// numbered makes datagrams of the given sizes that carry their number.
func numbered(sizes ...int) []transport.Datagram {
	batch := make([]transport.Datagram, len(sizes))
	for i, n := range sizes {
		data := bytes.Repeat([]byte{byte(i)}, n)
		if n >= 4 {
			binary.BigEndian.PutUint32(data, uint32(i))
		}
		batch[i].Data = data
	}
	return batch
}

func equalData(t *testing.T, got, want []transport.Datagram) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d datagrams, want %d", len(got), len(want))
	}
	for i := range want {
		if !bytes.Equal(got[i].Data, want[i].Data) {
			t.Fatalf("datagram %d: %d octets %.8x…, want %d octets %.8x…", i, len(got[i].Data), got[i].Data, len(want[i].Data), want[i].Data)
		}
	}
}

func TestConn_orderAndBoundaries(t *testing.T) {
	families(t, func(t *testing.T, addr netip.Addr) {
		in := listen(t, addr, Config{})
		out := connect(t, in.LocalAddr(), Config{})
		for _, sizes := range [][]int{
			{1},
			{100, 100, 100, 50, 100, 100, 7, 7, 8},
			{0, 5, 0, 0, 5, 5, 0},
			{1400, 1400, 1400, 1400, 1399, 1400, 1401},
			slices.Repeat([]int{1000}, 300),
			slices.Repeat([]int{20}, 600),
			{9000, 9000, 60000, 60000, 1},
		} {
			want := numbered(sizes...)
			if n, err := out.WriteBatch(want); n != len(want) || err != nil {
				t.Fatalf("WriteBatch = %d, %v", n, err)
			}
			got := readN(t, in, len(want))
			equalData(t, got, want)
			for _, d := range got {
				if d.Peer != out.LocalAddr() {
					t.Fatalf("peer %v, want %v", d.Peer, out.LocalAddr())
				}
			}
		}
	})
}

func TestConn_severalPeersBothWays(t *testing.T) {
	families(t, func(t *testing.T, addr netip.Addr) {
		server := listen(t, addr, Config{})
		var clients []*Conn
		for range 5 {
			clients = append(clients, connect(t, server.LocalAddr(), Config{}))
		}
		for i, c := range clients {
			if _, err := c.WriteBatch(numbered(10+i, 10+i)); err != nil {
				t.Fatal(err)
			}
		}
		got := readN(t, server, 2*len(clients))
		if n, err := server.WriteBatch(got); n != len(got) || err != nil {
			t.Fatalf("WriteBatch = %d, %v", n, err)
		}
		for i, c := range clients {
			equalData(t, readN(t, c, 2), numbered(10+i, 10+i))
		}
	})
}

func TestListen_dualStackUnmapsIPv4(t *testing.T) {
	server := listen(t, netip.IPv6Unspecified(), Config{})
	for _, s := range []string{"127.0.0.1", "::1"} {
		client, err := Connect(t.Context(), netip.AddrPortFrom(netip.MustParseAddr(s), server.LocalAddr().Port()), Config{})
		if err != nil {
			t.Skipf("no dual stack here: %v", err)
		}
		defer client.Close()
		want := numbered(30, 30, 30)
		if _, err := client.WriteBatch(want); err != nil {
			t.Fatal(err)
		}
		got := readN(t, server, 3)
		equalData(t, got, want)
		if got[0].Peer != client.LocalAddr() || got[0].Peer.Addr().Is4In6() {
			t.Errorf("peer %v, want %v", got[0].Peer, client.LocalAddr())
		}
		if _, err := server.WriteBatch(got); err != nil {
			t.Fatal(err)
		}
		equalData(t, readN(t, client, 3), want)
	}
}

func TestConn_contextEndsRead(t *testing.T) {
	c := listen(t, netip.MustParseAddr("127.0.0.1"), Config{})
	dst := make([]transport.Datagram, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := c.ReadBatch(ctx, dst); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	ctx, cancel2 := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel2)
	if _, err := c.ReadBatch(ctx, dst); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	// A later context is not woken by what ended the earlier ones.
	out := connect(t, c.LocalAddr(), Config{})
	time.AfterFunc(20*time.Millisecond, func() { _, _ = out.WriteBatch(numbered(4)) })
	equalData(t, readN(t, c, 1), numbered(4))
}

func TestConn_closeEndsRead(t *testing.T) {
	c := listen(t, netip.MustParseAddr("127.0.0.1"), Config{})
	time.AfterFunc(20*time.Millisecond, func() { _ = c.Close() })
	if _, err := c.ReadBatch(t.Context(), make([]transport.Datagram, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v", err)
	}
	if err := c.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
	if _, err := c.WriteBatch(numbered(1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("write: %v", err)
	}
}

func TestConn_refusedIsOnlyAHint(t *testing.T) {
	families(t, func(t *testing.T, addr netip.Addr) {
		to := netip.AddrPortFrom(addr, uint16(harness.FreePort(t)))
		out := connect(t, to, Config{})
		for range 10 {
			if n, err := out.WriteBatch(numbered(100)); n != 1 || err != nil {
				t.Fatalf("WriteBatch = %d, %v", n, err)
			}
		}
		if out.Unreachable() == 0 {
			t.Error("no hint counted")
		}
		// The reader outlives the hint as well, and the socket still works.
		back, err := Listen(to, Config{})
		if err != nil {
			t.Fatal(err)
		}
		defer back.Close()
		if _, err := out.WriteBatch(numbered(5)); err != nil {
			t.Fatal(err)
		}
		got := readN(t, back, 1)
		if _, err := back.WriteBatch(got); err != nil {
			t.Fatal(err)
		}
		equalData(t, readN(t, out, 1), numbered(5))
	})
}

func TestConn_tooLargeForTheMTU_RFC7011_10_3_3(t *testing.T) {
	families(t, func(t *testing.T, addr netip.Addr) {
		in := listen(t, addr, Config{})
		out := connect(t, in.LocalAddr(), Config{})
		// Beyond what the length fields hold: no path takes it.
		batch := numbered(10, 65530, 10)
		n, err := out.WriteBatch(batch)
		if n != 1 || !errors.Is(err, transport.ErrTooLarge) {
			t.Errorf("WriteBatch = %d, %v", n, err)
		}
		if got := out.MaxDatagram(in.LocalAddr()); got >= 65530 || got < 60000 {
			t.Errorf("MaxDatagram = %d", got)
		}
	})
}

func TestConn_configuredMTU(t *testing.T) {
	families(t, func(t *testing.T, addr netip.Addr) {
		in := listen(t, addr, Config{})
		out := connect(t, in.LocalAddr(), Config{MTU: 1400})
		want := 1400 - 28
		if addr.Is6() {
			want = 1400 - 48
		}
		if got := out.MaxDatagram(in.LocalAddr()); got != want {
			t.Errorf("MaxDatagram = %d, want %d", got, want)
		}
		if got := in.MaxDatagram(out.LocalAddr()); got > 1280-28 {
			t.Errorf("for an unknown path MaxDatagram = %d", got)
		}
	})
}

func TestListen_error(t *testing.T) {
	c := listen(t, netip.MustParseAddr("127.0.0.1"), Config{})
	_, err := Listen(c.LocalAddr(), Config{})
	if err == nil || err.Error() != "listen on udp "+c.LocalAddr().String()+": address already in use" {
		t.Errorf("got %v", err)
	}
}

func TestConn_noAllocations(t *testing.T) {
	in := listen(t, netip.MustParseAddr("127.0.0.1"), Config{})
	out := connect(t, in.LocalAddr(), Config{})
	ctx := t.Context()
	batch := numbered(slices.Repeat([]int{300}, 32)...)
	dst := make([]transport.Datagram, 64)
	round := func() {
		if _, err := out.WriteBatch(batch); err != nil {
			t.Fatal(err)
		}
		for n := 0; n < len(batch); {
			m, err := in.ReadBatch(ctx, dst)
			if err != nil {
				t.Fatal(err)
			}
			n += m
		}
		if _, err := in.WriteBatch(dst[:1]); err != nil {
			t.Fatal(err)
		}
		if _, err := out.ReadBatch(ctx, dst); err != nil {
			t.Fatal(err)
		}
	}
	if n := testing.AllocsPerRun(100, round); n != 0 {
		t.Errorf("%v allocations for %d datagrams", n, len(batch)+1)
	}
}
