package source

import (
	"context"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"ipfixsuite/export"
	"ipfixsuite/transport"
)

// nowhere is a session that takes everything and looks at nothing.
type nowhere struct{ *capturing }

func (s nowhere) Dial(context.Context) (transport.Session, error) { return s, nil }

func (s nowhere) Send(_ context.Context, batch []transport.Outgoing) (int, error) {
	return len(batch), nil
}

// BenchmarkPcap reads, meters, encodes and packs a capture of 100000 packets
// in 10000 flows.
func BenchmarkPcap(b *testing.B) {
	const packets, flows = 100_000, 10_000
	data := udpCapture(packets)
	for i := range packets {
		at := 24 + i*48
		us := 1_700_000_000_000_000 + int64(i)*100
		binary.LittleEndian.PutUint32(data[at:], uint32(us/1e6))
		binary.LittleEndian.PutUint32(data[at+4:], uint32(us%1e6))
		binary.BigEndian.PutUint16(data[at+16+20:], uint16(i%flows))
	}
	name := filepath.Join(b.TempDir(), "pcap")
	if err := os.WriteFile(name, data, 0o600); err != nil {
		b.Fatal(err)
	}
	e, err := export.New(export.Config{Dialer: nowhere{newCapturing()}})
	if err != nil {
		b.Fatal(err)
	}
	go e.Run(context.Background())
	b.ReportAllocs()
	for b.Loop() {
		src, err := Parse("pcap:"+name, Config{})
		if err != nil {
			b.Fatal(err)
		}
		if err := src.Run(b.Context(), e); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/packets, "ns/packet")
	if err := e.Close(context.Background()); err != nil {
		b.Error(err)
	}
}
