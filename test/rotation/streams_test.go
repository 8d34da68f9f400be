package rotation

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"ipfixsuite/collect"
	"ipfixsuite/ie"
	"ipfixsuite/ipfix"
	"ipfixsuite/test/harness"
)

const (
	streamDomains   = 4
	streamTemplates = 3
)

// numberedDomains writes an IPFIX file of n records that count from 1 in
// octetDeltaCount, of several Observation Domains and Templates in turn.
func numberedDomains(t *testing.T, n int) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "numbered.ipfix")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	extra := []uint16{7, 11, 4} // ports, protocol
	var templates []*ipfix.Template
	for k := range streamTemplates {
		specs := []ipfix.FieldSpec{{ID: ie.ID{Num: 1}, Length: 8}}
		for _, num := range extra[:k] {
			specs = append(specs, ipfix.FieldSpec{ID: ie.ID{Num: num}, Length: 2})
		}
		p, err := ipfix.NewTemplate(uint16(ipfix.MinDataSetID+k), 0, specs, ie.IANA())
		if err != nil {
			t.Fatal(err)
		}
		templates = append(templates, p)
	}
	const inMessage = 50
	seq := make([]uint32, streamDomains)
	for i, turn := 1, 0; i <= n; turn++ {
		d := turn % streamDomains
		var b ipfix.Builder
		b.Reset(nil, ipfix.MaxMessage)
		for _, p := range templates {
			b.AddTemplate(p)
		}
		count := uint32(0)
		for ; count < inMessage && i <= n; count++ {
			p := templates[i%streamTemplates]
			rec := binary.BigEndian.AppendUint64(nil, uint64(i))
			b.AddRecord(p, append(rec, make([]byte, p.RecordLen-8)...))
			i++
		}
		if _, err := f.Write(b.Finish(ipfix.Header{ExportTime: uint32(time.Now().Unix()), Sequence: seq[d], Domain: uint32(d + 1)})); err != nil {
			t.Fatal(err)
		}
		seq[d] += count
	}
	return name
}

// Several Observation Domains and Templates with each way to spread them over
// streams (RFC 7011, Section 10.2.6; RFC 6526), a session a second: nothing is
// missing, and each stream's Sequence Numbers say so.
func TestStreams(t *testing.T) {
	const rate = 5000
	pki := harness.NewPKI(t, "collector", "exporter")
	d := long(t, 3*time.Second)
	n := int(d.Seconds() * rate)
	file := numberedDomains(t, n)
	for _, tc := range []struct {
		scheme, policy    string
		sessions, streams int // of each rotation; that carry records in a domain
	}{
		{"sctp+udp", "single", 1, 1},
		{"sctp+udp", "per-domain", 1, 1},
		{"sctp+udp", "per-template", 1, streamTemplates},
		{"dtls+sctp+udp", "single", 1, 1},
		{"dtls+sctp+udp", "per-domain", 1, 1},
		{"dtls+sctp+udp", "per-template", 1, streamTemplates},
		{"mta+tls+tcp", "single", 1, 1},
		{"mta+tls+tcp", "", streamDomains, 1},
		{"mta+tls+tcp", "per-template", streamDomains, 1},
	} {
		// All listen before anybody dials: no socket of a dial takes their ports.
		url := fmt.Sprintf("%s://127.0.0.1:%d", tc.scheme, harness.FreePort(t))
		if tc.scheme != "mta+tls+tcp" {
			url += fmt.Sprintf("?udp=%d", harness.FreePort(t))
		}
		flows := filepath.Join(t.TempDir(), "flows")
		c := harness.StartCollector(t, append([]string{"--listen", url, "--sink", "json:" + flows}, pki.Flags("collector")...)...)
		t.Run(tc.scheme+"/"+tc.policy, func(t *testing.T) {
			t.Parallel()
			args := []string{"--source", "ipfix:" + file, "--to", url, "--rotate", "1s", "--max-rate", fmt.Sprint(rate)}
			if tc.policy != "" {
				args = append(args, "--sctp-streams", tc.policy)
			}
			e := harness.StartExporter(t, append(args, pki.Flags("exporter")...)...)
			sum := e.Summary(d + time.Minute)
			got := c.Summary()
			written := harness.Written(t, n, flows)
			t.Logf("%v rotations, %v control records, collector's sessions %v", sum["rotations"], sum["control_records_sent"], got["sessions_opened"])
			if written.Missing() != 0 || written.Again() != int(sum["records_replayed"]) {
				t.Errorf("%d records missing, %d twice", written.Missing(), written.Again())
			}
			if sum["records_sent"] != float64(n) || sum["records_dropped"] != 0 || sum["collectors_lost"] != 0 || sum["rotations"] < 1 ||
				got["records_lost"] != 0 || got["data_before_template"] != 0 || got["records_undecodable"] != 0 {
				t.Errorf("exporter %v, collector %v", sum, got)
			}
			sessions := 0
			in := make(map[uint32]int) // streams of a domain in one session, at most
			for _, a := range c.Accounts() {
				for _, s := range a.Sessions {
					sessions++
					// One that was still being made at the end carried nothing.
					carried := slices.ContainsFunc(s.Streams, func(a collect.StreamAccount) bool { return a.DataRecordsReceived > 0 })
					if carried && s.PerStream != (tc.policy == "per-template" && tc.scheme != "mta+tls+tcp") {
						t.Errorf("session %d keeps RFC 6526: %v", s.Session, s.PerStream)
					}
					now := make(map[uint32]int)
					for _, stream := range s.Streams {
						if stream.DataRecordsReceived > 10 { // more than of reliability
							now[stream.Domain]++
							in[stream.Domain] = max(in[stream.Domain], now[stream.Domain])
						}
						if stream.Loss != (collect.Loss{}) {
							t.Errorf("domain %d, stream %d: %+v", stream.Domain, stream.Stream, stream.Loss)
						}
					}
				}
			}
			for domain := uint32(1); domain <= streamDomains; domain++ {
				if in[domain] != tc.streams {
					t.Errorf("domain %d is on %d streams, want %d", domain, in[domain], tc.streams)
				}
			}
			if sessions == 0 {
				t.Error("no sessions in the collector's account")
			}
			// The collector's Transport Sessions: one for each of the exporter's, or
			// for each channel of it.
			if (got["sessions_opened"] > 2*sum["sessions_opened"]) != (tc.sessions > 1) {
				t.Errorf("%v sessions of the exporter's are %v of the collector's", sum["sessions_opened"], got["sessions_opened"])
			}
		})
	}
}
