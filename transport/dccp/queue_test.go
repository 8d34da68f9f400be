package dccp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipfixsuite/test/harness"
	"ipfixsuite/transport"
	"ipfixsuite/transport/dccp/wire"
)

// stalled is a connection whose peer has vanished and whose congestion window
// is used up.
func stalled(t *testing.T, cfg Config) *Conn {
	t.Helper()
	l, to := listenLoopback(t, ListenConfig{})
	cfg.QueueMessages = 4
	client, _ := connect(t, l, to, cfg)
	l.e.io.Close()
	if cfg.Policy != Wait {
		for client.Stats().QueueDrops == 0 {
			if _, err := client.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
		}
	} else {
		client.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
		for {
			if _, err := client.Write([]byte("x")); err != nil {
				break
			}
		}
	}
	client.SetWriteDeadline(time.Time{})
	return client
}

// TestQueueWaits: RFC 4340 does not say what a full queue does; by default
// Write waits.
func TestQueueWaits(t *testing.T) {
	c := stalled(t, Config{})
	if s := c.Stats(); s.Queued == 0 || s.QueueDrops != 0 {
		t.Errorf("%+v", s)
	}
	// Until it is full again: a timeout may have let one go meanwhile.
	c.SetWriteDeadline(time.Now().Add(20 * time.Millisecond))
	var err error
	for err == nil {
		_, err = c.Write([]byte("x"))
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%v", err)
	}
	c.SetWriteDeadline(time.Time{})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	for err = nil; err == nil; {
		_, err = c.Send(ctx, []byte("x"))
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	ended := make(chan error, 1)
	go func() {
		for {
			if _, err := c.Write([]byte("x")); err != nil {
				ended <- err
				return
			}
		}
	}()
	c.Abort()
	if err := wait(t, ended, "the writer's end"); !errors.Is(err, net.ErrClosed) {
		t.Errorf("%v", err)
	}
}

func TestQueueDrops(t *testing.T) {
	for _, p := range []Policy{DropOldest, DropNewest} {
		c := stalled(t, Config{Policy: p, Track: true})
		next := c.next
		fates := c.Fates(nil)
		dropped := fates[len(fates)-1]
		if dropped.Arrived {
			t.Fatalf("policy %d: %+v", p, fates)
		}
		if newest := dropped.Last == next; newest != (p == DropNewest) {
			t.Errorf("policy %d: of %d messages %+v", p, next, dropped)
		}
	}
}

// TestRFC5238_3_3_TransmitReturnsWhenSent: RFC 5238, Section 3.3: who repeats
// what he sends must know when it has left the queue.
func TestRFC5238_3_3_TransmitReturnsWhenSent(t *testing.T) {
	l, to := listenLoopback(t, ListenConfig{})
	c, _ := connect(t, l, to, Config{})
	for range 10 {
		before := c.Stats().DataSent
		id, err := c.Transmit(within(t), []byte("x"))
		if err != nil {
			t.Fatal(err)
		}
		if s := c.Stats(); s.DataSent != before+1 || s.Queued != 0 || id != c.next {
			t.Errorf("%+v", s)
		}
	}
	if _, err := c.Transmit(t.Context(), make([]byte, c.MPS()+1)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("%v", err)
	}
	c = stalled(t, Config{})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := c.Transmit(ctx, []byte("x")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := c.Transmit(context.Background(), []byte("x"))
		ended <- err
	}()
	c.Abort()
	if err := wait(t, ended, "the writer's end"); !errors.Is(err, net.ErrClosed) && err != nil {
		t.Errorf("%v", err)
	}
}

// TestFates: what arrived is known from Ack Vectors.
func TestFates(t *testing.T) {
	l, to := listenLoopback(t, ListenConfig{})
	c, s := connect(t, l, to, Config{Track: true})
	for i := 2; i <= 100; i++ {
		if id, err := c.Send(t.Context(), fmt.Append(nil, i)); err != nil || id != uint64(i) {
			t.Fatalf("%d, %v", id, err)
		}
		expect(t, s, fmt.Sprint(i))
	}
	// What comes back acknowledges all of it.
	s.Write([]byte("that is all"))
	expect(t, c, "that is all")
	got := c.Fates(nil)
	if len(got) != 1 || got[0] != (transport.Fate{First: 1, Last: 100, Arrived: true}) {
		t.Errorf("%+v", got)
	}
	if got := c.Fates(nil); len(got) != 0 {
		t.Errorf("told twice: %+v", got)
	}
}

func TestFatesAreBounded(t *testing.T) {
	f := fates{on: true}
	for i := range uint64(3 * maxFates) {
		f.add(i, i%2 == 0)
	}
	if len(f.runs) > maxFates {
		t.Errorf("%d runs", len(f.runs))
	}
	if last := f.runs[len(f.runs)-1].Last; last != 3*maxFates-1 {
		t.Errorf("the last is of %d", last)
	}
	f = fates{on: true}
	for _, id := range []uint64{1, 2, 5, 6, 3, 7, 4, 8} { // 3 and 4 are late
		f.add(id, id != 3 && id != 4)
	}
	want := []transport.Fate{{First: 1, Last: 2, Arrived: true}, {First: 3, Last: 4}, {First: 5, Last: 8, Arrived: true}}
	if diff := cmp.Diff(want, f.runs); diff != "" {
		t.Error(diff)
	}
	f = fates{on: true}
	for _, id := range []uint64{4, 3, 2, 1, 8, 7, 6, 5} {
		f.add(id, true)
	}
	if diff := cmp.Diff([]transport.Fate{{First: 1, Last: 8, Arrived: true}}, f.runs); diff != "" {
		t.Error(diff)
	}
}

func TestInbox(t *testing.T) {
	q := inbox{limit: 5000}
	b := make([]byte, 5000)
	next, want := 0, 0
	for round := range 2000 {
		for q.push(b[:next*7%300]) {
			b[0] = byte(next)
			next++
		}
		if q.used+messageCost*q.n > q.limit {
			t.Fatalf("%d octets, %d messages", q.used, q.n)
		}
		for range 1 + round%7 {
			if n, size := q.pop(b); n != size || size != want*7%300 {
				t.Fatalf("message %d has %d of %d octets", want, n, size)
			}
			want++
		}
	}
	if len(q.octets) > 8192 || len(q.sizes) > 512 {
		t.Errorf("grown to %d octets, %d messages", len(q.octets), len(q.sizes))
	}
}

// TestReceiveBufferIsBounded: RFC 4340, Section 11.7: a message without room
// is dropped, and the sender learns it.
func TestReceiveBufferIsBounded(t *testing.T) {
	l, to := listenLoopback(t, ListenConfig{Config: Config{ReceiveBuffer: 1000}})
	c, s := connect(t, l, to, Config{Track: true})
	for range 20 {
		if _, err := c.Write(make([]byte, 100)); err != nil {
			t.Fatal(err)
		}
	}
	// All have been handled when the answer to what comes last is there.
	c.Close()
	n := 0
	for b := make([]byte, 100); ; n++ {
		if _, err := s.Read(b); err != nil {
			break
		}
	}
	if st := s.Stats(); n != 8 || st.DataOverflow != 12 {
		t.Errorf("%d read, %+v", n, st)
	}
	lost := 0
	for _, f := range c.Fates(nil) {
		if !f.Arrived {
			lost += int(f.Last - f.First + 1)
		}
	}
	if lost == 0 || c.Stats().SlowReceiverSeen == 0 {
		t.Errorf("the sender knows nothing of it: %+v", c.Stats())
	}
}

// TestReceiveCallback: messages may be taken, and answered, where they are
// read.
func TestReceiveCallback(t *testing.T) {
	l, to := listenLoopback(t, ListenConfig{Config: Config{Receive: func(c *Conn, msg []byte) {
		if _, err := c.TrySend(append(msg, " to you"...)); err != nil {
			t.Error(err)
		}
	}}})
	c, err := Dial(within(t), to, service, Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Abort()
	for range 100 {
		c.Write([]byte("hello"))
		expect(t, c, "hello to you")
	}
	if _, err := l.accept(within(t)); err != nil {
		t.Error(err)
	}
}

// TestPacketsKeepTheirOrder: what the reader of the socket sends, what Write
// sends meanwhile and what Receive answers leave in the order of their numbers;
// else the peer would take packets that were overtaken for lost.
func TestPacketsKeepTheirOrder(t *testing.T) {
	const messages = 2000
	n := newLAN()
	n.delay = 0
	echo := Config{Receive: func(c *Conn, msg []byte) {
		if _, err := c.TrySend(msg); err != nil && !errors.Is(err, ErrQueueFull) {
			t.Error(err)
		}
	}}
	at := n.endpoint(t, "192.0.2.1:6511", false)
	l, err := at.Listen(1, []ServiceCode{service}, ListenConfig{Config: echo})
	if err != nil {
		t.Fatal(err)
	}
	ends := make(chan struct{})
	c, err := n.dial(within(t), t, "192.0.2.2:9", l.Addr().(Addr), service, Config{Receive: func(_ *Conn, msg []byte) {
		if string(msg) == "end" {
			close(ends)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Abort()
	if _, err := c.Write([]byte("first")); err != nil {
		t.Fatal(err)
	}
	s, err := l.accept(within(t))
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for _, from := range []*Conn{c, s} {
		from.SetWriteDeadline(time.Now().Add(time.Minute))
		wg.Go(func() {
			for range messages {
				if _, err := from.Write([]byte("message")); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if _, err := s.Write([]byte("end")); err != nil {
		t.Error(err)
	}
	wait(t, ends, "the end")
	// The other end's messages may still be queued.
	harness.Until(t, "everything is sent", func() bool { return c.Stats().Queued+s.Stats().Queued == 0 })
	last := map[netip.AddrPort]wire.Seq{}
	for i, p := range n.packets(func(lanPacket) bool { return true }) {
		if before, sent := last[p.from]; sent && p.Seq.Sub(before) != 1 {
			t.Fatalf("packet %d from %v is number %d, after %d", i, p.from, p.Seq, before)
		}
		last[p.from] = p.Seq
	}
	for _, c := range []*Conn{c, s} {
		if st := c.Stats(); st.Lost+st.Stale+st.SequenceInvalid > 0 || st.DataSent < messages {
			t.Errorf("%+v", st)
		}
	}
}
