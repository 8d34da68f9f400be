package ipfix_test

import (
	"encoding/binary"
	"math"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	calmh "github.com/calmh/ipfix"
	"github.com/google/go-cmp/cmp"

	"ipfixsuite/ie"
	"ipfixsuite/ipfix"
	"ipfixsuite/test/workload"
)

// judged is a message of all that peers can read: a template with every kind
// of value in IANA's registry, reduced sizes, an enterprise element, both
// lengths of a string; an options template with its record.
func judged(t *testing.T) (msg []byte, vals []ipfix.Value) {
	t.Helper()
	spec := func(name string, n uint16) ipfix.FieldSpec {
		e := ie.IANA().ByName(name)
		if e == nil {
			t.Fatal(name)
		}
		return ipfix.FieldSpec{ID: e.ID, Length: n}
	}
	at := time.Date(2024, 2, 29, 23, 59, 59, 123456789, time.UTC)
	v6 := netip.MustParseAddr("2001:db8::1").As16()
	rows := []struct {
		spec ipfix.FieldSpec
		v    ipfix.Value
	}{
		{spec("sourceIPv4Address", 4), ipfix.Value{Num: 0xc0000201}},
		{spec("destinationIPv6Address", 16), ipfix.Value{View: v6[:]}},
		{spec("sourceMacAddress", 6), ipfix.Value{Num: 0x0200005e1001}},
		{spec("sourceTransportPort", 2), ipfix.Value{Num: 443}},
		{spec("protocolIdentifier", 1), ipfix.Value{Num: 6}},
		{spec("octetDeltaCount", 3), ipfix.Value{Num: 0x123456}},
		{spec("packetDeltaCount", 8), ipfix.Value{Num: 1 << 40}},
		{spec("flowStartSeconds", 4), ipfix.Value{Num: ipfix.TimeNum(ie.DateTimeSeconds, at)}},
		{spec("flowStartMilliseconds", 8), ipfix.Value{Num: ipfix.TimeNum(ie.DateTimeMilliseconds, at)}},
		{spec("flowEndMicroseconds", 8), ipfix.Value{Num: ipfix.TimeNum(ie.DateTimeMicroseconds, at)}},
		{spec("flowEndNanoseconds", 8), ipfix.Value{Num: ipfix.TimeNum(ie.DateTimeNanoseconds, at)}},
		{spec("samplingProbability", 8), ipfix.Value{Num: math.Float64bits(0.25)}},
		{spec("dataRecordsReliability", 1), ipfix.Value{Num: 1}},
		{spec("interfaceName", ipfix.VariableLength), ipfix.Value{View: []byte("eth0")}},
		{spec("applicationDescription", ipfix.VariableLength), ipfix.Value{View: []byte(strings.Repeat("long ", 60))}},
		{ipfix.FieldSpec{ID: ie.ID{PEN: 32473, Num: 100}, Length: 4}, ipfix.Value{View: []byte{1, 2, 3, 4}}},
	}
	var specs []ipfix.FieldSpec
	for _, r := range rows {
		specs, vals = append(specs, r.spec), append(vals, r.v)
	}
	tm := template(t, 0, specs...)
	opt, err := ipfix.NewTemplate(257, 1, []ipfix.FieldSpec{spec("exportingProcessId", 4), spec("exportedMessageTotalCount", 8)}, ie.IANA())
	if err != nil || tm.Check() != nil || opt.Check() != nil {
		t.Fatal(err, tm.Check(), opt.Check())
	}
	rec, err := tm.AppendRecord(nil, vals)
	if err != nil {
		t.Fatal(err)
	}
	optRec, err := opt.AppendRecord(nil, []ipfix.Value{{Num: 7}, {Num: 99}})
	if err != nil {
		t.Fatal(err)
	}
	var b ipfix.Builder
	b.Reset(nil, 1400)
	if !b.AddTemplate(tm) || !b.AddRecord(tm, rec) || !b.AddRecord(tm, rec) || !b.AddTemplate(opt) || !b.AddRecord(opt, optRec) {
		t.Fatal("does not fit")
	}
	return b.Finish(ipfix.Header{ExportTime: uint32(at.Unix()), Sequence: 1, Domain: 42}), vals
}

// TestCalmh: github.com/calmh/ipfix reads the octets of each field that we
// wrote, and we those of each record that it reads in the workloads.
func TestCalmh(t *testing.T) {
	msg, _ := judged(t)
	s := calmh.NewSession()
	m, err := s.ParseBuffer(msg)
	if err != nil {
		t.Fatal(err)
	}
	if len(m.DataRecords) != 2 || m.Header.DomainID != 42 || len(m.TemplateRecords) != 1 {
		t.Fatalf("%d records, %+v", len(m.DataRecords), m.Header)
	}
	sameAsCalmh(t, map[uint16]*ipfix.Template{}, msg, m)
	for _, w := range workload.All(30) {
		s := calmh.NewSession()
		if _, err := s.ParseBuffer(w.Setup); err != nil {
			t.Fatal(err)
		}
		ts := load(t, w)
		for _, b := range w.Messages {
			m, err := s.ParseBuffer(b)
			if err != nil {
				t.Fatal(err)
			}
			sameAsCalmh(t, ts, b, m)
		}
	}
}

func sameAsCalmh(t *testing.T, ts map[uint16]*ipfix.Template, msg []byte, m calmh.Message) {
	t.Helper()
	var got [][][]byte
	for s, err := range ipfix.Sets(msg) {
		if err != nil {
			t.Fatal(err)
		}
		if s.ID < ipfix.MinDataSetID {
			learn(t, ts, s)
			continue
		}
		if ts[s.ID].Options() {
			continue // calmh skips options templates
		}
		var r ipfix.Records
		r.Reset(ts[s.ID], s.Body)
		for r.Next() {
			got = append(got, r.Views(nil))
		}
	}
	var want [][][]byte
	for _, r := range m.DataRecords {
		want = append(want, r.Fields)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Fatal(d)
	}
}

// TestTshark: tshark finds in our message what we put there, and no fault.
func TestTshark(t *testing.T) {
	tshark, err := exec.LookPath("tshark")
	if err != nil {
		t.Skip("tshark is not installed")
	}
	msg, _ := judged(t)
	file := filepath.Join(t.TempDir(), "message.pcap")
	if err := os.WriteFile(file, pcap(msg), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), tshark, "-r", file, "-d", "udp.port==4739,cflow", "-V").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	text := string(out)
	for _, want := range []string{
		"Version: 10", "Observation Domain Id: 42", "FlowSequence: 1",
		"SrcAddr: 192.0.2.1", "DstAddr: 2001:db8::1", "Source Mac Address: 02:00:00:5e:10:01",
		"SrcPort: 443", "Protocol: TCP (6)", "Octets: 1193046", "Packets: 1099511627776",
		"Feb 29, 2024 23:59:59.123000000 UTC", "23:59:59.123456", "23:59:59.123456789",
		"Sampling Probability: 0.25", "String_len_short: 4", "eth0", "long long",
		"Enterprise Private entry: (Example Enterprise Number for Documentation Use) Type 100: Value (hex bytes): 01 02 03 04",
		// 144 and 41 by their names of NetFlow.
		"FlowExporter: 7", "PacketsExp: 99",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("tshark does not say %q", want)
		}
	}
	for _, bad := range []string{"Malformed", "Expert Info", "No template"} {
		if strings.Contains(text, bad) {
			t.Errorf("tshark says %q", bad)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
}

// pcap wraps payload in UDP to port 4739, IPv4 and a pcap file.
func pcap(payload []byte) []byte {
	be, le := binary.BigEndian, binary.LittleEndian
	ip := []byte{0x45, 0, 0, 0, 0, 1, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2}
	be.PutUint16(ip[2:], uint16(28+len(payload)))
	packet := slices.Concat(ip, []byte{0xc0, 0, 0x12, 0x83, 0, 0, 0, 0}, payload)
	be.PutUint16(packet[24:], uint16(8+len(payload)))
	const rawIPv4 = 228
	var b []byte
	for _, v := range []uint32{0xa1b2c3d4, 4<<16 | 2, 0, 0, 65535, rawIPv4, 1700000000, 0, uint32(len(packet)), uint32(len(packet))} {
		b = le.AppendUint32(b, v)
	}
	return append(b, packet...)
}

// TestIpfixDump: libfixbuf's ipfixDump prints our message and the lists of
// RFC 6313 as we built them.
func TestIpfixDump(t *testing.T) {
	dump, err := exec.LookPath("ipfixDump")
	if err != nil {
		t.Skip("ipfixDump (libfixbuf-tools) is not installed")
	}
	msg, _ := judged(t)
	ts := alert(t)
	var b ipfix.Builder
	b.Reset(nil, 1400)
	for _, id := range []uint16{268, 269, 270, 271} {
		b.AddTemplate(ts[id])
	}
	b.AddRecord(ts[271], octets(t, alertData))
	msg = append(msg, b.Finish(ipfix.Header{ExportTime: 1709251199, Sequence: 4, Domain: 42})...)
	file := filepath.Join(t.TempDir(), "messages.ipfix")
	if err := os.WriteFile(file, msg, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), dump, "--in", file).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	text := strings.Join(strings.Fields(string(out)), " ")
	for _, want := range []string{
		"observation domain id: 42", "(28) destinationIPv6Address : 2001:0db8::0001", "(1) octetDeltaCount : 1193046",
		"(152) flowStartMilliseconds : 2024-02-29 23:59:59.123", "(311) samplingProbability : 0.25",
		"(82) interfaceName : (len: 4) eth0", "(94) applicationDescription : (len: 300) long",
		"(144) (S) exportingProcessId : 7", "(41) exportedMessageTotalCount : 99", "3 Data Records",
		"+++ subTemplateList +++ count: 2 semantic: 3-allOf tid: 270", "ie: (292) subTemplateList",
		"count: 2 semantic: 1-exactlyOneOf tid: 269", "sourceIPv4Address : 192.0.2.4",
		"count: 1 semantic: 255-undefined tid: 268", "destinationIPv4Address : 192.0.2.105",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("ipfixDump does not say %q", want)
		}
	}
	if t.Failed() {
		t.Logf("%s", out)
	}
}
