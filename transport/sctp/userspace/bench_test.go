//go:build unix

package userspace

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"ipfixsuite/transport/sctp"
)

// cpuTime is what the process has used.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkAssociation moves messages over loopback, both sides in one process.
func BenchmarkAssociation(b *testing.B) {
	for _, auth := range []bool{false, true} {
		for _, size := range []int{512, 1400} {
			b.Run(fmt.Sprintf("auth=%v/%d", auth, size), func(b *testing.B) {
				var cfg Config
				cfg.Auth = auth
				cfg.MTU = 1500
				l := listen(b, loopback4, cfg)
				ctx := b.Context()
				client, err := dial(b, l, cfg)
				if err != nil {
					b.Fatal(err)
				}
				server, err := l.Accept(ctx)
				if err != nil {
					b.Fatal(err)
				}
				defer client.Abort("")
				done := make(chan error, 1)
				go func() {
					var ev sctp.Event
					for range b.N {
						if err := server.Receive(&ev); err != nil {
							done <- err
							return
						}
					}
					done <- nil
					for server.Receive(&ev) == nil {
					}
				}()
				go func() {
					var ev sctp.Event
					for client.Receive(&ev) == nil {
					}
				}()
				batch := []sctp.Message{{Data: make([]byte, size)}}
				b.SetBytes(int64(size))
				b.ReportAllocs()
				before := cpuTime(b)
				b.ResetTimer()
				for range b.N {
					if _, err := client.Send(ctx, batch); err != nil {
						b.Fatal(err)
					}
				}
				if err := <-done; err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N), "cpu-ns/op")
			})
		}
	}
}
