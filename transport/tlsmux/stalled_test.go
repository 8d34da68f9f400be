package tlsmux

import (
	"crypto/tls"
	"io"
	"net"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"
)

// secured makes the two ends of a TLS connection.
func secured(b *testing.B, cert tls.Certificate) (net.Conn, net.Conn) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer ln.Close()
	var server net.Conn
	var wg sync.WaitGroup
	wg.Go(func() {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		s := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{cert}})
		if s.Handshake() == nil {
			server = s
		}
	})
	c, err := tls.Dial("tcp", ln.Addr().String(), &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // loopback, nothing secret
	wg.Wait()
	if err != nil || server == nil {
		b.Fatalf("no connection: %v", err)
	}
	b.Cleanup(func() {
		c.Close()
		server.Close()
	})
	return c, server
}

// BenchmarkStalledChannel tells how long 100 octets take on 63 channels of a session
// beside one that nobody reads, and on 63 connections beside such a one.
func BenchmarkStalledChannel(b *testing.B) {
	s := httptest.NewTLSServer(nil)
	cert := s.TLS.Certificates[0]
	s.Close()
	for _, mux := range []bool{true, false} {
		for _, stall := range []bool{false, true} {
			name := map[bool]string{true: "channels", false: "connections"}[mux] + map[bool]string{true: "/one stalled", false: "/all read"}[stall]
			b.Run(name, func(b *testing.B) {
				const n = 64
				var w, r [n]net.Conn
				if mux {
					c, s := secured(b, cert)
					x, y := Client(c, Config{}), Server(s, Config{})
					defer x.Close()
					defer y.Close()
					for i := range n {
						w[i], r[i] = channels(b, x, y)
					}
				} else {
					for i := range n {
						w[i], r[i] = secured(b, cert)
					}
				}
				if stall {
					fill(b, w[n-1])
				}
				latency(b, w[:n-1], r[:n-1])
			})
		}
	}
}

// fill writes until nothing more is taken.
func fill(b *testing.B, c net.Conn) {
	_ = c.SetWriteDeadline(time.Now().Add(time.Second))
	for {
		if _, err := c.Write(make([]byte, 1<<16)); err != nil {
			break
		}
	}
	if c, ok := c.(*Channel); ok { // more waits, for ever; ended with the Mux
		_ = c.SetWriteDeadline(time.Time{})
		go func() { _, _ = c.Write(make([]byte, 1<<16)) }()
	}
}

// latency sends on each pair by turns.
func latency(b *testing.B, w, r []net.Conn) {
	var took []time.Duration
	buf := make([]byte, 100)
	for i := 0; b.Loop(); i++ {
		begin := time.Now()
		if _, err := w[i%len(w)].Write(buf); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(r[i%len(r)], buf); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(begin))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Nanoseconds())/1e3, "p50-us")
	b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds())/1e3, "p99-us")
}
