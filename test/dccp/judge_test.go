//go:build linux

package dccp

import (
	"path/filepath"
	"strings"
	"testing"

	"ipfixsuite/test/harness"
)

// judge has tshark look at each packet that was captured: every one must be
// well-formed, with a good checksum and nothing for an expert to say. Linux's
// own are among them, and show that the judge knows what it says.
func judge(t *testing.T, dir string) {
	files, err := filepath.Glob(filepath.Join(dir, "*.pcap"))
	if err != nil || len(files) == 0 {
		t.Errorf("nothing was captured: %v", err)
	}
	tshark := harness.Tool(t, "tshark")
	for _, f := range files {
		out := harness.Run(t, tshark, "-r", f, "-o", "dccp.check_checksum:TRUE", "-Y", "dccp", "-T", "fields", "-E", "separator=,",
			"-e", "frame.number", "-e", "dccp.type", "-e", "dccp.checksum.status", "-e", "_ws.malformed", "-e", "_ws.expert.message")
		types := map[string]int{}
		bad := 0
		for line := range strings.Lines(string(out)) {
			f := strings.SplitN(strings.TrimSpace(line), ",", 5)
			if len(f) != 5 || f[2] != "1" || f[3] != "" || f[4] != "" {
				if bad++; bad < 20 {
					t.Errorf("tshark: %s", line)
				}
				continue
			}
			types[f[1]]++
		}
		t.Logf("%s: packets by type: %v", filepath.Base(f), types)
	}
}
