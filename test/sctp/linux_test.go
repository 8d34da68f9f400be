//go:build linux

package sctp

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"ipfixsuite/test/harness"
	"ipfixsuite/test/uml"
	"ipfixsuite/transport"
	"ipfixsuite/transport/sctp"
)

// TestLinux holds both of our stacks to that of Linux 6.1.
func TestLinux(t *testing.T) {
	if !uml.Inside() {
		dir := t.TempDir()
		harness.Tool(t, "ethtool")
		harness.Tool(t, "softflowd")
		buildPeer(t, dir)
		uml.Programs(t, dir)
		share(t, filepath.Join(harness.Root(t), "testdata"), dir, mixed)
		uml.Job{Modules: []string{"sctp"}, Shared: dir, Limit: 9 * time.Minute}.Self(t)
		judge(t, dir)
		t.Run("without SCTP", func(t *testing.T) { withoutSCTP(t, dir) })
		return
	}
	n := newNetwork(t)
	for _, pair := range [][2]stack{{kernelStack, kernelStack}, {userStack, kernelStack}, {kernelStack, userStack}, {userStack, userStack}} {
		for what, cfg := range map[string]sides{"clear": clear(), "dtls": secure(t), "dtls6": six(secure(t))} {
			name := fmt.Sprintf("%s/%s to %s", what, pair[0].name, pair[1].name)
			t.Run(name, func(t *testing.T) { conversation(t, n, pair, what, cfg) })
		}
		if pair[0].name != pair[1].name {
			t.Run(fmt.Sprintf("given up/%s to %s", pair[0].name, pair[1].name), func(t *testing.T) { givenUp(t, n, pair, secure(t)) })
		}
	}
	t.Run("forged/clear", func(t *testing.T) { forged(t, n, clear()) })
	t.Run("forged/dtls", func(t *testing.T) { forged(t, n, secure(t)) })
	t.Run("shutdown in the middle/clear", func(t *testing.T) { shutdownMidway(t, n, clear()) })
	t.Run("shutdown in the middle/dtls", func(t *testing.T) { shutdownMidway(t, n, secure(t)) })
	t.Run("C program/sends", func(t *testing.T) { theySend(t, n) })
	t.Run("C program/receives", func(t *testing.T) { theyReceive(t, n) })
	stop := n.Record(t, uml.Shared("dtls-openssl-connects.pcap"))
	t.Run("OpenSSL/connects", func(t *testing.T) { opensslConnects(t, n, kernelStack) })
	stop()
	stop = n.Record(t, uml.Shared("dtls-openssl-accepts.pcap"))
	t.Run("OpenSSL/accepts", func(t *testing.T) { opensslAccepts(t, n, kernelStack) })
	stop()
	t.Run("OpenSSL/refused", func(t *testing.T) { opensslRefused(t, n) })
	t.Run("no auth", func(t *testing.T) { noAuth(t, n) })
	n.Run(n.A, "tc qdisc add dev va root netem delay 5ms loss 5%")
	t.Run("abort in the middle", func(t *testing.T) { abortMidway(t, n) })
	n.Run(n.A, "tc qdisc del dev va root")
	t.Run("softflowd", func(t *testing.T) { softflowd(t, n) })
	t.Run("given up/programs", func(t *testing.T) { lifetimes(t, n) })
	t.Run("trials", func(t *testing.T) { trials(t, n) })
}

// encapsulate has the kernel of either side speak SCTP over UDP (RFC 6951)
// where the other one does.
func encapsulate(n *harness.Network, pair [2]stack) (undo func()) {
	kernels := ""
	for i, ns := range []string{n.A, n.B} {
		if pair[i].name == "kernel" && pair[1-i].name != "kernel" {
			n.Run(ns, "sysctl -qw net.sctp.udp_port=9899 net.sctp.encap_port=9899")
			kernels = ns
		}
	}
	return func() {
		if kernels != "" {
			n.Run(kernels, "sysctl -qw net.sctp.udp_port=0 net.sctp.encap_port=0")
		}
	}
}

func six(cfg sides) sides {
	cfg.six = true
	return cfg
}

// conversation is a session from its beginning to its end, captured.
func conversation(t *testing.T, n *harness.Network, pair [2]stack, what string, cfg sides) {
	defer encapsulate(n, pair)()
	defer n.Record(t, uml.Shared(fmt.Sprintf("%s-%s-%s.pcap", what, pair[0].name[:4], pair[1].name[:4])))()
	const streams = 6
	c := sctp.Config{OutStreams: streams, InStreams: streams}
	l := serve(t, n, pair[1], cfg, c)
	s := dial(t, n, pair[0], cfg, c)
	in := receive(t, l.sessions, "session")
	var batch []transport.Outgoing
	most := s.MaxMessage()
	for i, size := range []int{20, 1400, 1500, 9000, most, 40, 16384} {
		batch = append(batch, transport.Outgoing{Stream: uint16(i % streams), Data: numbered(i, size)})
	}
	for i := len(batch); i < 100; i++ {
		batch = append(batch, transport.Outgoing{Stream: uint16(i % streams), Data: numbered(i, 100+i)})
	}
	send(t, s, batch...)
	if err := s.Probe(within(t)); err != nil {
		t.Errorf("probe: %v", err)
	}
	last := [streams]int{-1, -1, -1, -1, -1, -1}
	for range batch {
		m := in.next(t)
		i := number(m.Data)
		if i < 0 || i >= len(batch) || int(m.Stream) != i%streams || len(m.Data) != len(batch[i].Data) {
			t.Fatalf("message %d of %d octets on stream %d", i, len(m.Data), m.Stream)
		}
		if i <= last[m.Stream] {
			t.Errorf("stream %d: message %d behind %d", m.Stream, i, last[m.Stream])
		}
		last[m.Stream] = i
	}
	if err := s.Close(within(t)); err != nil {
		t.Errorf("close: %v", err)
	}
	if err := receive(t, in.closed, "end"); err != nil {
		t.Errorf("the collector's end: %v", err)
	}
	arrived := uint64(0)
	for _, f := range s.(transport.Tracker).Fates(nil) {
		if !f.Arrived {
			t.Errorf("fate %+v", f)
		}
		arrived += f.Last - f.First + 1
	}
	if arrived != uint64(len(batch)) {
		t.Errorf("%d of %d are known to have arrived", arrived, len(batch))
	}
	if cfg.auth && (in.peer.Identity != "exporter.test" || s.Peer().Identity != "collector.test") {
		t.Errorf("peers %+v and %+v", in.peer, s.Peer())
	}
	if err := l.stop(); err != nil {
		t.Errorf("collector: %v", err)
	}
}
