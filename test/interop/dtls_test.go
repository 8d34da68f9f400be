package interop

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"ipfixsuite/test/harness"
)

const pskKey = "00112233445566778899aabbccddeeff"

// pskFlags are our flags with a pre-shared key.
func pskFlags(t *testing.T, identity string) []string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "psk.txt")
	if err := os.WriteFile(file, []byte(identity+":"+pskKey+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return []string{"--psk-identity", identity, "--psk-file", file}
}

// The exporter as it is run, OpenSSL as the collector's end: what comes out of
// the DTLS there is read by libfixbuf.
func TestExporterToOpenSSL(t *testing.T) {
	t.Parallel()
	openssl, dump := harness.Tool(t, "openssl"), harness.Tool(t, "ipfixDump")
	pki := harness.NewPKI(t, "collector.example", "exporter.example")
	for _, row := range []struct {
		name           string
		server, export []string
	}{
		{"certificates", []string{
			"-cert", pki.Cert("collector.example"), "-key", pki.Key("collector.example"), "-CAfile", pki.CA(), "-Verify", "2", "-verify_return_error",
		}, pki.Flags("exporter.example")},
		{"pre-shared key", []string{"-nocert", "-psk", pskKey, "-psk_identity", "exporter-1"}, pskFlags(t, "exporter-1")},
	} {
		t.Run(row.name, func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "received.ipfix")
			port := harness.FreePort(t)
			args := append([]string{"s_server", "-dtls1_2", "-4", "-quiet", "-listen", "-accept", "127.0.0.1:" + strconv.Itoa(port)}, row.server...)
			harness.StartTo(t, out, openssl, args...)
			all := flows(40)
			sum := harness.Export(t, append([]string{
				"--source", "json:" + writeLines(t, all), "--to", fmt.Sprintf("dtls+udp://127.0.0.1:%d", port), "--mtu", "1500",
			}, row.export...)...)
			if sum["records_sent"] != float64(len(all)) || sum["sessions_opened"] != 1 {
				t.Errorf("summary %v", sum)
			}
			var got []flow
			harness.Until(t, "all flows at OpenSSL", func() bool {
				b, err := os.ReadFile(out)
				if err != nil {
					t.Fatal(err)
				}
				if len(b) == 0 || wholeMessages(b) != len(b) {
					return false // it is still writing
				}
				got = fromIpfixDump(t, harness.Run(t, dump, "--in", out))
				return len(got) >= len(all)
			})
			equal(t, all, got)
		})
	}
}

// GnuTLS echoes what it is sent and answers heartbeats.
func TestExporterToGnuTLS(t *testing.T) {
	pki := harness.NewPKI(t, "collector.example", "exporter.example")
	_, addr := harness.StartGnuTLS(t, pki, "collector.example")
	sum := harness.Export(t, append([]string{
		"--source", "json:" + writeLines(t, flows(40)), "--to", "dtls+udp://" + addr, "--mtu", "1500",
	}, pki.Flags("exporter.example")...)...)
	if sum["heartbeats_answered"] == 0 || sum["records_sent"] != 40 {
		t.Errorf("summary %v", sum)
	}
}

// OpenSSL's client hands our collector the messages it is fed.
func TestOpenSSLToCollector(t *testing.T) {
	openssl := harness.Tool(t, "openssl")
	pki := harness.NewPKI(t, "collector.example", "exporter.example")
	for _, row := range []struct {
		name           string
		collect, flags []string
		identity       string
	}{
		{"certificates", pki.Flags("collector.example"), []string{
			"-cert", pki.Cert("exporter.example"), "-key", pki.Key("exporter.example"), "-CAfile", pki.CA(), "-verify_return_error",
		}, "exporter.example"},
		{"pre-shared key", pskFlags(t, "exporter-1")[2:], []string{"-psk", pskKey, "-psk_identity", "exporter-1"}, "exporter-1"},
	} {
		t.Run(row.name, func(t *testing.T) {
			dir := t.TempDir()
			c := harness.StartCollector(t, append([]string{"--listen", "dtls+udp://127.0.0.1:0", "--sink", "json:" + dir, "--flush", "50ms"}, row.collect...)...)
			all := flows(20)
			// Without -nbio it is deaf to its input when the handshake ends within a read.
			client := harness.Start(t, openssl, append([]string{"s_client", "-dtls1_2", "-quiet", "-nocommands", "-nbio", "-connect", c.Addr}, row.flags...)...)
			c.Wait(`"msg":"session opened"`)
			for _, m := range messages(t, all) {
				// s_client makes one record of what one read gives it: a
				// message must not run into the next.
				client.Input(string(m))
				harness.Until(t, "s_client has read it", client.Read)
			}
			holds(t, dir+"/*", fmt.Sprintf(`"sourceTransportPort":%d,`, all[len(all)-1].SrcPort))
			_ = client.Cmd.Process.Kill()
			sum := c.Summary()
			if sum["records_received"] != float64(len(all)) || sum["messages_malformed"] != 0 || sum["records_lost"] != 0 {
				t.Errorf("summary %v", sum)
			}
			var got []flow
			for _, r := range harness.JSONLines(t, dir) {
				if r["@exporter"] != row.identity {
					t.Fatalf("exporter %v, want %s", r["@exporter"], row.identity)
				}
				var f flow
				for name, v := range r {
					f.set(t, name, strings.Replace(fmt.Sprint(v), "T", " ", 1))
				}
				got = append(got, f)
			}
			equal(t, all, got)
		})
	}
}

// relay passes datagrams between an exporter and a collector and keeps a copy
// of each, in order.
type relay struct {
	front, back *net.UDPConn
	mu          sync.Mutex
	passed      []datagram // in order
}

type datagram struct {
	up   bool
	data []byte
}

func startRelay(t *testing.T, to string) *relay {
	t.Helper()
	addr, err := net.ResolveUDPAddr("udp4", to)
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{}
	if r.front, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}); err != nil {
		t.Fatal(err)
	}
	if r.back, err = net.DialUDP("udp4", nil, addr); err != nil {
		t.Fatal(err)
	}
	var peer *net.UDPAddr
	var wg sync.WaitGroup
	wg.Go(func() { // ends when the test closes the socket
		for buf := make([]byte, 65536); ; {
			n, from, err := r.front.ReadFromUDP(buf)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			r.mu.Lock()
			peer = from
			r.passed = append(r.passed, datagram{true, bytes.Clone(buf[:n])})
			r.mu.Unlock()
			_, _ = r.back.Write(buf[:n])
		}
	})
	wg.Go(func() {
		for buf := make([]byte, 65536); ; {
			n, err := r.back.Read(buf)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			r.mu.Lock()
			to := peer
			r.passed = append(r.passed, datagram{false, bytes.Clone(buf[:n])})
			r.mu.Unlock()
			_, _ = r.front.WriteToUDP(buf[:n], to)
		}
	})
	t.Cleanup(func() { r.front.Close(); r.back.Close(); wg.Wait() })
	return r
}

// A stranger's eye on the wire sees no flow; with the key log tshark sees
// every one of them.
func TestTsharkDecryptsTheExporter(t *testing.T) {
	tshark := harness.Tool(t, "tshark")
	pki := harness.NewPKI(t, "collector.example", "exporter.example")
	c := harness.StartCollector(t, append([]string{"--listen", "dtls+udp://127.0.0.1:0", "--sink", "json:" + t.TempDir()}, pki.Flags("collector.example")...)...)
	r := startRelay(t, c.Addr)
	all, keylog := flows(60), filepath.Join(t.TempDir(), "keys.log")
	harness.Export(t, append([]string{
		"--source", "json:" + writeLines(t, all), "--to", "dtls+udp://" + r.front.LocalAddr().String(), "--mtu", "1500", "--keylog", keylog,
	}, pki.Flags("exporter.example")...)...)

	dir := t.TempDir()
	file, lua := filepath.Join(dir, "wire.pcap"), filepath.Join(dir, "ipfix.lua")
	r.mu.Lock()
	writePackets(t, file, 4740, func(put func(bool, []byte)) {
		for _, d := range r.passed {
			put(d.up, d.data)
		}
	})
	r.mu.Unlock()
	if err := os.WriteFile(lua, []byte(`DissectorTable.get("dtls.port"):add(4740, Dissector.get("cflow"))`), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"-X", "lua_script:" + lua, "-r", file, "-d", "udp.port==4740,dtls", "-Y", "cflow", "-T", "pdml"}
	if blind := fromPDML(t, harness.Run(t, tshark, args...)); len(blind) != 0 {
		t.Errorf("%d flows can be read without a key", len(blind))
	}
	equal(t, all, fromPDML(t, harness.Run(t, tshark, append(args, "-o", "tls.keylog_file:"+keylog)...)))
	if st, err := os.Stat(keylog); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("key log: %v %v", st.Mode(), err)
	}
}

// Who may not come in is told off, and the collector's log says why; those who
// may are not disturbed.
func TestCollectorRefuses(t *testing.T) {
	t.Parallel()
	pki := harness.NewPKI(t, "collector.example", "exporter.example", "stranger.test")
	other := harness.NewPKI(t, "exporter.example")
	c := harness.StartCollector(t, append([]string{"--listen", "dtls+udp://127.0.0.1:0", "--sink", "json:" + t.TempDir(), "--allow", "*.example"},
		append(pki.Flags("collector.example"), pskFlags(t, "psk.example")[2:]...)...)...)
	wrong := pskFlags(t, "psk.example")
	if err := os.WriteFile(wrong[3], []byte("psk.example:"+strings.Repeat("ff", 16)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	harness.Run(t, harness.Binary(t, "collector"), "pki", "issue", "--validity", "1s", string(pki), "expired.example")
	time.Sleep(1100 * time.Millisecond)
	lines := writeLines(t, flows(1))
	t.Run("refused", func(t *testing.T) { // each waits for --give-up
		for _, row := range []struct {
			name  string
			flags []string
			why   string
		}{
			{"another authority", []string{"--cert", other.Cert("exporter.example"), "--key", other.Key("exporter.example"), "--ca", pki.CA()}, "authority"},
			{"a name not allowed", pki.Flags("stranger.test"), "stranger.test"},
			{"an expired certificate", pki.Flags("expired.example"), ""},
			{"a wrong pre-shared key", wrong, "wrong pre-shared key"},
		} {
			t.Run(row.name, func(t *testing.T) {
				t.Parallel()
				_, stderr, err := harness.Try(t, harness.Binary(t, "exporter"), append([]string{
					"run", "--source", "json:" + lines, "--to", "dtls+udp://" + c.Addr, "--give-up", "6s",
				}, row.flags...)...)
				if err == nil {
					t.Fatalf("the exporter got in:\n%s", stderr)
				}
				if row.why == "" {
					return // nobody was asked
				}
				harness.Until(t, fmt.Sprintf("%q in the collector's log", row.why), func() bool {
					return slices.ContainsFunc(c.Lines(), func(l string) bool {
						return strings.Contains(l, `"level":"WARN"`) && strings.Contains(l, row.why)
					})
				})
			})
		}
	})
	sum := harness.Export(t, append([]string{"--source", "json:" + lines, "--to", "dtls+udp://" + c.Addr}, pki.Flags("exporter.example")...)...)
	if sum["records_sent"] != 1 {
		t.Errorf("the rightful exporter: %v", sum)
	}
	if sum := c.Summary(); sum["records_written"] != 1 || sum["sessions_opened"] != 1 {
		t.Errorf("collector: %v", sum)
	}
}
