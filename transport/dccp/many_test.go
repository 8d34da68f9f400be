package dccp

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"ipfixsuite/test/harness"
	"ipfixsuite/transport"
	"ipfixsuite/transport/dccp/carrier"
	"ipfixsuite/transport/dccp/ccid"
)

// TestThousandConnections runs them over one socket at each end: all have the
// same addresses and UDP ports, DCCP's tell them apart (RFC 6773, Section 3.8,
// MUST). Beyond MaxHalfOpen handshakes go by Init Cookies.
func TestThousandConnections(t *testing.T) {
	const conns, rounds = 1000, 3
	// All negotiate at once: room for what a busy machine reads late.
	room := carrier.Config{ReceiveBuffer: 64 << 20}
	l, to := listenLoopback(t, ListenConfig{Backlog: conns, Config: Config{Socket: room, Receive: func(c *Conn, msg []byte) {
		if _, err := c.TrySend(fmt.Appendf(nil, "%s at %v", msg, c.RemoteAddr().(Addr).Port)); err != nil {
			t.Error(err)
		}
	}}})
	e, err := NewUDPEndpoint(loopback, Config{Socket: room})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	ctx := within(t)
	all := make([]*Conn, conns)
	var wg sync.WaitGroup
	for i := range all {
		wg.Go(func() {
			c, err := e.Dial(ctx, to, service, Config{})
			if err != nil {
				t.Error(err)
				return
			}
			all[i] = c
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	for i, c := range all {
		wg.Go(func() {
			for r := range rounds {
				if err := answered(c, fmt.Sprintf("%d.%d", i, r)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	s := l.e.Stats()
	if s.Conns != conns || s.Listeners[to.Port].HalfOpen != 0 {
		t.Errorf("%+v", s)
	}
	if k := s.Listeners[to.Port]; k.CookiesTaken == 0 || k.Accepted+k.CookiesTaken != conns {
		t.Errorf("%+v", k)
	}
	for _, c := range all {
		wg.Go(func() { c.Close() })
	}
	wg.Wait()
	if drops := l.e.Stats().SocketDrops + e.Stats().SocketDrops; drops > 0 {
		t.Logf("%d packets dropped by sockets that nobody read in time", drops)
		return // some of the last words, maybe
	}
	// Who hears of the end may be sooner than who tells of it.
	harness.Until(t, "no connection left at the server", func() bool { return l.e.Stats().Conns == 0 })
}

// answered sends a message until it is answered, with the port it came from: on
// a busy machine one or the other may be lost.
func answered(c *Conn, msg string) error {
	want, b := fmt.Sprintf("%s at %d", msg, c.LocalAddr().(Addr).Port), make([]byte, 100)
	var err error
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); {
		if _, err = c.Write([]byte(msg)); err != nil {
			return err
		}
		c.SetReadDeadline(time.Now().Add(2 * time.Second))
		var n int
		for n, err = c.Read(b); err == nil; n, err = c.Read(b) {
			if string(b[:n]) == want {
				return nil // others answer what was sent once more before
			}
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return fmt.Errorf("no %q: %w, in %v, %+v", want, err, c.m.State(), c.m.Stats())
}

// TestMessagesCostNoAllocation: in the steady state nothing is allocated, from
// Write through the sockets and congestion control of both ends to Read.
func TestMessagesCostNoAllocation(t *testing.T) {
	for _, id := range []ccid.ID{ccid.TCPLike, ccid.TFRC} {
		l, to := listenLoopback(t, ListenConfig{})
		c, s := connect(t, l, to, Config{Track: true, CCIDs: []ccid.ID{id}})
		s.SetReadDeadline(time.Now().Add(2 * time.Minute)) // no hang, but a failure
		msg, buf := make([]byte, 500), make([]byte, 1000)
		var fates []transport.Fate
		round := func() {
			for range 64 {
				if _, err := c.Write(msg); err != nil {
					t.Fatal(err)
				}
				if _, err := s.Read(buf); err != nil {
					t.Fatal(err)
				}
			}
			fates = c.Fates(fates[:0])
		}
		for range 50 {
			round()
		}
		if n := testing.AllocsPerRun(50, round); n != 0 {
			t.Errorf("CCID %d: %v allocations for 64 messages", id, n)
		}
	}
}

// BenchmarkMessages sends over loopback, to a reader that takes them where they
// are read.
func BenchmarkMessages(b *testing.B) {
	for _, id := range []ccid.ID{ccid.TCPLike, ccid.TFRC} {
		for _, size := range []int{100, 1200} {
			b.Run(fmt.Sprintf("ccid%d/%d", id, size), func(b *testing.B) { benchmarkMessages(b, id, size) })
		}
	}
}

func benchmarkMessages(b *testing.B, id ccid.ID, size int) {
	l, to := listenLoopback(b, ListenConfig{Config: Config{Receive: func(*Conn, []byte) {}}})
	c, err := Dial(within(b), to, l.services[0], Config{CCIDs: []ccid.ID{id}})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Abort()
	msg := make([]byte, size)
	b.SetBytes(int64(size))
	b.ReportAllocs()
	before := cpuTime(b)
	for b.Loop() {
		if _, err := c.Write(msg); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	// CCID 3 waits: see the comment of its package.
	b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N), "cpu-ns/op")
	s := c.Stats()
	b.ReportMetric(float64(s.Lost)/float64(max(s.DataSent, 1))*100, "%lost")
	b.ReportMetric(float64(l.e.Stats().SocketDrops), "drops")

}

// BenchmarkThousandConnections sends round by round over as many connections as
// share one socket at each end, and tells what each has come to cost its end.
func BenchmarkThousandConnections(b *testing.B) {
	const conns = 1000
	before := heap()
	l, to := listenLoopback(b, ListenConfig{Backlog: conns, Config: Config{Receive: func(*Conn, []byte) {}}})
	e, err := NewUDPEndpoint(loopback, Config{})
	if err != nil {
		b.Fatal(err)
	}
	defer e.Close()
	ctx := within(b)
	all := make([]*Conn, conns)
	for i := range all {
		if all[i], err = e.Dial(ctx, to, service, Config{}); err != nil {
			b.Fatal(err)
		}
	}
	msg := make([]byte, 1200)
	b.SetBytes(int64(len(msg)))
	b.ReportAllocs()
	cpu := cpuTime(b)
	i := 0
	for b.Loop() {
		if _, err := all[i%conns].Write(msg); err != nil {
			b.Fatal(err)
		}
		i++
	}
	b.StopTimer()
	b.ReportMetric(float64(cpuTime(b)-cpu)/float64(b.N), "cpu-ns/op")
	b.ReportMetric(float64(heap()-before)/conns/2, "B/conn")
	sent, lost := uint64(0), uint64(0)
	for _, c := range all {
		s := c.Stats()
		sent, lost = sent+s.DataSent, lost+s.Lost
	}
	b.ReportMetric(float64(lost)/float64(max(sent, 1))*100, "%lost")
	b.ReportMetric(float64(l.e.Stats().SocketDrops), "drops")
}

// BenchmarkIdleConnection tells what an idle connection costs one end in
// memory.
func BenchmarkIdleConnection(b *testing.B) {
	l, to := listenLoopback(b, ListenConfig{Backlog: 1 << 16, MaxConnsPerPrefix: 1 << 16})
	e, err := NewUDPEndpoint(loopback, Config{})
	if err != nil {
		b.Fatal(err)
	}
	defer e.Close()
	before := heap()
	n := 0
	for b.Loop() {
		c, err := e.Dial(b.Context(), to, service, Config{KeepAlive: -1})
		if err != nil {
			b.Fatal(err)
		}
		c.Write([]byte("x"))
		s, err := l.AcceptConn()
		if err != nil {
			b.Fatal(err)
		}
		expect(b, s, "x")
		s.SetReadDeadline(time.Time{})
		n++
	}
	b.StopTimer()
	b.ReportMetric(float64(heap()-before)/float64(n)/2, "B/conn")
	b.ReportMetric(float64(runtime.NumGoroutine())/float64(n), "goroutines/conn")
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}
