//go:build linux

package dccp

import (
	"os/exec"
	"strings"
	"testing"

	"ipfixsuite/test/harness"
)

// consult runs exporter doctor in A; well says whether nothing may fail. What
// fails does so for want of an answer, which is not waited for as long.
func consult(t *testing.T, n *harness.Network, well bool, args ...string) string {
	t.Helper()
	timeout := "3s"
	if well {
		timeout = "30s"
	}
	var out, stderr []byte
	var err error
	n.Inside(n.A, func() {
		out, stderr, err = harness.Try(t, harness.Binary(t, "exporter"), append([]string{"doctor", "--timeout", timeout}, args...)...)
	})
	if (err == nil) != well {
		t.Errorf("doctor %s: %v\n%s%s", strings.Join(args, " "), err, out, stderr)
	}
	return string(out)
}

// doctor: what it advises to do beside a kernel with DCCP is what helps.
func doctor(t *testing.T, n *harness.Network, pki harness.PKI) {
	const to = "dtls+dccp://192.0.2.2"
	startCollector(t, n, pki, "dtls+dccp", to, t.TempDir())
	by := pki.Flags("exporter")
	contains := func(out string, lines ...string) {
		t.Helper()
		for _, l := range lines {
			if !strings.Contains(out, "\n  "+l) {
				t.Errorf("no %q in\n%s", l, out)
			}
		}
	}
	out := consult(t, n, true, append(by, "--to", to)...)
	contains(out, "OK    DCCP: this kernel has it, and its sockets are used", "OK    route: 192.0.2.2 leaves from 192.0.2.1 by va, MTU 1500",
		"OK    heartbeat: answered in ", "OK    message size: 14", "OK    second session: resumed")

	out = consult(t, n, false, append(by, "--to", to+"?stack=raw")...)
	contains(out, "OK    raw sockets: allowed", "WARN  DCCP: this kernel has DCCP too", "FAIL  session: ")
	_, advice, _ := strings.Cut(out, "or let only marked packets leave: ")
	advice, _, _ = strings.Cut(advice, "\n")
	n.Inside(n.A, func() {
		if said, err := exec.Command("sh", "-ec", advice).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", advice, err, said)
		}
	})
	defer unguard(n, n.A, "va", "?stack=raw")
	out = consult(t, n, true, append(by, "--to", to+"?stack=raw")...)
	contains(out, "OK    session: with 192.0.2.2:4740 opened in ", "OK    close: in order",
		"OK    DCCP: this kernel has DCCP too, and leaves our connections alone")
	// The same rule silences the kernel's own sockets.
	out = consult(t, n, false, append(by, "--to", to)...)
	contains(out, "FAIL  session: ", "      hint: does a filter here let only marked packets leave?")
}

// doctorSCTP: the kernel's SCTP is found.
func doctorSCTP(t *testing.T, n *harness.Network, pki harness.PKI) {
	startCollector(t, n, pki, "dtls+sctp", "dtls+sctp://192.0.2.2", t.TempDir())
	out := consult(t, n, true, append(pki.Flags("exporter"), "--to", "dtls+sctp://192.0.2.2")...)
	for _, l := range []string{"OK    SCTP: this kernel has it", "OK    heartbeat: answered in ", "OK    second session: by a full handshake, as always over SCTP"} {
		if !strings.Contains(out, "\n  "+l) {
			t.Errorf("no %q in\n%s", l, out)
		}
	}
}

// doctorMTU: a link that drops large packets without a word is found.
func doctorMTU(t *testing.T, n *harness.Network, pki harness.PKI) {
	startCollector(t, n, pki, "dtls+udp", "dtls+udp://192.0.2.2", t.TempDir())
	n.Run(n.B, "tc qdisc add dev vb ingress")
	defer n.Run(n.B, "tc qdisc del dev vb ingress")
	n.Run(n.B, "tc filter add dev vb ingress protocol ip matchall action police mtu 1300 rate 1gbit burst 1mbit drop")
	out := consult(t, n, true, append(pki.Flags("exporter"), "--to", "dtls+udp://192.0.2.2")...)
	if !strings.Contains(out, "WARN  message size: ") || !strings.Contains(out, "hint: a link in between drops large packets without a word") {
		t.Errorf("not found:\n%s", out)
	}
}
