package link

import (
	"context"
	"syscall"
	"testing"
	"time"

	"ipfixsuite/endpoint"
	"ipfixsuite/test/harness"
	"ipfixsuite/transport"
	"ipfixsuite/transport/credentials"
)

// cpu is what this process has used.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// One session after the other with our collector, as a rotation opens and
// closes them: their price in time, and in CPU time at both ends.
func BenchmarkHandshake(b *testing.B) {
	for _, row := range []struct {
		name string
		full bool
	}{{"full", true}, {"resumed", false}} {
		b.Run(row.name, func(b *testing.B) {
			pki := harness.NewPKI(b, "collector", "exporter")
			c := harness.StartCollector(b, append([]string{"--listen", "dtls+udp://127.0.0.1:0", "--sink", "json:" + b.TempDir()}, pki.Flags("collector")...)...)
			creds, err := credentials.Load(credentials.Config{CertFile: pki.Cert("exporter"), KeyFile: pki.Key("exporter"), CAFile: pki.CA()})
			if err != nil {
				b.Fatal(err)
			}
			to, err := transport.ParseEndpoint("dtls+udp://" + c.Addr)
			if err != nil {
				b.Fatal(err)
			}
			d, err := endpoint.Dialer(to, endpoint.Config{Credentials: creds, MTU: 1500})
			if err != nil {
				b.Fatal(err)
			}
			before, n, resumed := cpu(b), 0, 0
			var hand time.Duration
			for b.Loop() {
				if row.full {
					d.(interface{ Forget() }).Forget()
				}
				begin := time.Now()
				s, err := d.Dial(context.Background())
				if err != nil {
					b.Fatal(err)
				}
				hand += time.Since(begin)
				if s.Peer().Resumed {
					resumed++
				}
				_ = s.Close(context.Background())
				n++
			}
			ours := cpu(b) - before
			if row.full && resumed > 0 || !row.full && resumed < n-1 {
				b.Errorf("%d of %d resumed", resumed, n)
			}
			sum := c.Summary()
			b.ReportMetric(float64(hand.Microseconds())/float64(n), "µs/handshake")
			b.ReportMetric(float64(n)/hand.Seconds(), "handshakes/s")
			b.ReportMetric(float64(ours.Microseconds())/float64(n), "exporter-cpu-µs/op")
			b.ReportMetric(sum["cpu_seconds"]*1e6/sum["sessions_opened"], "collector-cpu-µs/op")
		})
	}
}
