//go:build linux

package uml

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"ipfixsuite/test/harness"
)

// TestGuest shows what the guest has that others rely on.
func TestGuest(t *testing.T) {
	if !Inside() {
		Job{Modules: []string{"dccp_ipv4", "dccp_ipv6", "sctp", "tun"}}.Self(t)
		return
	}
	for _, s := range []struct {
		name               string
		family, typ, proto int
	}{
		{"dccp/ipv4", unix.AF_INET, unix.SOCK_DCCP, unix.IPPROTO_DCCP},
		{"dccp/ipv6", unix.AF_INET6, unix.SOCK_DCCP, unix.IPPROTO_DCCP},
		{"sctp/ipv4", unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_SCTP},
		{"sctp/ipv6", unix.AF_INET6, unix.SOCK_SEQPACKET, unix.IPPROTO_SCTP},
	} {
		t.Run(s.name, func(t *testing.T) {
			fd, err := unix.Socket(s.family, s.typ, s.proto)
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(fd)
			if err := unix.Listen(fd, 1); err != nil {
				t.Errorf("listen: %v", err)
			}
		})
	}
	t.Run("tun", func(t *testing.T) {
		if _, err := os.Stat("/dev/net/tun"); err != nil {
			t.Error(err)
		}
	})
	t.Run("namespaces, veth and netem", func(t *testing.T) {
		n := harness.NewNetwork(t)
		n.Up()
		n.Run(n.A, "tc qdisc add dev va root netem delay 40ms loss 5%")
		if out := harness.Run(t, "ip", "netns", "exec", n.A, "tc", "qdisc", "show", "dev", "va"); !strings.Contains(string(out), "delay 40ms loss 5%") {
			t.Errorf("%s", out)
		}
		n.Run(n.B, "tc qdisc add dev vb clsact")
		n.Run(n.B, "tc filter add dev vb egress protocol ip prio 1 handle 0x33 fw action pass")
		n.Run(n.B, "tc filter add dev vb egress protocol ip prio 2 u32 match ip protocol 33 0xff action drop")
	})
	t.Run("the machine's files are read-only", func(t *testing.T) {
		if err := os.WriteFile("/usr/uml-was-here", nil, 0o600); err == nil {
			t.Error("the guest may write /usr")
		}
	})
}

// TestLimit: the time limit ends the guest, and nothing of it is left.
func TestLimit(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	r := Job{Limit: 5 * time.Second, Writable: []string{dir}}.Run(t, "sh", "-c", "echo begun >"+dir+"/begun; sleep 1000 & sleep 1000")
	if r.Code != LimitReached {
		t.Errorf("status %d, want %d\n%s", r.Code, LimitReached, r.Stderr)
	}
	if _, err := os.Stat(filepath.Join(dir, "begun")); err != nil {
		t.Log("it ended while it booted")
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "uml-run.*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	// Each of a guest's processes has its job's folder on its command line.
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range lines {
		if line, err := os.ReadFile(f); err == nil && strings.Contains(string(line), dir+"/uml-run.") {
			t.Errorf("still running: %q", line)
		}
	}
}

// TestOutcomes: Self reports what the guest's tests reported.
func TestOutcomes(t *testing.T) {
	got := outcomes([]byte(`=== RUN   TestA
=== RUN   TestA/one
    a_test.go:1: said
=== RUN   TestA/two
=== NAME  TestA/one
    a_test.go:2: more
--- FAIL: TestA (0.01s)
    --- FAIL: TestA/one (0.00s)
        a_test.go:3: late
    --- SKIP: TestA/two (0.00s)
FAIL
`))
	want := []outcome{
		{name: "TestA", verdict: "FAIL"},
		{name: "TestA/one", verdict: "FAIL", said: "    a_test.go:1: said\n    a_test.go:2: more\n        a_test.go:3: late\n"},
		{name: "TestA/two", verdict: "SKIP"},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(outcome{})); diff != "" {
		t.Error(diff)
	}
}
