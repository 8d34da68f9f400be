//go:build linux

package sctp

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ipfixsuite/test/harness"
)

// The types of chunks, and of DTLS records, as tshark names them.
const (
	chunkData       = "0"
	chunkInit       = "1"
	chunkAbort      = "6"
	chunkAuth       = "15"
	chunkForwardTSN = "192"

	recordChangeCipherSpec = "20"
	applicationData        = 23

	hmacSHA256 = "3"
)

// onStream0 are the types of records that have to be there: ChangeCipherSpec,
// alerts and the handshake.
var onStream0 = []string{recordChangeCipherSpec, "21", "22"}

// judge has tshark look at every packet that was captured.
func judge(t *testing.T, dir string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.pcap"))
	if err != nil || len(files) == 0 {
		t.Errorf("nothing was captured: %v", err)
	}
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), ".pcap")
		t.Run("judge/"+name, func(t *testing.T) { judgeFile(t, f, strings.HasPrefix(name, "dtls")) })
	}
}

// packet is one of SCTP, as tshark dissects it.
type packet struct {
	number            string
	source, source6   string
	chunks            []string
	keys, algorithms  []string
	ppids, streams    []string
	epochs, types     []string
	checksum, experts string
}

func dissect(t *testing.T, file string) (packets []packet) {
	t.Helper()
	fields := []string{
		"frame.number", "ip.src", "ipv6.src", "sctp.chunk_type", "sctp.shared_key_id", "sctp.hmac_id", "sctp.data_payload_proto_id", "sctp.data_sid",
		"dtls.record.epoch", "dtls.record.content_type", "sctp.checksum.status", "_ws.malformed",
	}
	args := []string{"-r", file, "-o", "sctp.checksum:CRC-32C", "-o", "sctp.reassembly:TRUE", "-d", "sctp.port==4740,dtls", "-d", "udp.port==9899,sctp",
		"-Y", "sctp", "-T", "fields", "-E", "separator=;", "-E", "occurrence=a"}
	for _, f := range fields {
		args = append(args, "-e", f)
	}
	for line := range strings.Lines(string(harness.Run(t, harness.Tool(t, "tshark"), args...))) {
		f := strings.Split(strings.TrimRight(line, "\n"), ";")
		if len(f) != len(fields) {
			t.Fatalf("tshark: %q", line)
		}
		list := func(s string) []string {
			if s == "" {
				return nil
			}
			return strings.Split(s, ",")
		}
		packets = append(packets, packet{
			f[0], f[1], f[2], list(f[3]), list(f[4]), list(f[5]), list(f[6]), list(f[7]), list(f[8]), list(f[9]), f[10], f[11],
		})
	}
	return packets
}

// judgeFile holds the packets of a conversation to what they have to be.
func judgeFile(t *testing.T, file string, secure bool) {
	packets := dissect(t, file)
	ours := !strings.Contains(file, "openssl")
	bad, data, authenticated, switched, forwards := 0, 0, 0, 0, 0
	complain := func(p packet, what string) {
		if bad++; bad < 20 {
			t.Errorf("packet %s of %s: %s: %+v", p.number, p.source+p.source6, what, p)
		}
	}
	newKey := map[string]bool{} // by source: a packet under key 1 was seen
	for _, p := range packets {
		if p.checksum != "1" || p.experts != "" {
			complain(p, "checksum or form")
		}
		at := slices.IndexFunc(p.chunks, func(c string) bool { return c == chunkData || c == chunkForwardTSN })
		if at < 0 {
			continue
		}
		data++
		if slices.Contains(p.chunks, chunkForwardTSN) {
			forwards++
		}
		if slices.ContainsFunc(p.ppids, func(id string) bool { return id != "0" }) {
			complain(p, "PPID is not 0") // RFC 7011, Section 10.2.3
		}
		if !secure {
			continue
		}
		// RFC 6083, Section 4.5; RFC 4895, Section 6.1: AUTH stands before what it
		// authenticates.
		auth := slices.Index(p.chunks, chunkAuth)
		if auth < 0 || auth > at || len(p.keys) != 1 {
			complain(p, "DATA or FORWARD-TSN without AUTH before it")
			continue
		}
		authenticated++
		if ours && p.algorithms[0] != hmacSHA256 {
			complain(p, "AUTH by another algorithm than the one preferred")
		}
		for i, epoch := range p.epochs {
			// What is protected by DTLS goes under the new key, what is not, and
			// ChangeCipherSpec, under the old one (RFC 6083, Section 4.8).
			if epoch != p.keys[0] && (ours || epoch != "0" || p.types[i] != recordChangeCipherSpec) {
				complain(p, "epoch "+epoch+" under key "+p.keys[0])
			}
		}
		// Handshake, ChangeCipherSpec and alerts go on stream 0 (Section 4.4).
		if len(p.streams) == 1 && len(p.types) == 1 && slices.Contains(onStream0, p.types[0]) && p.streams[0] != "0x0000" {
			complain(p, "record of type "+p.types[0]+" on stream "+p.streams[0])
		}
		if source := p.source + p.source6; p.keys[0] == "1" && !newKey[source] {
			newKey[source] = true
			switched++
		}
	}
	if data == 0 || secure && (switched != 2 || authenticated != data) {
		t.Errorf("%d packets with data, %d authenticated, %d ends switched", data, authenticated, switched)
	}
	if (forwards > 0) != strings.Contains(file, givenUpName) {
		t.Errorf("%d packets with FORWARD-TSN", forwards)
	}
	t.Logf("%d packets, %d with data, %d of them authenticated; %d FORWARD-TSN", len(packets), data, authenticated, forwards)
}
