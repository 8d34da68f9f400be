package harness

import (
	"bufio"
	"bytes"
	"errors"
	"net"
	"os"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"ipfixsuite/capture"
)

// Up takes both ends of the pair up.
func (n *Network) Up() {
	n.t.Helper()
	n.IP("-n " + n.A + " link set va up")
	n.IP("-n " + n.B + " link set vb up")
}

// Record writes what passes vb to a file until it is stopped, up to the last
// packet of that moment.
func (n *Network) Record(t testing.TB, file string) (stop func()) {
	t.Helper()
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	// A guest is slow to write, and a block of the ring goes at the latest after
	// Latency, however little is in it: so there is time for seconds.
	const latency = 250 * time.Millisecond
	buffered := bufio.NewWriterSize(f, 1<<20)
	w := pcapgo.NewWriterNanos(buffered)
	if err := w.WriteFileHeader(1<<16, layers.LinkTypeEthernet); err != nil {
		t.Fatal(err)
	}
	var r *capture.Ring
	n.Inside(n.B, func() { r, err = capture.Live("vb", capture.LiveConfig{Latency: latency}) })
	if err != nil {
		t.Fatal(err)
	}
	// A datagram that follows all that matters ends it.
	last := []byte("the last packet of " + file)
	captured, ended := uint64(0), make(chan struct{})
	go func() { // ended by stop
		defer close(ended)
		for {
			p, err := r.Next()
			if err == nil && bytes.HasSuffix(p.Data, last) {
				return
			}
			if err == nil {
				err = w.WritePacket(gopacket.CaptureInfo{Timestamp: time.Unix(0, p.Time), CaptureLength: len(p.Data), Length: p.Length}, p.Data)
			}
			if err != nil {
				t.Errorf("%s: %v", file, err)
				return
			}
			captured++
		}
	}()
	return func() {
		_ = r.SetReadDeadline(time.Now().Add(time.Minute))
		n.repeat(t, last, ended)
		// What a busy host misses is no fault of the packets, if it is little.
		if s := r.Stats(); s.Drops > 0 {
			t.Logf("%d packets missed by the capture", s.Drops)
			if s.Drops > captured/10 {
				t.Errorf("only %d captured", captured)
			}
		}
		if err := errors.Join(r.Close(), buffered.Flush(), f.Close()); err != nil {
			t.Error(err)
		}
	}
}

// repeat sends a datagram from B until it has been seen: the network may lose it.
func (n *Network) repeat(t testing.TB, datagram []byte, seen <-chan struct{}) {
	t.Helper()
	var c net.Conn
	var err error
	n.Inside(n.B, func() { c, err = net.Dial("udp", "192.0.2.1:9") })
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for {
		_, _ = c.Write(datagram) // nobody listens there
		select {
		case <-seen:
			return
		case <-again.C:
		}
	}
}
