//go:build linux

package sctp

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ipfixsuite/test/harness"
	"ipfixsuite/test/uml"
)

func startCollector(t *testing.T, n *harness.Network, args ...string) *harness.Collector {
	t.Helper()
	var c *harness.Collector
	n.Inside(n.B, func() { c = harness.StartCollector(t, args...) })
	return c
}

// mixed is a capture of the project's.
const mixed = "mixed.pcap"

// copied tells files for the guest from captures of the guest, which are judged.
const copied = ".copy"

// share puts a file where the guest sees it, wherever the checkout is: the
// guest has a /tmp of its own.
func share(t *testing.T, from, to, name string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(from, name))
	if err == nil {
		err = os.WriteFile(filepath.Join(to, name+copied), b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// softflowd exports the same flows over SCTP as it does over UDP.
func softflowd(t *testing.T, n *harness.Network) {
	program := harness.Tool(t, "softflowd")
	pcap := uml.Shared(mixed + copied)
	var lines [2][]string
	for i, transport := range []string{"udp", "sctp"} {
		flows := filepath.Join(t.TempDir(), transport)
		c := startCollector(t, n, "--listen", transport+"://192.0.2.2", "--sink", "json:"+flows, "--insecure")
		ctl := t.TempDir()
		n.Inside(n.A, func() {
			harness.Run(t, program, "-r", pcap, "-n", "192.0.2.2:4739", "-v", "10", "-P", transport, "-d",
				"-p", filepath.Join(ctl, "pid"), "-c", "none") // its control socket may block it for ever
		})
		if transport == "sctp" {
			c.Wait("session closed") // the kernel has had it since softflowd ended
		}
		got := c.Summary()
		if got["records_undecodable"] != 0 || got["messages_malformed"] != 0 {
			t.Errorf("%s: %v", transport, got)
		}
		lines[i] = flowLines(t, flows)
	}
	if len(lines[0]) < 100 || !slices.Equal(lines[0], lines[1]) {
		t.Errorf("%d flows over UDP, %d over SCTP, or others", len(lines[0]), len(lines[1]))
	}
	t.Logf("%d flows", len(lines[1]))
}

// flowLines are the records of a JSON sink without what differs from session
// to session, sorted.
func flowLines(t *testing.T, dir string) (lines []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(raw)) {
			// The metadata and the times differ.
			var keep []string
			for _, field := range strings.Split(strings.Trim(line, "{}\n"), ",") {
				if name, _, _ := strings.Cut(field, ":"); !strings.HasPrefix(name, `"@`) && !strings.Contains(name, "ime") {
					keep = append(keep, field)
				}
			}
			if strings.Contains(line, `"source`) { // not the options, which name the process
				lines = append(lines, strings.Join(keep, ","))
			}
		}
	}
	slices.Sort(lines)
	return lines
}
