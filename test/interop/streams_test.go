package interop

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"ipfixsuite/test/harness"
)

// fixbuf compiles libfixbuf/peer.c.
func fixbuf(t *testing.T) string {
	t.Helper()
	flags, err := exec.Command(harness.Tool(t, "pkg-config"), "--cflags", "--libs", "libfixbuf").Output()
	if err != nil {
		harness.Missing(t, "libfixbuf-dev is not installed")
	}
	program := filepath.Join(t.TempDir(), "peer")
	args := append([]string{"-O1", "-o", program, filepath.Join("libfixbuf", "peer.c")}, strings.Fields(string(flags))...)
	harness.Run(t, harness.Tool(t, "gcc"), args...)
	return program
}

// libfixbuf as the Collecting Process, over TCP: the same values, in sessions
// that follow each other each second.
func TestStream_LibfixbufCollects(t *testing.T) {
	t.Parallel()
	program := fixbuf(t)
	all := flows(120)
	for _, row := range []struct {
		name     string
		sessions float64
	}{{"one session", 1}, {"a session a second", 3}} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			port, out := harness.FreePort(t), filepath.Join(t.TempDir(), "out")
			p := harness.StartTo(t, out, program, "listen", strconv.Itoa(port), "1000")
			p.Wait("listening")
			sum := overSessions(t, int(row.sessions), all, "tcp://127.0.0.1:"+strconv.Itoa(port))
			var got []flow
			harness.Until(t, "all flows at libfixbuf", func() bool {
				b, err := os.ReadFile(out)
				if err != nil {
					t.Fatal(err)
				}
				if bytes.Count(b, []byte("flowEndMilliseconds")) < len(all) || !bytes.HasSuffix(b, []byte("\n")) {
					return false
				}
				got = fromIpfixDump(t, b)
				return len(got) >= len(all)
			})
			equal(t, all, got)
			if sum["sessions_opened"] < row.sessions || sum["records_dropped"] != 0 {
				t.Errorf("%v", sum)
			}
			t.Logf("%v sessions", sum["sessions_opened"])
		})
	}
}

// overSessions has the exporter send the flows over n sessions at least, which
// replace each other each second.
func overSessions(t *testing.T, n int, all []flow, to string, args ...string) map[string]float64 {
	t.Helper()
	args = append([]string{"--source", "json:-", "--to", to}, args...)
	if n > 1 {
		args = append(args, "--rotate", "1s")
	}
	e := harness.StartExporter(t, args...)
	for i := range n {
		harness.Until(t, "a session", func() bool { return len(e.Logged("session replaced")) >= i })
		for k := i * len(all) / n; k < (i+1)*len(all)/n; k++ {
			e.Input(all[k].line() + "\n")
		}
	}
	e.EndInput()
	return e.Summary(time.Minute)
}

// libfixbuf as the Exporting Process, over TCP.
func TestStream_LibfixbufExports(t *testing.T) {
	program := fixbuf(t)
	const n = 500
	dir := t.TempDir()
	c := harness.StartCollector(t, "--listen", "tcp://127.0.0.1:0", "--sink", "json:"+dir)
	_, port, _ := strings.Cut(c.Addr, ":")
	harness.Run(t, program, "export", port, strconv.Itoa(n))
	c.Wait("session closed")
	sum := c.Summary()
	records := harness.JSONLines(t, dir)
	if sum["records_received"] != n || sum["records_lost"] != 0 || sum["records_undecodable"] != 0 || sum["messages_malformed"] != 0 || len(records) != n {
		t.Errorf("%d records written, %v", len(records), sum)
	}
	start := time.UnixMilli(1793696887123).UTC()
	for i, r := range records {
		begin := start.Add(time.Duration(i) * 1357 * time.Millisecond)
		for name, want := range map[string]string{
			"sourceIPv4Address": fmt.Sprintf("192.0.2.%d", i%250+1), "destinationIPv4Address": fmt.Sprintf("198.51.100.%d", i%199+1),
			"sourceTransportPort": strconv.Itoa(1024 + i), "destinationTransportPort": strconv.Itoa(443 + i), "octetDeltaCount": strconv.Itoa(1000000007 * (i + 1)),
			"packetDeltaCount": strconv.Itoa(3*i + 1), "ipClassOfService": strconv.Itoa(i % 64 * 4), "tcpControlBits": strconv.Itoa(i % 64),
			"ingressInterface": strconv.Itoa(i + 1), "egressInterface": strconv.Itoa(100000 + i),
			"flowStartMilliseconds": begin.Format(ms), "flowEndMilliseconds": begin.Add(time.Duration(i+1) * 11 * time.Millisecond).Format(ms),
		} {
			if got := strings.TrimSuffix(fmt.Sprint(r[name]), "Z"); got != want {
				t.Fatalf("record %d: %s is %s, want %s", i, name, got, want)
			}
		}
	}
}

// versions of TLS, as OpenSSL and GnuTLS name them.
var versions = []struct{ name, openssl, gnutls string }{
	{"TLS 1.3", "-tls1_3", "NORMAL:-VERS-ALL:+VERS-TLS1.3"},
	{"TLS 1.2", "-tls1_2", "NORMAL:-VERS-ALL:+VERS-TLS1.2"},
}

// Our exporter and OpenSSL's server: what it wrote is read by ipfixDump. The
// connection is cut in the middle; the next one resumes its TLS session.
func TestStream_OpenSSLServer(t *testing.T) {
	t.Parallel()
	openssl, dump := harness.Tool(t, "openssl"), harness.Tool(t, "ipfixDump")
	pki := harness.NewPKI(t, "collector", "exporter")
	all := flows(120)
	for _, v := range versions {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			server, out := fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t)), filepath.Join(t.TempDir(), "out.ipfix")
			harness.StartTo(t, out, openssl, "s_server", "-accept", server, "-cert", pki.Cert("collector"), "-key", pki.Key("collector"),
				"-CAfile", pki.CA(), "-Verify", "2", "-verify_return_error", "-quiet", v.openssl)
			connect(t, server)
			tap := newTap(t, server)
			e := harness.StartExporter(t, append([]string{"--source", "json:-", "--to", "tls+tcp://" + tap.addr}, pki.Flags("exporter")...)...)
			feed := func(all []flow) {
				for i := range all {
					e.Input(all[i].line() + "\n")
				}
			}
			read := func(least int) (got []flow) {
				harness.Until(t, fmt.Sprintf("%d flows at OpenSSL", least), func() bool {
					b, err := os.ReadFile(out)
					if err != nil {
						t.Fatal(err)
					}
					if wholeMessages(b) != len(b) {
						return false // it is still writing
					}
					got = fromIpfixDump(t, harness.Run(t, dump, "--in", out, "--rfc5610"))
					return len(distinct(got)) >= least
				})
				return got
			}
			feed(all[:60])
			read(60)
			harness.Until(t, "a ticket", tap.ticketed)
			tap.cut()
			e.Wait("session lost")
			feed(all[60:])
			if line := e.Wait(`"resumed":true`); !strings.Contains(line, "session opened") {
				t.Errorf("%s", line)
			}
			e.EndInput()
			sum := e.Summary(30 * time.Second)
			got := read(len(all))
			if again := len(got) - len(all); again < 0 || float64(again) > sum["records_replayed"] {
				t.Errorf("%d flows again, %v", again, sum)
			}
			equal(t, all, distinct(got))
			if sum["sessions_resumed"] < 1 || sum["records_dropped"] != 0 {
				t.Errorf("%v", sum)
			}
		})
	}
}

// wholeMessages is how long the messages are that b begins with.
func wholeMessages(b []byte) (n int) {
	for len(b)-n >= 16 && int(binary.BigEndian.Uint16(b[n+2:])) >= 16 && len(b)-n >= int(binary.BigEndian.Uint16(b[n+2:])) {
		n += int(binary.BigEndian.Uint16(b[n+2:]))
	}
	return n
}

// distinct leaves out what was read already; source ports are all different.
func distinct(all []flow) (once []flow) {
	seen := map[uint16]bool{}
	for _, f := range all {
		if !seen[f.SrcPort] {
			seen[f.SrcPort] = true
			once = append(once, f)
		}
	}
	return once
}

var gnutlsData = regexp.MustCompile(`Decrypted Packet\[\d+\] Application Data\(23\) with length: (\d+)`)

// Our exporter and GnuTLS's server, a session each second, resumed. It shows
// nothing of what it reads but how much: that is what tshark finds there with
// our keys, and ipfixDump reads it.
func TestStream_GnuTLSServer(t *testing.T) {
	t.Parallel()
	gnutls, dump := harness.Tool(t, "gnutls-serv"), harness.Tool(t, "ipfixDump")
	pki := harness.NewPKI(t, "collector", "exporter")
	all := flows(120)
	for _, v := range versions {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			port := harness.FreePort(t)
			server := harness.Start(t, gnutls, "-d", "5", "--echo", "-p", strconv.Itoa(port), "--require-client-cert", "--verify-client-cert",
				"--x509cafile", pki.CA(), "--x509certfile", pki.Cert("collector"), "--x509keyfile", pki.Key("collector"), "--priority", v.gnutls)
			connect(t, fmt.Sprintf("127.0.0.1:%d", port))
			tap := newTap(t, fmt.Sprintf("127.0.0.1:%d", port))
			keys := filepath.Join(t.TempDir(), "keys")
			sum := overSessions(t, 3, all, "tls+tcp://"+tap.addr, append(pki.Flags("exporter"), "--keylog", keys)...)
			var got []flow
			sent, unused := 0, 0
			for i, s := range tap.decrypted(keys) {
				if len(s) == 0 { // begun when the exporter ended
					unused++
					continue
				}
				if wholeMessages(s) != len(s) {
					t.Errorf("session %d: %d octets in messages of %d", i, len(s), wholeMessages(s))
				}
				sent += len(s)
				file := filepath.Join(t.TempDir(), fmt.Sprint(i))
				if err := os.WriteFile(file, s, 0o600); err != nil {
					t.Fatal(err)
				}
				got = append(got, fromIpfixDump(t, harness.Run(t, dump, "--in", file, "--rfc5610"))...)
			}
			equal(t, all, got)
			if sum["sessions_resumed"] < 1 || sum["records_dropped"] != 0 || sum["records_replayed"] != 0 {
				t.Errorf("%v", sum)
			}
			read, resumed := 0, 0
			harness.Until(t, "GnuTLS has read all", func() bool {
				read, resumed = 0, 0
				for _, line := range server.Lines() {
					if m := gnutlsData.FindStringSubmatch(line); m != nil {
						read += int(num(t, m[1]))
					}
					if strings.Contains(line, "This is a resumed session") {
						resumed++
					}
				}
				return read >= sent
			})
			if again := float64(resumed) - sum["sessions_resumed"]; read != sent || unused > 1 || again < 0 || again > float64(unused) {
				t.Errorf("GnuTLS read %d octets of %d, in %d resumed sessions and %d unused ones: %v", read, sent, resumed, unused, sum)
			}
			t.Logf("%d octets in %v sessions, %d resumed", sent, sum["sessions_opened"], resumed)
		})
	}
}

// OpenSSL's client replays an IPFIX file into our collector, twice: the second
// time it resumes the first session.
func TestStream_OpenSSLClientReplaysFile(t *testing.T) {
	t.Parallel()
	openssl := harness.Tool(t, "openssl")
	pki := harness.NewPKI(t, "collector", "exporter")
	all := flows(120)
	archive := filepath.Join(t.TempDir(), "archive")
	c := harness.StartCollector(t, "--listen", "tcp://127.0.0.1:0", "--sink", "ipfix:"+archive)
	harness.Export(t, "--source", "json:"+writeLines(t, all), "--to", "tcp://"+c.Addr)
	c.Summary()
	files, err := filepath.Glob(filepath.Join(archive, "*.ipfix"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%v, %v", files, err)
	}
	file, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range versions {
		t.Run(v.name, func(t *testing.T) {
			dir, ticket := t.TempDir(), filepath.Join(t.TempDir(), "ticket")
			c := harness.StartCollector(t, append([]string{"--listen", "tls+tcp://127.0.0.1:0", "--sink", "json:" + dir}, pki.Flags("collector")...)...)
			for _, resume := range []string{"-sess_out", "-sess_in"} {
				p := harness.Start(t, openssl, "s_client", "-connect", c.Addr, "-cert", pki.Cert("exporter"), "-key", pki.Key("exporter"), "-CAfile", pki.CA(),
					"-servername", "localhost", "-verify_hostname", "localhost", "-verify_return_error", "-quiet", "-nocommands", "-no_ign_eof", v.openssl, resume, ticket)
				if _, err := p.Write(file); err != nil {
					t.Fatal(err)
				}
				harness.Until(t, "a ticket", func() bool {
					st, err := os.Stat(ticket)
					return err == nil && st.Size() > 0
				})
				p.EndInput()
				p.End()
			}
			harness.Until(t, "two sessions to end", func() bool {
				n := 0
				for _, line := range c.Lines() {
					if strings.Contains(line, `"msg":"session closed"`) {
						n++
					}
				}
				return n == 2
			})
			sum := c.Summary()
			var got []flow
			for _, r := range harness.JSONLines(t, dir) {
				if r["sourceTransportPort"] != nil {
					got = append(got, flowOfJSON(t, r))
				}
			}
			if len(got) != 2*len(all) {
				t.Errorf("%d flows", len(got))
			}
			equal(t, all, distinct(got))
			if sum["sessions_opened"] != 2 || sum["sessions_resumed"] != 1 || sum["messages_malformed"] != 0 || sum["records_undecodable"] != 0 {
				t.Errorf("%v", sum)
			}
		})
	}
}

// flowOfJSON reads a line of our JSON sink.
func flowOfJSON(t *testing.T, r map[string]any) (f flow) {
	t.Helper()
	for name, v := range r {
		s := fmt.Sprint(v)
		if strings.HasPrefix(name, "flow") {
			s = strings.TrimSuffix(strings.Replace(s, "T", " ", 1), "Z")
		}
		f.set(t, name, s)
	}
	return f
}

// softflowd over TCP has our collector write what it does over UDP.
func TestStream_Softflowd(t *testing.T) {
	t.Parallel()
	program := harness.Tool(t, "softflowd")
	if os.Getuid() != 0 {
		harness.Missing(t, "softflowd changes its user and needs root")
	}
	pcap := filepath.Join(harness.Root(t), "testdata", "mixed.pcap")
	var lines [2]map[string]int
	for i, transport := range []string{"udp", "tcp"} {
		dir, ctl := t.TempDir(), t.TempDir()
		c := harness.StartCollector(t, "--listen", transport+"://127.0.0.1:0", "--sink", "json:"+dir)
		harness.Run(t, program, "-r", pcap, "-n", c.Addr, "-v", "10", "-P", transport, "-d", "-p", filepath.Join(ctl, "pid"), "-c", "none")
		if transport == "tcp" {
			c.Wait("session closed") // the kernel has had it since softflowd ended
		}
		got := c.Summary()
		if got["records_undecodable"] != 0 || got["messages_malformed"] != 0 || got["records_received"] == 0 {
			t.Errorf("%s: %v", transport, got)
		}
		lines[i] = map[string]int{}
		for _, r := range harness.JSONLines(t, dir) {
			lines[i][fmt.Sprint(r["sourceIPv4Address"], r["sourceIPv6Address"], r["destinationIPv4Address"], r["destinationIPv6Address"], r["sourceTransportPort"],
				r["destinationTransportPort"], r["protocolIdentifier"], r["octetDeltaCount"], r["packetDeltaCount"])]++
		}
	}
	if len(lines[0]) < 100 || fmt.Sprint(lines[0]) != fmt.Sprint(lines[1]) {
		t.Errorf("%d flows over UDP, %d over TCP, or others", len(lines[0]), len(lines[1]))
	}
	t.Logf("%d flows", len(lines[1]))
}
