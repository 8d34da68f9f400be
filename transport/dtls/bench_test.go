package dtls

import (
	"context"
	"testing"
	"time"

	"ipfixsuite/transport"
	"ipfixsuite/transport/dtls/record"
)

// From messages to sealed datagrams at a carrier that takes them all.
func BenchmarkSend(b *testing.B) {
	collector, exporter := mutual(b)
	n := newMemNetwork()
	serve(b, n.listen(collectorAddr), collector)
	s := dial(b, memDialer(n, collectorAddr, exporter, addrN(1)))
	s.wmu.Lock()
	s.conn = &discard{memConn: s.conn.(*memConn)}
	s.wmu.Unlock()
	batch := make([]transport.Outgoing, 64)
	for i := range batch {
		batch[i].Data = make([]byte, 1400)
	}
	ctx := context.Background()
	b.SetBytes(64 * 1400)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Send(ctx, batch); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(64*b.N), "ns/message")
}

// From datagrams to a Receiver: look-up, open in place, hand over.
func BenchmarkReceive(b *testing.B) {
	for _, cid := range []bool{false, true} {
		name := "by address"
		if cid {
			name = "by connection id"
		}
		b.Run(name, func(b *testing.B) {
			collector, exporter := mutual(b)
			collector.ReplayWindow = -1 // it is the same records over and over
			collector.ConnectionID, exporter.ConnectionID = cid, cid
			n := newMemNetwork()
			l := serve(b, n.listen(collectorAddr), collector)
			s := dial(b, memDialer(n, collectorAddr, exporter, addrN(1)))
			l.session(b)
			l.inbound(b).receiver = quiet{}
			sealed := make([][]byte, 64)
			batch := make([]transport.Datagram, len(sealed))
			for i := range sealed {
				var err error
				if sealed[i], err = s.sealer.Seal(nil, record.ApplicationData, make([]byte, 1400)); err != nil {
					b.Fatal(err)
				}
				batch[i] = transport.Datagram{Peer: s.conn.LocalAddr(), Data: make([]byte, len(sealed[i]))}
			}
			now, ctx := time.Now(), context.Background()
			b.SetBytes(64 * 1400)
			b.ReportAllocs()
			for b.Loop() {
				for i := range batch {
					copy(batch[i].Data, sealed[i])
				}
				l.l.receive(ctx, batch, now)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(64*b.N), "ns/datagram")
			if d := l.Stats().Dropped; len(d) > 0 {
				b.Fatal(d)
			}
		})
	}
}

// Both ends, with HelloVerifyRequest, on one machine.
func BenchmarkHandshake(b *testing.B) {
	for _, c := range []struct {
		name string
		ttl  time.Duration
		psk  bool
	}{{"full mutual P-256", -1, false}, {"resumed", time.Hour, false}, {"ECDHE-PSK", -1, true}} {
		b.Run(c.name, func(b *testing.B) {
			collector, exporter := mutual(b)
			if c.psk {
				collector, exporter = pskConfigs(b, key1, key1)
			}
			collector.SessionTTL, exporter.SessionTTL = c.ttl, c.ttl
			n := newMemNetwork()
			l := serve(b, n.listen(collectorAddr), collector)
			d := memDialer(n, collectorAddr, exporter, addrN(1))
			b.ReportAllocs()
			for b.Loop() {
				s, err := d.Dial(context.Background())
				if err != nil {
					b.Fatal(err)
				}
				l.session(b)
				_ = s.Close(context.Background())
			}
		})
	}
}
