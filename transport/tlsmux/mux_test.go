package tlsmux

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/nettest"

	"ipfixsuite/transport/tlsmux/core"
	"ipfixsuite/transport/tlsmux/wire"
)

// muxes makes the two ends of a session over TCP.
func muxes(t testing.TB, client, server Config) (*Mux, *Mux) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	accepted := make(chan net.Conn, 1)
	go func() { // ended by ln.Close
		if c, err := ln.Accept(); err == nil {
			accepted <- c
		}
	}()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	a, b := Client(c, client), Server(<-accepted, server)
	t.Cleanup(func() {
		a.Close()
		b.Close()
	})
	return a, b
}

var here, there = wire.Address{Host: []byte("a.example"), Port: 1}, wire.Address{Host: []byte("b.example"), Port: 2}

func channels(t testing.TB, a, b *Mux) (*Channel, *Channel) {
	t.Helper()
	x, err := a.Open(t.Context(), here, there)
	if err != nil {
		t.Fatal(err)
	}
	y, err := b.Accept(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return x, y
}

// A channel is a net.Conn as the Go project's own tests understand it.
func TestChannelIsANetConn(t *testing.T) {
	nettest.TestConn(t, func() (net.Conn, net.Conn, func(), error) {
		a, b := muxes(t, Config{}, Config{})
		x, y := channels(t, a, b)
		return x, y, func() {
			a.Close()
			b.Close()
		}, nil
	})
}

func TestManyChannels(t *testing.T) {
	cfg := Config{Core: core.Config{Window: 5000, MaxPacket: 700}}
	a, b := muxes(t, cfg, cfg)
	const n, size = 40, 50_000
	var wg sync.WaitGroup
	for i := range n {
		from, to := a, b
		if i%2 == 1 {
			from, to = b, a
		}
		want := make([]byte, size)
		rng := rand.New(rand.NewPCG(uint64(i), 1))
		for j := range want {
			want[j] = byte(rng.Uint32())
		}
		x, y := channels(t, from, to)
		if x.RemoteAddr().String() != "b.example:2" || y.RemoteAddr().String() != "a.example:1" || y.LocalAddr().String() != "b.example:2" {
			t.Errorf("addresses %v, %v", x.RemoteAddr(), y.RemoteAddr())
		}
		wg.Go(func() {
			if _, err := x.Write(want); err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() {
			got := make([]byte, size)
			if _, err := io.ReadFull(y, got); err != nil || !bytes.Equal(got, want) {
				t.Errorf("channel %d: other octets arrived: %v", i, err)
			}
		})
	}
	wg.Wait()
}

func TestOpen_Refused(t *testing.T) {
	a, b := muxes(t, Config{}, Config{Takes: func(_, to wire.Address) error {
		if to.Port == 2 {
			return errors.New("not\nhere")
		}
		return nil
	}})
	_, err := a.Open(t.Context(), here, there)
	if e, ok := errors.AsType[*RefusedError](err); !ok || e.Reason != `not\nhere` {
		t.Errorf("got %v", err)
	}
	if _, err := a.Open(t.Context(), there, here); err != nil {
		t.Error(err)
	}
	if a.Tainted() || b.Tainted() {
		t.Error("a refusal is no fault")
	}
	// Nobody accepts: the backlog is bounded.
	full := false
	for range defaultBacklog + 1 {
		if _, err := a.Open(t.Context(), there, here); err != nil {
			full = true
		}
	}
	if !full {
		t.Error("channels without end")
	}
}

func TestClose(t *testing.T) {
	a, b := muxes(t, Config{}, Config{})
	x, y := channels(t, a, b)
	if _, err := y.Write([]byte("last words")); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 4)
	if _, err := io.ReadFull(x, got); err != nil {
		t.Fatal(err)
	}
	y.Close()
	// What arrived before can still be read.
	if rest, err := io.ReadAll(x); err != nil || string(rest) != " words" {
		t.Errorf("%q, %v", rest, err)
	}
	if _, err := x.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Write: %v", err)
	}
	// The others go on; the session's end ends them.
	x, y = channels(t, a, b)
	b.Close()
	if _, err := x.Read(got); err == nil {
		t.Error("read after the session's end")
	}
	if _, err := y.Read(got); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Read: %v", err)
	}
	if _, err := a.Open(t.Context(), here, there); err == nil {
		t.Error("opened after the session's end")
	}
}

// A Mux offers its channels as a net.Listener.
func TestListener(t *testing.T) {
	a, b := muxes(t, Config{}, Config{})
	l := b.Listener()
	if l.Addr().String() != b.conn.LocalAddr().String() {
		t.Errorf("address %v", l.Addr())
	}
	var wg sync.WaitGroup
	wg.Go(func() { // an echo, as any server of net.Conns; ended by l.Close
		for {
			c, err := l.Accept()
			if err != nil {
				if !errors.Is(err, net.ErrClosed) {
					t.Errorf("Accept: %v", err)
				}
				return
			}
			wg.Go(func() { // ended by the client's Close
				defer c.Close()
				_, _ = io.Copy(c, c)
			})
		}
	})
	first, err := a.Open(t.Context(), here, there)
	if err != nil {
		t.Fatal(err)
	}
	echo := func() {
		if _, err := first.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 5)
		if _, err := io.ReadFull(first, got); err != nil || string(got) != "hello" {
			t.Fatalf("%q, %v", got, err)
		}
	}
	echo()
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept after Close: %v", err)
	}
	if _, err := a.Open(t.Context(), here, there); err == nil {
		t.Error("opened with nobody to accept")
	}
	echo() // the channels there are go on
	again := b.Listener()
	second, err := a.Open(t.Context(), here, there)
	if err != nil {
		t.Fatal(err)
	}
	first.Close()
	again.Close() // nobody accepted the second
	if _, err := second.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("Read: %v", err)
	}
	wg.Wait()
}

// Section 2.2: a new maximum holds for the peer's packets from then on; it is
// never more than the window has room for.
func TestChannel_SetMaxPacket(t *testing.T) {
	s, m := newSpeaker(t, Config{Core: core.Config{Window: 100, MaxPacket: 60}})
	s.send(establish(5, 10, 4, "x", 1, "y", 2))
	s.expect(2, 0, 15, 0, 5, 0x80, 1, 0, 0, 0, 100, 0, 0, 0, 60)
	ch, err := m.Accept(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	id := []byte{0, 5, 0x80, 1}
	done := make(chan int, 1)
	set := func(n int) {
		go func() { done <- ch.SetMaxPacket(n) }() // the pipe has no buffer
	}
	set(20)
	s.expect(append([]byte{7, 0, 11}, append(id, u32(20)...)...)...)
	if n := <-done; n != 20 {
		t.Errorf("asked for %d", n)
	}
	ch.Hold()
	s.send(plaintext(id, string(make([]byte, 60)))) // it was on its way
	if n, err := io.ReadFull(ch, make([]byte, 60)); err != nil {
		t.Fatalf("%d octets, %v", n, err)
	}
	set(1000)
	s.expect(append([]byte{7, 0, 11}, append(id, u32(40)...)...)...)
	if n := <-done; n != 40 {
		t.Errorf("asked for %d with room for 40", n)
	}
	s.send(plaintext(id, string(make([]byte, 40))))
	if _, err := io.ReadFull(ch, make([]byte, 40)); err != nil {
		t.Fatal(err)
	}
	if n := ch.SetMaxPacket(10); n != 0 {
		t.Errorf("asked for %d without room", n)
	}
}

// A flood of requests by a peer that reads no answer is bounded: it is not
// read any more.
func TestFloodOfRequests(t *testing.T) {
	s, m := newSpeaker(t, Config{Takes: func(wire.Address, wire.Address) error { return errors.New("no") }})
	sent := 0
	for ; sent < 1_000_000; sent++ {
		_ = s.c.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
		if _, err := s.c.Write(establish(sent&0x7fff, 10, 4, "x", 1, "y", 2)); err != nil {
			break
		}
	}
	m.mu.Lock()
	asked := m.core.Stats().Asked
	m.mu.Unlock()
	if asked > 50_000 {
		t.Errorf("%d requests were answered into the void", asked)
	}
	t.Logf("%d requests taken", asked)
}

func BenchmarkChannel(b *testing.B) {
	x, y := muxes(b, Config{}, Config{})
	w, r := channels(b, x, y)
	go func() { _, _ = io.Copy(io.Discard, r) }() // ended with the Mux
	block := make([]byte, 1400)
	b.SetBytes(int64(len(block)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := w.Write(block); err != nil {
			b.Fatal(err)
		}
	}
}
