package userspace

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"ipfixsuite/test/harness"
	"ipfixsuite/test/uml"
	"ipfixsuite/transport"
	"ipfixsuite/transport/sctp"
	"ipfixsuite/transport/sctp/kernel"
)

// TestKernel holds associations over UDP to those of Linux 6.1, either side
// beginning them, over a link that the test can spoil. Sessions and what goes
// over the wire are judged in test/sctp.
func TestKernel(t *testing.T) {
	if !uml.Inside() {
		harness.Tool(t, "ethtool")
		uml.Job{Modules: []string{"sctp"}, Limit: 2 * time.Minute}.Self(t)
		return
	}
	n := harness.NewNetwork(t)
	for ns, dev := range map[string]string{n.A: "va", n.B: "vb"} {
		n.IP("-n " + ns + " link set " + dev + " up")
		n.Run(ns, "ethtool -K "+dev+" tx-checksum-sctp off tx-sctp-segmentation off tx-udp-segmentation off gso off")
	}
	n.Run(n.B, "sysctl -qw net.sctp.udp_port=9899 net.sctp.encap_port=9899")
	for _, ours := range []bool{true, false} {
		b := bridge{n, ours}
		side := map[bool]string{true: "we dial", false: "the kernel dials"}[ours]
		for _, row := range []struct {
			name string
			test func(*testing.T, bridge)
		}{
			{"messages", testKernelMessages}, {"ipv6", testKernelIPv6}, {"keys", testKernelKeys}, {"ends", testKernelEnds},
			// Once the association is there it does not matter who began.
			{"loss", testKernelLoss}, {"lifetime", testKernelLifetime}, {"smaller path", testKernelPath}, {"silence", testKernelSilence},
		} {
			if !ours && row.name == "loss" {
				break
			}
			t.Run(row.name+", "+side, func(t *testing.T) { row.test(t, b) })
		}
	}
}

// bridge is the link between user space in A and the kernel in B.
type bridge struct {
	*harness.Network
	ours bool // user space dials
}

// port is each association's own: listeners overlap.
var port uint16 = testPort

// pair opens an association: our end, and the kernel's.
func (b bridge) pair(t *testing.T, v6 bool, cfg sctp.Config) (user, linux *end) {
	t.Helper()
	at, to := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	if v6 {
		at, to = netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")
	}
	port++
	var l sctp.Acceptor
	var err error
	dial := func(ctx context.Context) (a sctp.Association, err error) {
		if b.ours {
			b.Inside(b.A, func() { a, err = Dial(ctx, netip.AddrPortFrom(to, port), Config{Config: cfg}) })
		} else {
			b.Inside(b.B, func() { a, err = kernel.Dial(ctx, nil, []netip.AddrPort{netip.AddrPortFrom(at, port)}, cfg) })
		}
		return a, err
	}
	if b.ours {
		b.Inside(b.B, func() { l, err = kernel.Listen([]netip.AddrPort{netip.AddrPortFrom(to, port)}, cfg) })
	} else {
		b.Inside(b.A, func() { l, err = Listen(netip.AddrPortFrom(at, port), Config{Config: cfg}) })
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	ctx := withPatience(t)
	begun := make(chan error, 1)
	var dialed sctp.Association
	go func() {
		var err error
		dialed, err = dial(ctx)
		begun <- err
	}()
	accepted, err := l.Accept(ctx)
	if err = errors.Join(err, <-begun); err != nil {
		t.Fatal(err)
	}
	d, a := receive(t, dialed), receive(t, accepted)
	if b.ours {
		return d, a
	}
	return a, d
}

// both calls f with either end as the sender.
func both(user, linux *end, f func(from, to *end)) {
	f(user, linux)
	f(linux, user)
}

func testKernelMessages(t *testing.T, b bridge) {
	user, linux := b.pair(t, false, sctp.Config{OutStreams: 7, InStreams: 5})
	if out, in := user.Streams(); b.ours && (out != 5 || in != 5) {
		t.Errorf("%d streams out, %d in", out, in)
	}
	both(user, linux, func(from, to *end) {
		for i, size := range []int{1, 1000, 1472, 3000, 16384, 65000} {
			m := sctp.Message{Stream: uint16(i % 5), PPID: uint32(i), Unordered: i%3 == 2, Immediate: true, Data: numbered(i, max(size, 8))[:size]}
			from.send(t, m)
			g := to.next(t, sctp.EventMessage)
			if g.Message.Stream != m.Stream || g.Message.PPID != m.PPID || g.Message.Unordered != m.Unordered || !bytes.Equal(g.data, m.Data) {
				t.Fatalf("message of %d octets came as stream %d, PPID %d, unordered %v, %d octets", size, g.Message.Stream, g.Message.PPID, g.Message.Unordered, len(g.data))
			}
		}
		if err := errors.Join(from.Drain(withPatience(t)), from.Heartbeat(withPatience(t))); err != nil {
			t.Error(err)
		}
		eventually(t, func() bool { return from.Acknowledged() == 6 }, func() any { return from.Acknowledged() })
	})
	if st := user.Stats(); st.RTT == 0 || st.Dropped != 0 {
		t.Errorf("%+v", st)
	}
}

func testKernelIPv6(t *testing.T, b bridge) {
	user, linux := b.pair(t, true, sctp.Config{Auth: true})
	both(user, linux, func(from, to *end) {
		from.send(t, sctp.Message{Data: numbered(6, 5000)})
		if g := to.next(t, sctp.EventMessage); !bytes.Equal(g.data, numbered(6, 5000)) {
			t.Errorf("%d octets", len(g.data))
		}
	})
}

// SCTP-AUTH with the kernel, with a change of keys in each direction.
func testKernelKeys(t *testing.T, b bridge) {
	user, linux := b.pair(t, false, sctp.Config{Auth: true})
	for _, e := range []*end{user, linux} {
		if list, err := e.PeerAuthChunks(); err != nil || !slices.Contains(list, sctp.ChunkData) || !slices.Contains(list, sctp.ChunkForwardTSN) {
			t.Fatalf("the peer demands % x, %v", list, err)
		}
	}
	exchange := func(text string) {
		t.Helper()
		both(user, linux, func(from, to *end) {
			from.send(t, sctp.Message{Data: []byte(text), Immediate: true})
			if g := to.next(t, sctp.EventMessage); string(g.data) != text {
				t.Fatalf("%q", g.data)
			}
			if err := from.Drain(withPatience(t)); err != nil {
				t.Fatal(err)
			}
		})
	}
	exchange("under key 0")
	for id := uint16(1); id <= 2; id++ {
		secret := bytes.Repeat([]byte{byte(id), 0xA5}, 32)
		for _, e := range []*end{user, linux} {
			if err := e.SetKey(id, secret); err != nil {
				t.Fatal(err)
			}
		}
		for _, e := range []*end{user, linux} {
			if err := errors.Join(e.ActivateKey(id), e.DeleteKey(id-1)); err != nil {
				t.Fatal(err)
			}
		}
		exchange(fmt.Sprintf("under key %d", id))
	}
	if n := user.Stats().Dropped; n != 0 {
		t.Errorf("%d dropped", n)
	}
}

// Each way an association ends is told alike on both sides.
func testKernelEnds(t *testing.T, b bridge) {
	for _, byUser := range []bool{true, false} {
		name := map[bool]string{true: "by us", false: "by the kernel"}[byUser]
		sides := func(t *testing.T) (by, other *end) {
			user, linux := b.pair(t, false, sctp.Config{})
			if byUser {
				return user, linux
			}
			return linux, user
		}
		t.Run("shutdown "+name, func(t *testing.T) {
			by, other := sides(t)
			for i := range 20 {
				by.send(t, sctp.Message{Stream: uint16(i % 3), Data: numbered(i, 3000)})
			}
			if err := by.Shutdown(); err != nil {
				t.Fatal(err)
			}
			got, err := other.over(t)
			if !errors.Is(err, transport.ErrPeerClosed) {
				t.Errorf("the peer is told %v", err)
			}
			n := 0
			for _, ev := range got {
				if ev.Kind == sctp.EventMessage {
					n++
				}
			}
			if _, err := by.over(t); !errors.Is(err, transport.ErrClosed) || n != 20 || by.Acknowledged() != 20 {
				t.Errorf("told %v; %d messages, %d acknowledged", err, n, by.Acknowledged())
			}
		})
		t.Run("abort "+name, func(t *testing.T) {
			by, other := sides(t)
			by.Abort("out of paper")
			_, err := other.over(t)
			// The kernel's ABORT has no reason.
			if lost, ok := errors.AsType[*sctp.LostError](err); !ok || !lost.Aborted || byUser && lost.Reason != "out of paper" {
				t.Errorf("the peer is told %v", err)
			}
		})
	}
}

// spoil makes the link bad until the test is over or mend is called.
func (b bridge) spoil(t *testing.T, how string) (mend func()) {
	t.Helper()
	b.Run(b.A, "tc qdisc add dev va root netem "+how)
	b.Run(b.B, "tc qdisc add dev vb root netem "+how)
	mended := false
	mend = func() {
		if !mended {
			mended = true
			b.Run(b.A, "tc qdisc del dev va root")
			b.Run(b.B, "tc qdisc del dev vb root")
		}
	}
	t.Cleanup(mend)
	return mend
}

// Loss and disorder on the way cost no message and no order.
func testKernelLoss(t *testing.T, b bridge) {
	cfg := sctp.Config{Auth: true, MaxRetransmits: 100}
	user, linux := b.pair(t, false, cfg)
	b.spoil(t, "delay 3ms 1ms loss 4%")
	const messages = 60
	both(user, linux, func(from, to *end) {
		for i := range messages {
			from.send(t, sctp.Message{Stream: uint16(i % 3), Data: numbered(i, 200+50*i)})
		}
		next := [3]int{0, 1, 2}
		for range messages {
			g := to.next(t, sctp.EventMessage)
			i := &next[g.Message.Stream]
			if !bytes.Equal(g.data, numbered(*i, 200+50**i)) {
				t.Fatalf("stream %d: %.8q, want message %d", g.Message.Stream, g.data, *i)
			}
			*i += 3
		}
	})
}

// RFC 3758 with the kernel: what is given up is skipped by the receiver.
func testKernelLifetime(t *testing.T, b bridge) {
	user, linux := b.pair(t, false, sctp.Config{MaxRetransmits: 100})
	if !user.PartialReliability() || !linux.PartialReliability() {
		t.Fatal("not negotiated")
	}
	both(user, linux, func(from, to *end) {
		from.send(t, sctp.Message{Stream: 1, Immediate: true, Data: []byte("before")})
		to.next(t, sctp.EventMessage)
		mend := b.spoil(t, "loss 100%")
		for i := range 3 {
			from.send(t, sctp.Message{Stream: 1, Tag: 7, Lifetime: 300 * time.Millisecond, Data: numbered(i, 100)})
		}
		from.send(t, sctp.Message{Stream: 1, Tag: 8, Data: []byte("reliable")})
		failed := func() {
			for range 3 {
				if g := from.next(t, sctp.EventSendFailed); g.Message.Tag != 7 {
					t.Errorf("message %d failed", g.Message.Tag)
				}
			}
		}
		if from == user {
			failed()
		} else {
			waitFor(t, 400*time.Millisecond)
		}
		mend()
		if from == linux { // the kernel tells what it has sent when nothing is under way
			failed()
		}
		if g := to.next(t, sctp.EventMessage); string(g.data) != "reliable" {
			t.Errorf("%.20q", g.data)
		}
		if err := from.Drain(withPatience(t)); err != nil {
			t.Error(err)
		}
	})
	if n := user.Stats().Abandoned; n != 3 {
		t.Errorf("%d abandoned", n)
	}
}

// RFC 9260, Section 7.3: chunks cut for a larger path go on in fragments.
func testKernelPath(t *testing.T, b bridge) {
	user, linux := b.pair(t, false, sctp.Config{MaxRetransmits: 100})
	user.send(t, sctp.Message{Data: numbered(1, 20_000)})
	linux.next(t, sctp.EventMessage)
	for ns, dev := range map[string]string{b.A: "va", b.B: "vb"} {
		b.IP("-n " + ns + " link set " + dev + " mtu 1280")
		t.Cleanup(func() { b.IP("-n " + ns + " link set " + dev + " mtu 1500") })
	}
	both(user, linux, func(from, to *end) {
		from.send(t, sctp.Message{Data: numbered(2, 20_000)})
		if g := to.next(t, sctp.EventMessage); !bytes.Equal(g.data, numbered(2, 20_000)) {
			t.Errorf("%d octets", len(g.data))
		}
	})
}

// A peer that is gone is noticed on both sides, suspected first.
func testKernelSilence(t *testing.T, b bridge) {
	user, linux := b.pair(t, false, hasty().Config)
	b.spoil(t, "loss 100%")
	began := time.Now()
	for _, e := range []*end{user, linux} {
		before, err := e.over(t)
		if lost, ok := errors.AsType[*sctp.LostError](err); !ok || lost.Aborted {
			t.Errorf("told %v", err)
		}
		if !slices.ContainsFunc(before, func(g got) bool { return g.Kind == sctp.EventPathDown }) {
			t.Errorf("not suspected before: %+v", before)
		}
		t.Logf("lost after %v", time.Since(began).Round(time.Millisecond))
	}
}
