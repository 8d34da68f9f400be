package source

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipfixsuite/capture"
	"ipfixsuite/export"
)

func TestParse_Refuses(t *testing.T) {
	for _, tc := range []struct{ spec, want string }{
		{"", "no kind"},
		{"flows.pcap", "no kind"},
		{"pcap:", "nothing to read"},
		{"netmap:eth0", `kind "netmap" is unknown`},
		{"pcap:x?loop=many", "loop=many"},
		{"pcap:x?loop=-1", "loop=-1"},
		{"pcap:x?pace=fast", "pace=fast"},
		{"pcap:x?pace=0", "pace=0"},
		{"pcap:x?pace=NaN", "pace=NaN"},
		{"pcap:x?speed=1", "speed is unknown"},
		{"pcap:x?loop=1&loop=2", "given 2 times"},
		{"pcap:x?loop=%zz", "cannot be read"},
		{"pcap:-?loop=2", "more than once"},
		{"ipfix:x?loop=2", "loop is unknown"},
	} {
		_, err := Parse(tc.spec, Config{})
		if _, ok := errors.AsType[*SpecError](err); !ok || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v, want one line with %q", tc.spec, err, tc.want)
		} else if e, _ := errors.AsType[*SpecError](err); e.Hint() == "" || strings.Contains(err.Error(), e.Hint()) {
			t.Errorf("%q: hint %q", err, e.Hint())
		}
	}
}

// A file without anything in it is no fault, but is told of.
func TestCheck_empty(t *testing.T) {
	for kind, content := range map[string][]byte{"ipfix": nil, "json": nil, "pcap": udpCapture(0)} {
		name := filepath.Join(t.TempDir(), "empty")
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		s := parse(t, kind+":"+name, Config{Log: slog.New(slog.NewTextHandler(&log, nil))})
		if err := s.Check(); err != nil || !strings.Contains(log.String(), "level=WARN msg=\"there is nothing in the file") {
			t.Errorf("%s: %v, %s", kind, err, log.String())
		}
	}
}

func TestParse_NameWithQuestionMark(t *testing.T) {
	s := parse(t, "pcap:what?.pcap", Config{}).(*pcap)
	if s.name != "what?.pcap" || s.loop != 1 || s.rate != 0 {
		t.Errorf("%+v", s)
	}
	s = parse(t, "pcap:a?b?loop=0&pace=500", Config{}).(*pcap)
	if s.name != "a?b" || s.loop != 0 || s.rate != 500 {
		t.Errorf("%+v", s)
	}
}

func TestCheck(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte("this is neither a capture nor an IPFIX file, but longer than a header\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ spec, want string }{
		{"pcap:" + dir + "/none", "no such file"},
		{"ipfix:" + dir + "/none", "no such file"},
		{"json:" + dir + "/none", "no such file"},
		{"pcap:" + dir, "is a directory"},
		{"pcap:" + text, "neither pcap nor pcapng"},
		{"ipfix:" + text, "want an IPFIX File"},
		{"iface:nosuch0", "no such interface"},
	} {
		if err := parse(t, tc.spec, Config{}).Check(); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", tc.spec, err, tc.want)
		}
	}
	if err := parse(t, "json:"+text, Config{}).Check(); err != nil {
		t.Error(err)
	}
}

// udpCapture is a pcap file (raw IPv4, microseconds) of one UDP packet every
// 100 ms from 192.0.2.1 to 192.0.2.2, source ports from 1000 on.
func udpCapture(packets int) []byte {
	le := binary.LittleEndian
	b := le.AppendUint32(nil, 0xa1b2c3d4)
	b = le.AppendUint16(b, 2)
	b = le.AppendUint16(b, 4)
	b = append(b, make([]byte, 8)...)
	b = le.AppendUint32(b, 65535)
	b = le.AppendUint32(b, uint32(capture.LinkRaw))
	for i := range packets {
		us := 1_700_000_000_000_000 + int64(i)*100_000
		b = le.AppendUint32(b, uint32(us/1e6))
		b = le.AppendUint32(b, uint32(us%1e6))
		b = le.AppendUint32(b, 32)
		b = le.AppendUint32(b, 32)
		p := []byte{0x45, 0, 0, 32, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2}
		p = binary.BigEndian.AppendUint16(p, uint16(1000+i))
		p = append(p, 0, 53, 0, 12, 0, 0, 1, 2, 3, 4)
		b = append(b, p...)
	}
	return b
}

func write(t *testing.T, data []byte) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "in")
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestPcap_LoopIsShiftedInTime(t *testing.T) {
	src := parse(t, "pcap:"+write(t, udpCapture(11))+"?loop=3", Config{})
	s, err := runs(t, src, -1)
	if err != nil {
		t.Fatal(err)
	}
	lines := s.got()
	if len(lines) != 33 {
		t.Fatalf("%d records of 3 passes over 11 flows", len(lines))
	}
	starts := make(map[string]int)
	for _, l := range lines {
		_, at, _ := strings.Cut(l, `"flowStartMilliseconds":"`)
		at, _, _ = strings.Cut(at, `"`)
		starts[at]++
	}
	// 1.7e9 is 22:13:20; passes begin 1.1 s apart.
	for _, want := range []string{"22:13:20.000", "22:13:21.000", "22:13:21.100", "22:13:22.100", "22:13:22.200", "22:13:23.200"} {
		if starts["2023-11-14T"+want] != 1 {
			t.Errorf("no flow begins at %s: %v", want, starts)
		}
	}
	if diff := cmp.Diff(Stats{Packets: 33, Octets: 33 * 32, Records: 33, Passes: 3}, src.Stats()); diff != "" {
		t.Error(diff)
	}
}

// The flow keys are those of metering: 5-tuple and interface (fields 0, 1,
// 3, 4, 5 and 9 of 13).
func TestPcap_FlowKeysAndStatistics_RFC7011_4(t *testing.T) {
	data := udpCapture(2)
	data = append(data, udpCapture(1)[24:]...)
	data[len(data)-32] = 0x75 // a version of IP that does not exist
	s, err := runs(t, parse(t, "pcap:"+write(t, data), Config{}), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	all := strings.Join(s.got(), "\n")
	for _, want := range []string{`"flowKeyIndicator":`, `"ignoredPacketTotalCount":1,"ignoredOctetTotalCount":32,`, `"exportedFlowRecordTotalCount":2,`, `"notSentFlowTotalCount":0,`} {
		if !strings.Contains(all, want) {
			t.Errorf("no %s in\n%s", want, all)
		}
	}
}

func TestPcap_CutOff(t *testing.T) {
	data := udpCapture(10)
	src := parse(t, "pcap:"+write(t, data[:len(data)-20]), Config{})
	s, err := runs(t, src, -1)
	if st := src.Stats(); err != nil || len(s.got()) != 9 || st.Faults != 1 || st.Packets != 9 {
		t.Errorf("%d records, %+v, %v", len(s.got()), st, err)
	}
}

func TestPcap_Pace(t *testing.T) {
	for _, tc := range []struct {
		spec string
		want time.Duration
	}{{"?pace=real", 2 * time.Second}, {"?pace=5", 4 * time.Second}, {"?pace=max", 0}, {"?pace=real&loop=2", 4100 * time.Millisecond}} {
		synctest.Test(t, func(t *testing.T) {
			begin := time.Now()
			s, err := runs(t, parse(t, "pcap:"+write(t, udpCapture(21))+tc.spec, Config{}), -1)
			if err != nil {
				t.Fatal(err)
			}
			if d := time.Since(begin); d < tc.want-50*time.Millisecond || d > tc.want+200*time.Millisecond || len(s.got())%21 != 0 {
				t.Errorf("%s: took %v, want %v; %d records", tc.spec, d, tc.want, len(s.got()))
			}
		})
	}
}

func TestPcap_StopsWithContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, err := export.New(export.Config{Dialer: newCapturing()})
		if err != nil {
			t.Fatal(err)
		}
		go e.Run(t.Context())
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		src := parse(t, "pcap:"+write(t, udpCapture(10))+"?loop=0&pace=real", Config{})
		if err := src.Run(ctx, e); err != nil {
			t.Error(err)
		}
		if n := src.Stats().Packets; n < 25 || n > 35 {
			t.Errorf("%d packets in 3 s", n)
		}
		if err := e.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestJSON(t *testing.T) {
	in := strings.Join([]string{
		`{"@exporter":"a","@domain":3,"sourceIPv4Address":"192.0.2.1","octetDeltaCount":77}`,
		``,
		`{"sourceIPv4Address":"not an address"}`,
		`{"sourceIPv4Address":"192.0.2.1","octetDeltaCount":`,
		`{"comment":"` + strings.Repeat("x", 3<<20) + `"}`,
		`{"octetDeltaCount":1,"sourceIPv6Address":"2001:db8::1"}`,
		`{"sourceIPv4Address":"192.0.2.2","octetDeltaCount":78}`,
		`{"@scope":1,"observationDomainId":5,"exportedMessageTotalCount":6}`, // no line end
	}, "\n")
	want := []string{
		`"sourceIPv4Address":"192.0.2.1","octetDeltaCount":77`,
		`"octetDeltaCount":1,"sourceIPv6Address":"2001:db8::1"`,
		`"sourceIPv4Address":"192.0.2.2","octetDeltaCount":78`,
		`"observationDomainId":5,"exportedMessageTotalCount":6`,
	}
	for _, src := range []Source{
		parse(t, "json:"+write(t, []byte(in)), Config{}),
		parse(t, "json:-", Config{Stdin: strings.NewReader(in)}),
	} {
		s, err := runs(t, src, -1)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, s.got()); diff != "" {
			t.Error(diff)
		}
		if st := src.Stats(); st.Records != 4 || st.Skipped != 3 {
			t.Errorf("%+v", st)
		}
	}
}

func TestJSON_SilentInputEndsWithContext(t *testing.T) {
	r, w := io.Pipe()
	defer w.Close()
	s := newCapturing()
	e, err := export.New(export.Config{Dialer: s})
	if err != nil {
		t.Fatal(err)
	}
	go e.Run(t.Context())
	ctx, cancel := context.WithCancel(t.Context())
	src := parse(t, "json:-", Config{Stdin: r})
	res := make(chan error, 1)
	go func() { res <- src.Run(ctx, e) }()
	fmt.Fprintln(w, `{"octetDeltaCount":1}`)
	fmt.Fprintln(w, `{"octetDeltaCount":2}`)
	cancel()
	if err := <-res; err != nil {
		t.Error(err)
	}
	if err := e.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// message is an IPFIX Message made by hand: domain 7, Export Time
// 1700000000.
func message(t *testing.T, sets string) []byte {
	t.Helper()
	body, err := hex.DecodeString(strings.Join(strings.Fields(sets), ""))
	if err != nil {
		t.Fatal(err)
	}
	b := binary.BigEndian.AppendUint16([]byte{0, 10}, uint16(16+len(body)))
	b = binary.BigEndian.AppendUint32(b, 1_700_000_000)
	b = append(b, 0, 0, 0, 0, 0, 0, 0, 7)
	return append(b, body...)
}

func TestIPFIX_RecordsKeepTheirMeaning(t *testing.T) {
	for _, tc := range []struct {
		name    string
		file    [][]byte
		want    []string
		faults  uint64
		skipped uint64
	}{
		{
			// Template 900: octetDeltaCount reduced to 4 octets, a string.
			name: "template under another id",
			file: [][]byte{
				message(t, `0002 0010 0384 0002 0001 0004 0052 ffff`),
				message(t, `0384 000d 0000002a 04 65746830`),
			},
			want: []string{`"octetDeltaCount":42,"interfaceName":"eth0"`},
		},
		{
			name: "withdrawn and defined anew",
			file: [][]byte{
				message(t, `0002 000c 0384 0001 0001 0004   0384 0008 0000002a`),
				message(t, `0002 0008 0384 0000`),
				message(t, `0384 0008 0000002b`),
				message(t, `0002 000c 0384 0001 0002 0004   0384 0008 0000002c`),
			},
			want:    []string{`"octetDeltaCount":42`, `"packetDeltaCount":44`},
			skipped: 1,
		},
		{
			// flowStartDeltaMicroseconds: 1.5 s before the Export Time.
			name: "times relative to the Export Time, RFC7011_5_1",
			file: [][]byte{message(t, `0002 0010 0384 0002 009e 0004 0001 0004   0384 000c 0016e360 0000002a`)},
			want: []string{`"flowStartMicroseconds":"2023-11-14T22:13:18.500000","octetDeltaCount":42`},
		},
		{
			// The flow keys of template 900, then of one that is not there.
			name: "options records that name a template, RFC7011_4_4",
			file: [][]byte{
				message(t, `0002 000c 0384 0001 0001 0004
					0003 0012 0385 0002 0001 0091 0002 00ad 0008
					0385 0018 0384 0000000000000003 0999 0000000000000003`),
			},
			want:    []string{`"templateId":256,"flowKeyIndicator":3`},
			skipped: 1,
		},
		{
			// Template 901 holds a subTemplateList of 900, 902 a basicList
			// of subTemplateLists of it.
			name: "lists that name a template, RFC6313",
			file: [][]byte{
				message(t, `0002 0014 0385 0001 0124 ffff 0386 0001 0123 ffff`),
				message(t, `0002 000c 0384 0001 0001 0004`),
				message(t, `0385 0010 0b 03 0384 00000001 00000002`),
				message(t, `0386 0012 0d 03 0124 ffff 07 04 0384 00000009`),
				message(t, `0385 0010 0b 03 0777 00000001 00000002`),
			},
			want: []string{
				`"subTemplateList":{"@semantic":"allOf","@template":258,"@records":[{"octetDeltaCount":1},{"octetDeltaCount":2}]}`,
				`"basicList":{"@semantic":"allOf","subTemplateList":[{"@semantic":"ordered","@template":258,"@records":[{"octetDeltaCount":9}]}]}`,
			},
			skipped: 1,
		},
		{
			// Options about one message, such as its checksum.
			name: "message scope",
			file: [][]byte{message(t, `0003 0012 0385 0002 0001 0107 0001 0106 0010   0385 0015 00 00112233445566778899aabbccddeeff`)},
		},
		{
			name: "garbage between messages",
			file: [][]byte{
				message(t, `0002 000c 0384 0001 0001 0004   0384 0008 0000002a`),
				bytes.Repeat([]byte{0xff}, 100),
				message(t, `0384 0008 0000002b`),
				message(t, `0384 00ff 0000002b`),
				message(t, `0384 0008 0000002c`),
			},
			want:   []string{`"octetDeltaCount":42`, `"octetDeltaCount":43`, `"octetDeltaCount":44`},
			faults: 2,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			src := parse(t, "ipfix:"+write(t, bytes.Join(tc.file, nil)), Config{})
			s, err := runs(t, src, -1)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, s.got()); diff != "" {
				t.Error(diff)
			}
			if st := src.Stats(); st.Faults != tc.faults || st.Skipped != tc.skipped || st.Records != uint64(len(tc.want)) {
				t.Errorf("%+v", st)
			}
			if len(tc.want) > 0 && s.templates[7] == nil {
				t.Error("the domain is not kept")
			}
		})
	}
}

func FuzzIPFIX(f *testing.F) {
	f.Add([]byte("\x00\x0a\x00\x20\x65\x53\xf1\x00\x00\x00\x00\x00\x00\x00\x00\x07\x00\x02\x00\x0c\x03\x84\x00\x01\x01\x24\xff\xff"))
	f.Fuzz(func(t *testing.T, data []byte) {
		s := newCapturing()
		e, err := export.New(export.Config{Dialer: s, StatsInterval: -1})
		if err != nil {
			t.Fatal(err)
		}
		src := parse(t, "ipfix:"+write(t, data), Config{})
		if err := src.Run(t.Context(), e); err != nil {
			t.Error(err)
		}
	})
}

func TestIface_Live(t *testing.T) {
	src := parse(t, "iface:lo", Config{})
	if err := src.Check(); err != nil {
		if errors.Is(err, capture.ErrNoCapability) {
			t.Skip("no live capture: ", err)
		}
		t.Fatal(err)
	}
	s := newCapturing()
	e, err := export.New(export.Config{Dialer: s, StatsInterval: -1})
	if err != nil {
		t.Fatal(err)
	}
	go e.Run(t.Context())
	ctx, cancel := context.WithCancel(t.Context())
	res := make(chan error, 1)
	go func() { res <- src.Run(ctx, e) }()
	to, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	from, err := net.Dial("udp4", to.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	// Others may use the interface as well: some go out after it is read.
	for end, read := time.Now().Add(10*time.Second), 0; read < 3 && time.Now().Before(end); {
		if src.Stats().Packets > 0 {
			read++
		}
		from.Write([]byte("hello"))
		time.Sleep(50 * time.Millisecond)
	}
	cancel()
	if err := <-res; err != nil {
		t.Error(err)
	}
	if err := e.Close(t.Context()); err != nil {
		t.Error(err)
	}
	port := fmt.Sprintf(`"destinationTransportPort":%d,`, to.LocalAddr().(*net.UDPAddr).Port)
	if all := strings.Join(s.got(), "\n"); !strings.Contains(all, port) {
		t.Errorf("no flow with %s in %q", port, all)
	}
}
