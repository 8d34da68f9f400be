//go:build unix

package endpoint

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"ipfixsuite/transport"
)

// counting is a collector's end that counts messages.
type counting struct {
	n      atomic.Int64
	wanted atomic.Int64
	there  chan struct{}
}

func (c *counting) Open(transport.Peer, transport.Properties) (transport.Receiver, error) {
	return c, nil
}
func (c *counting) Barrier(done func()) { done() }
func (c *counting) Closed(error)        {}
func (c *counting) Message(transport.Incoming) {
	if c.n.Add(1) == c.wanted.Load() {
		c.there <- struct{}{}
	}
}

// BenchmarkMessages moves messages over loopback, both ends in one process,
// batch by batch, so that nothing is lost where nothing is repeated.
func BenchmarkMessages(b *testing.B) {
	exporter, collector := creds(b)
	const batch = 64
	for _, scheme := range []string{"udp", "tcp", "sctp+udp", "dtls+udp", "tls+tcp", "dtls+sctp+udp"} {
		for _, size := range []int{512, 1400} {
			b.Run(fmt.Sprintf("%s/%d", scheme, size), func(b *testing.B) {
				at, option := ":0", ""
				if strings.Contains(scheme, "sctp") {
					at, option = "", outer(b)
				}
				l, err := Listen(parse(b, scheme+"://127.0.0.1"+at+option), Config{Credentials: collector, Insecure: true, MTU: 1500})
				if err != nil {
					b.Fatal(err)
				}
				c := &counting{there: make(chan struct{}, 1)}
				ctx, cancel := context.WithCancel(context.Background())
				ended := make(chan error, 1)
				go func() { ended <- l.Serve(ctx, c) }()
				defer func() { cancel(); <-ended }()
				d, err := Dialer(parse(b, fmt.Sprintf("%s://%v%s", scheme, l.Addr(), option)), Config{Credentials: exporter, Insecure: true, MTU: 1500})
				if err != nil {
					b.Fatal(err)
				}
				s, err := d.Dial(b.Context())
				if err != nil {
					b.Fatal(err)
				}
				defer s.Close(context.Background())
				out := make([]transport.Outgoing, batch)
				for i := range out {
					data := make([]byte, size)
					data[1], data[2], data[3] = 10, byte(size>>8), byte(size) // TCP frames by it
					out[i].Data = data
				}
				round := func() {
					c.wanted.Store(c.n.Load() + batch)
					for rest := out; len(rest) > 0; {
						n, err := s.Send(b.Context(), rest)
						if err != nil {
							b.Fatal(err)
						}
						rest = rest[n:]
					}
					<-c.there
				}
				round()
				b.SetBytes(int64(size))
				b.ReportAllocs()
				before := cpu(b)
				b.ResetTimer()
				for range max(b.N/batch, 1) {
					round()
				}
				b.ReportMetric(float64(cpu(b)-before)/float64(max(b.N/batch, 1)*batch), "cpu-ns/op")
			})
		}
	}
}

// cpu is what the process has used.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
