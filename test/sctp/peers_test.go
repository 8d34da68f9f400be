//go:build linux

package sctp

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"ipfixsuite/pki"
	"ipfixsuite/test/harness"
	"ipfixsuite/test/uml"
	"ipfixsuite/transport"
	"ipfixsuite/transport/sctp"
)

// buildPeer compiles the C program for the guest.
func buildPeer(t *testing.T, dir string) {
	t.Helper()
	if _, err := os.Stat("/usr/include/openssl/ssl.h"); err != nil {
		harness.Missing(t, "no headers of OpenSSL: install libssl-dev")
	}
	source := filepath.Join(harness.Root(t), "test/sctp/peer/peer.c")
	if out, err := exec.Command(harness.Tool(t, "gcc"), "-Wall", "-Wextra", "-Werror", "-O1", "-o", filepath.Join(dir, "peer"), source, "-lssl", "-lcrypto").CombinedOutput(); err != nil {
		t.Fatalf("peer.c: %v\n%s", err, out)
	}
}

// peerStreams is how many the C program asks for; message i goes on stream i
// modulo that.
const peerStreams = 4

// peerFill is the length of the C program's message i.
func peerFill(i int) int { return len(fmt.Sprintf("message %d ", i)) + (i*97)%3000 }

func startPeer(t *testing.T, n *harness.Network, ns string, args ...string) *harness.Process {
	t.Helper()
	var p *harness.Process
	n.Inside(ns, func() { p = harness.Start(t, uml.Shared("peer"), args...) })
	return p
}

const peerMessages = 60

// theirMessages takes what the C program sent.
func theirMessages(t *testing.T, in *sunk) {
	t.Helper()
	next := make([]int, peerStreams)
	for i := range next {
		next[i] = i
	}
	for range peerMessages {
		m := in.next(t)
		i := number(m.Data)
		if int(m.Stream) >= peerStreams || i != next[m.Stream] || len(m.Data) != peerFill(i) {
			t.Fatalf("message %d of %d octets on stream %d", i, len(m.Data), m.Stream)
		}
		next[m.Stream] += peerStreams
	}
}

// ourMessages holds what the C program printed against what it was sent.
func ourMessages(t *testing.T, p *harness.Process, streams int) {
	t.Helper()
	seen := map[int]bool{}
	for _, line := range p.Lines() {
		var stream, ppid, octets, i int
		if _, err := fmt.Sscanf(line, "message %d %d %d message %d", &stream, &ppid, &octets, &i); err != nil {
			continue
		}
		if stream != i%streams || ppid != 0 || octets != 50+37*i || seen[i] {
			t.Errorf("%q", line)
		}
		seen[i] = true
	}
	if len(seen) != peerMessages {
		t.Errorf("%d messages", len(seen))
	}
}

func toPeer(streams int) (batch []transport.Outgoing) {
	for i := range peerMessages {
		batch = append(batch, transport.Outgoing{Stream: uint16(i % streams), Data: numbered(i, 50+37*i)})
	}
	return batch
}

// The kernel's one-to-many sockets, by a C program, to our collector.
func theySend(t *testing.T, n *harness.Network) {
	l := serve(t, n, kernelStack, clear(), sctp.Config{})
	p := startPeer(t, n, n.A, "send", "192.0.2.2", fmt.Sprint(plainPort), fmt.Sprint(peerMessages))
	in := receive(t, l.sessions, "session")
	theirMessages(t, in)
	if err := receive(t, in.closed, "end"); err != nil {
		t.Errorf("end: %v", err)
	}
	p.Wait("closed")
}

// Our exporter to the kernel's one-to-many sockets.
func theyReceive(t *testing.T, n *harness.Network) {
	p := startPeer(t, n, n.B, "receive", fmt.Sprint(plainPort), fmt.Sprint(peerMessages))
	p.Wait("listening")
	s := dial(t, n, kernelStack, clear(), sctp.Config{})
	streams := s.Properties().Streams
	send(t, s, toPeer(streams)...)
	p.Wait("all")
	if err := s.Close(within(t)); err != nil {
		t.Errorf("close: %v", err)
	}
	p.Wait("closed")
	ourMessages(t, p, streams)
}

// certificates are files of one authority for the C program, and our sides.
func certificates(t *testing.T) (cfg sides, files func(name string) []string) {
	t.Helper()
	cfg, dir := secureIn(t)
	return cfg, func(name string) []string {
		return []string{filepath.Join(dir, pki.CAFile), filepath.Join(dir, name+".pem"), filepath.Join(dir, name+"-key.pem")}
	}
}

// OpenSSL's DTLS over the kernel's SCTP connects to our collector.
func opensslConnects(t *testing.T, n *harness.Network, s stack) {
	cfg, files := certificates(t)
	l := serve(t, n, s, cfg, sctp.Config{})
	p := startPeer(t, n, n.A, append([]string{"connect", "192.0.2.2", fmt.Sprint(securePort), fmt.Sprint(peerMessages)}, files("exporter.test")...)...)
	in := receive(t, l.sessions, "session")
	if in.peer.Identity != "exporter.test" {
		t.Errorf("peer %+v", in.peer)
	}
	theirMessages(t, in)
	if err := receive(t, in.closed, "end"); err != nil {
		t.Errorf("end: %v", err)
	}
	p.Wait("close_notify")
	p.Wait("closed")
	t.Log(strings.TrimSpace(p.Wait("established")))
}

// Our exporter connects to OpenSSL's DTLS over the kernel's SCTP.
func opensslAccepts(t *testing.T, n *harness.Network, s stack) {
	cfg, files := certificates(t)
	p := startPeer(t, n, n.B, append([]string{"accept", fmt.Sprint(securePort), fmt.Sprint(peerMessages)}, files("collector.test")...)...)
	p.Wait("listening")
	session := dial(t, n, s, cfg, sctp.Config{OutStreams: peerStreams})
	send(t, session, toPeer(peerStreams)...)
	if err := session.Probe(within(t)); err != nil { // of SCTP: OpenSSL has no heartbeats
		t.Errorf("probe: %v", err)
	}
	p.Wait("all")
	if err := session.Close(within(t)); err != nil {
		t.Errorf("close: %v", err)
	}
	p.Wait("close_notify")
	ourMessages(t, p, peerStreams)
	t.Log(strings.TrimSpace(p.Wait("established")))
}

// A certificate that nobody vouches for is refused by both.
func opensslRefused(t *testing.T, n *harness.Network) {
	cfg, _ := certificates(t)
	_, files := certificates(t) // of another authority
	l := serve(t, n, kernelStack, cfg, sctp.Config{})
	p := startPeer(t, n, n.A, append([]string{"connect", "192.0.2.2", fmt.Sprint(securePort), "1"}, files("exporter.test")...)...)
	p.Exit(patience)
	harness.Until(t, "refusal", func() bool { return l.Stats().HandshakesFailed == 1 })
	if len(l.sessions) > 0 {
		t.Error("there was a session")
	}
}
