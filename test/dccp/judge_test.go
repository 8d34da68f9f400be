//go:build linux

package dccp

import (
	"path/filepath"
	"strings"
	"testing"

	"ipfixsuite/test/harness"
)

// captured names the captures, and how many messages are to be in each, of
// either IP version: a judge who sees nothing has nothing to say. They are fewer
// than were sent, since the capture may miss some on a busy host.
var captured = map[string]int{"short": 200, "long": 8_000, "lossy": 300}

// judge has tshark look at each packet that was captured: every one must be
// well-formed, with a good checksum and nothing for an expert to say. Linux's
// own are among them, and show that the judge knows what it says. None may be
// marked as able to bear ECN: both ends have said that they are not.
func judge(t *testing.T, dir string) {
	tshark := harness.Tool(t, "tshark")
	for name, least := range captured {
		// Whatever is of protocol 33, not what tshark has taken for DCCP.
		out := harness.Run(t, tshark, "-r", filepath.Join(dir, name+".pcap"), "-o", "dccp.check_checksum:TRUE",
			"-Y", "(ip.proto == 33 || ipv6.nxt == 33) && !icmp && !icmpv6", "-T", "fields", "-E", "separator=,",
			"-e", "frame.number", "-e", "dccp.type", "-e", "dccp.checksum.status", "-e", "ip.dsfield.ecn", "-e", "ipv6.tclass.ecn",
			"-e", "_ws.malformed", "-e", "_ws.expert.message")
		types, data := map[string]int{}, map[bool]int{} // by whether it is IPv6
		bad := 0
		for line := range strings.Lines(string(out)) {
			f := strings.SplitN(strings.TrimSpace(line), ",", 7)
			if len(f) != 7 || f[1] == "" || f[2] != "1" || strings.TrimLeft(f[3]+f[4], "0x") != "" || f[5] != "" || f[6] != "" {
				if bad++; bad < 20 {
					t.Errorf("tshark: %s", line)
				}
				continue
			}
			types[f[1]]++
			if f[1] == "2" || f[1] == "4" { // Data, DataAck
				data[f[4] != ""]++
			}
		}
		t.Logf("%s: packets by type: %v; messages by IPv6: %v", name, types, data)
		for _, six := range []bool{false, true} {
			if data[six] < least {
				t.Errorf("%s: %d messages with IPv6 %v, want %d", name, data[six], six, least)
			}
		}
		for _, typ := range []string{"0", "1", "3", "5", "6", "7"} {
			if name == "short" && types[typ] == 0 {
				t.Errorf("%s: no packet of type %s", name, typ)
			}
		}
	}
}
