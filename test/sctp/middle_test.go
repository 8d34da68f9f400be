//go:build linux

package sctp

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"net/netip"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"

	"ipfixsuite/capture"
	"ipfixsuite/test/harness"
	"ipfixsuite/transport"
	"ipfixsuite/transport/sctp"
)

// watched is what an attacker who sees the packets knows of an association.
type watched struct {
	from, to uint16
	tag, tsn uint32
}

// watch captures packets; find looks for the DATA chunk that brings a message.
func watch(t *testing.T, n *harness.Network, port uint16) (find func(is func(message []byte) bool) watched) {
	t.Helper()
	var r *capture.Ring
	var err error
	n.Inside(n.B, func() { r, err = capture.Live("vb", capture.LiveConfig{}) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return func(is func([]byte) bool) watched {
		t.Helper()
		_ = r.SetReadDeadline(time.Now().Add(patience))
		for {
			p, err := r.Next()
			if err != nil {
				t.Fatalf("nothing was seen of the association: %v", err)
			}
			packet := gopacket.NewPacket(p.Data, layers.LayerTypeEthernet, gopacket.NoCopy)
			head, _ := packet.Layer(layers.LayerTypeSCTP).(*layers.SCTP)
			if head == nil || uint16(head.DstPort) != port {
				continue
			}
			for _, l := range packet.Layers() {
				if data, ok := l.(*layers.SCTPData); ok && is(data.Payload) {
					return watched{uint16(head.SrcPort), uint16(head.DstPort), head.VerificationTag, data.TSN}
				}
			}
		}
	}
}

// forge is a packet with one DATA chunk, as anybody can make it who has seen
// the association.
func forge(w watched, stream uint16, data []byte) []byte {
	b := binary.BigEndian.AppendUint16(nil, w.from)
	b = binary.BigEndian.AppendUint16(b, w.to)
	b = binary.BigEndian.AppendUint32(b, w.tag)
	b = append(b, 0, 0, 0, 0)
	b = append(b, 0, 3) // DATA, the whole message
	b = binary.BigEndian.AppendUint16(b, uint16(16+len(data)))
	b = binary.BigEndian.AppendUint32(b, w.tsn+1)
	b = binary.BigEndian.AppendUint16(b, stream)
	b = append(b, 0, 0, 0, 0, 0, 0)
	b = append(b, data...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	binary.LittleEndian.PutUint32(b[8:], crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
	return b
}

// A packet of an attacker who knows all numbers is delivered in the clear, and
// not where DATA has to be authenticated (RFC 6083, Section 4.5).
func forged(t *testing.T, n *harness.Network, cfg sides) {
	l := serve(t, n, kernelStack, cfg, sctp.Config{})
	find := watch(t, n, cfg.port)
	s := dial(t, n, kernelStack, cfg, sctp.Config{})
	in := receive(t, l.sessions, "session")
	send(t, s, transport.Outgoing{Stream: 1, Data: []byte("genuine")})
	if got := in.next(t); string(got.Data) != "genuine" {
		t.Fatalf("got %q", got.Data)
	}
	w := find(func(message []byte) bool {
		return bytes.HasPrefix(message, []byte("genuine")) || cfg.auth && bytes.HasPrefix(message, []byte{applicationData})
	})
	var fd int
	var err error
	n.Inside(n.A, func() { fd, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_SCTP) })
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	to := netip.MustParseAddr("192.0.2.2").As4()
	if err := unix.Sendto(fd, forge(w, 3, []byte("forged")), 0, &unix.SockaddrInet4{Addr: to}); err != nil {
		t.Fatal(err)
	}
	if !cfg.auth {
		if got := in.next(t); string(got.Data) != "forged" || got.Stream != 3 {
			t.Errorf("got %q on stream %d: the forgery is not what it should be", got.Data, got.Stream)
		}
		return
	}
	send(t, s, transport.Outgoing{Stream: 3, Data: []byte("genuine too")})
	if err := s.Probe(within(t)); err != nil {
		t.Errorf("probe: %v", err)
	}
	if got := in.next(t); string(got.Data) != "genuine too" || got.Stream != 3 || len(in.got) > 0 {
		t.Errorf("got %q on stream %d, and %d more", got.Data, got.Stream, len(in.got))
	}
	if d := l.Stats().Dropped; len(d) > 0 {
		t.Errorf("dropped %v", d)
	}
}

// pour sends numbered messages until the session ends; it returns how many
// Send took.
func pour(ctx context.Context, s transport.Session, size int, pause time.Duration) (taken int) {
	tick := time.NewTicker(max(pause, 1))
	defer tick.Stop()
	for {
		k, err := s.Send(ctx, []transport.Outgoing{{Stream: uint16(taken % s.Properties().Streams), Data: numbered(taken, size)}})
		taken += k
		if err != nil {
			return taken
		}
		if pause > 0 {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return taken
			}
		}
	}
}

// known sorts what a session says of its messages.
func known(s transport.Session, taken int) (arrived, lost []bool) {
	arrived, lost = make([]bool, taken), make([]bool, taken)
	for _, f := range s.(transport.Tracker).Fates(nil) {
		for i := f.First; i <= f.Last; i++ {
			arrived[i-1], lost[i-1] = f.Arrived, !f.Arrived
		}
	}
	return arrived, lost
}

// A collector that ends takes everything that its exporter has already handed
// over (RFC 7011, Section 10.2.4), and the exporter knows that.
func shutdownMidway(t *testing.T, n *harness.Network, cfg sides) {
	l := serve(t, n, kernelStack, cfg, sctp.Config{})
	s := dial(t, n, kernelStack, cfg, sctp.Config{})
	in := receive(t, l.sessions, "session")
	poured := make(chan int, 1)
	go func() { poured <- pour(within(t), s, 300, time.Millisecond) }()
	for range 50 {
		in.next(t)
	}
	if err := l.stop(); err != nil {
		t.Error(err)
	}
	taken := receive(t, poured, "end of sending")
	<-s.Done()
	if !errors.Is(s.Err(), transport.ErrPeerClosed) {
		t.Errorf("ended by %v", s.Err())
	}
	if got := 50 + len(in.got); got != taken {
		t.Errorf("%d messages arrived, %d were taken", got, taken)
	}
	arrived, _ := known(s, taken)
	for i, ok := range arrived {
		if !ok {
			t.Errorf("message %d is not known to have arrived", i)
		}
	}
}

// After an ABORT in mid-traffic on a lossy path the exporter is told of each
// message whether the other host acknowledged it; what it sends again holds
// all that did not arrive.
func abortMidway(t *testing.T, n *harness.Network) {
	var l sctp.Acceptor
	var err error
	n.Inside(n.B, func() { l, err = kernelStack.open(address("192.0.2.2", plainPort), sctp.Config{}) })
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := dial(t, n, kernelStack, clear(), sctp.Config{})
	a, err := l.Accept(within(t))
	if err != nil {
		t.Fatal(err)
	}
	poured := make(chan int, 1)
	go func() { poured <- pour(within(t), s, 300, 0) }()
	have := map[int]bool{}
	var ev sctp.Event
	for {
		if err := a.Receive(&ev); err != nil {
			break
		}
		if ev.Kind == sctp.EventMessage {
			have[number(ev.Message.Data)] = true
		}
		if len(have) == 400 {
			// What is in the kernel's queue is lost with the association.
			a.Abort("enough")
		}
	}
	taken := receive(t, poured, "end of sending")
	<-s.Done()
	if lost, ok := errors.AsType[*sctp.LostError](s.Err()); !ok || !lost.Aborted {
		t.Errorf("ended by %v", s.Err())
	}
	arrived, lost := known(s, taken)
	told, wrong := 0, 0
	for i := range taken {
		if arrived[i] {
			told++
		}
		if !arrived[i] && !lost[i] {
			wrong++
		}
	}
	if wrong > 0 || told == 0 || told == taken {
		t.Errorf("of %d messages %d are said to have arrived, of %d nothing is said", taken, told, wrong)
	}
	t.Logf("%d taken, %d arrived, %d read", taken, told, len(have))
}

// An association without SCTP-AUTH is not used for DTLS, by either side.
func noAuth(t *testing.T, n *harness.Network) {
	cfg := secure(t)
	open := cfg
	open.auth = false
	l := serve(t, n, kernelStack, open, sctp.Config{})
	if _, err := tryDial(t, n, kernelStack, cfg, sctp.Config{}); err == nil || len(l.sessions) > 0 {
		t.Errorf("client: %v", err)
	} else {
		t.Log(err)
	}
	if err := l.stop(); err != nil {
		t.Error(err)
	}
	l = serve(t, n, kernelStack, cfg, sctp.Config{})
	if _, err := tryDial(t, n, kernelStack, open, sctp.Config{}); err == nil {
		t.Error("the collector let it in")
	}
	if len(l.sessions) > 0 {
		t.Error("there was a session")
	}
}

// A path that loses everything for five seconds costs time and nothing else.
func cut(t *testing.T, n *harness.Network, cfg sides) {
	l := serve(t, n, kernelStack, cfg, sctp.Config{})
	s := dial(t, n, kernelStack, cfg, sctp.Config{})
	in := receive(t, l.sessions, "session")
	ctx, stop := context.WithCancel(t.Context())
	poured := make(chan int, 1)
	go func() { poured <- pour(ctx, s, 100, 20*time.Millisecond) }()
	for range 20 {
		in.next(t)
	}
	n.Run(n.A, "tc qdisc add dev va root netem loss 100%")
	began := time.Now()
	<-time.After(5 * time.Second)
	n.Run(n.A, "tc qdisc del dev va root")
	for range 10 {
		in.next(t)
	}
	t.Logf("data again after %v", time.Since(began).Round(10*time.Millisecond))
	stop()
	taken := receive(t, poured, "end of sending")
	if err := s.Close(within(t)); err != nil {
		t.Error(err)
	}
	if err := receive(t, in.closed, "end"); err != nil {
		t.Error(err)
	}
	if got := 30 + len(in.got); got != taken {
		t.Errorf("%d messages arrived, %d were taken", got, taken)
	}
}
