package udp

import (
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"ipfixsuite/transport"
)

// BenchmarkLoopback moves datagrams of 1400 octets from one socket to another
// and reports what a datagram costs both ends together (CPU, user and system),
// and how many of those sent arrive. An operation is one datagram sent.
func BenchmarkLoopback(b *testing.B) {
	const size, burst = 1400, 64
	b.Run("plain", func(b *testing.B) {
		in, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			b.Fatal(err)
		}
		_ = in.SetReadBuffer(DefaultReceiveBuffer)
		out, err := net.DialUDP("udp4", nil, in.LocalAddr().(*net.UDPAddr))
		if err != nil {
			b.Fatal(err)
		}
		defer out.Close()
		data, buf := make([]byte, size), make([]byte, 65536)
		flood(b, size, func(n int) {
			for range n {
				_, _ = out.Write(data)
			}
		}, func() int {
			if _, _, err := in.ReadFromUDPAddrPort(buf); err != nil {
				return -1
			}
			return 1
		}, in.Close)
	})
	for _, mode := range []string{"mmsg", "GSO to plain", "GSO to GRO"} {
		b.Run(mode, func(b *testing.B) {
			in := listen(b, netip.MustParseAddr("127.0.0.1"), Config{})
			out := connect(b, in.LocalAddr(), Config{})
			setMode(in, out, mode)
			batch := numbered(slices.Repeat([]int{size}, burst)...)
			dst := make([]transport.Datagram, receiveBatch)
			flood(b, size, func(n int) {
				for n > 0 {
					m, _ := out.WriteBatch(batch[:min(n, burst)])
					n -= max(m, 1)
				}
			}, func() int {
				n, err := in.ReadBatch(b.Context(), dst)
				if err != nil {
					return -1
				}
				return n
			}, in.Close)
		})
	}
}

func flood(b *testing.B, size int, send func(n int), receive func() int, stop func() error) {
	b.SetBytes(int64(size))
	b.ReportAllocs()
	got := 0
	var reading sync.WaitGroup
	reading.Go(func() { // ended by stop
		for {
			n := receive()
			if n < 0 {
				return
			}
			got += n
		}
	})
	start := cpu()
	b.ResetTimer()
	begin := time.Now()
	send(b.N)
	sent := time.Since(begin)
	b.StopTimer()
	time.Sleep(20 * time.Millisecond) // what is in the buffer yet
	used := cpu() - start
	_ = stop()
	reading.Wait()
	b.ReportMetric(float64(used.Nanoseconds())/float64(b.N), "cpu-ns/op")
	b.ReportMetric(float64(got)/sent.Seconds(), "received/s")
	b.ReportMetric(100*float64(got)/float64(b.N), "%received")
}

func cpu() time.Duration {
	var r syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

func BenchmarkPlainSession(b *testing.B) {
	in := listen(b, netip.MustParseAddr("127.0.0.1"), Config{})
	s := newSession(connect(b, in.LocalAddr(), Config{MTU: 1428}))
	defer s.Close(b.Context())
	batch := make([]transport.Outgoing, 64)
	for i := range batch {
		batch[i].Data = make([]byte, 1400)
	}
	b.SetBytes(64 * 1400)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Send(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
	}
}
