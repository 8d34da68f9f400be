//go:build linux

package sctp

import (
	"path/filepath"
	"strings"
	"testing"

	"ipfixsuite/test/uml"
)

// withoutSCTP: where the kernel has no SCTP both programs, which are in a
// folder, say so, and name what needs none.
func withoutSCTP(t *testing.T, dir string) {
	program := func(name string) string { return filepath.Join(dir, name) }
	r := uml.Job{Shared: dir}.Run(t, "/bin/sh", "-c", `echo /none >/proc/sys/kernel/modprobe
`+program("collector")+` serve --listen sctp://127.0.0.1 --sink json:- 2>&1; echo "collector ended with $?"
`+program("exporter")+` doctor --to sctp://127.0.0.1 2>&1; echo "exporter ended with $?"`)
	said := string(r.Stdout)
	for _, line := range []string{
		"collector: --listen sctp://127.0.0.1:4739: sctp listen on 127.0.0.1:4739: this kernel has no SCTP (protocol not supported); sctp+udp:// and dtls+sctp+udp:// need none of it\n" +
			"hint: use the scheme with +udp at both ends, or load the kernel's module: modprobe sctp\ncollector ended with 1\n",
		"FAIL  SCTP: this kernel has none", "hint: modprobe sctp; or use sctp+udp://",
		"exporter ended with 1\n",
	} {
		if !strings.Contains(said, line) {
			t.Errorf("not said: %q", line)
		}
	}
	if t.Failed() {
		t.Logf("%s%s", said, r.Stderr)
	}
}
