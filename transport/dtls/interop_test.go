package dtls

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ipfixsuite/test/harness"
	"ipfixsuite/transport"
	"ipfixsuite/transport/credentials"
	"ipfixsuite/transport/dtls/record"
	"ipfixsuite/transport/udp"
)

// tool finds another implementation. Without it a test is skipped, in CI it
// fails.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("IPFIXSUITE_REQUIRE_TOOLS") == "1" {
			t.Fatalf("%s is demanded and not installed", name)
		}
		t.Skipf("%s is not installed", name)
	}
	return path
}

// peerProcess is another implementation at work.
type peerProcess struct {
	out *lockedBuffer
	in  io.WriteCloser
	cmd *exec.Cmd
}

func start(t *testing.T, name string, args ...string) *peerProcess {
	t.Helper()
	p := &peerProcess{out: &lockedBuffer{}, cmd: exec.CommandContext(t.Context(), tool(t, name), args...)}
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
		if t.Failed() {
			t.Logf("%s said:\n%s", name, p.out)
		}
	})
	return p
}

func (p *peerProcess) says(t *testing.T, what string, times int) {
	t.Helper()
	eventually(t, fmt.Sprintf("%q %d times from the peer", what, times), func() bool {
		return strings.Count(p.out.String(), what) >= times
	})
}

func udpDialer(port int, cfg Config) *Dialer {
	cfg.Retransmit = 200 * time.Millisecond
	to := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(port))
	return &Dialer{Config: cfg, Connect: func(ctx context.Context) (transport.DatagramConn, netip.AddrPort, error) {
		c, err := udp.Connect(ctx, to, udp.Config{})
		return c, to, err
	}}
}

func udpServe(t *testing.T, cfg Config) *serving {
	t.Helper()
	c, err := udp.Listen(netip.MustParseAddrPort("127.0.0.1:0"), udp.Config{})
	if err != nil {
		t.Fatal(err)
	}
	return serve(t, c, cfg)
}

// exporterSide is what an exporter of ours needs to meet a server of others.
type exporterSide struct {
	name string
	args []string // of the server
	cfg  Config
}

func exporterSides(t *testing.T, gnutls bool) []exporterSide {
	a := newAuthority(t, "test CA")
	ec, eck := a.issue(t, "collector.test", nil, false)
	rc, rck := a.issue(t, "rsa.test", nil, true)
	exporter := a.creds(t, "exporter.test", nil, nil)
	_, psk := pskConfigs(t, key1, key1)
	with := func(cfg Config, suites ...record.Suite) Config { cfg.Suites = suites; return cfg }
	if gnutls {
		x509 := func(cert, key string, extra ...string) []string {
			return append([]string{"--require-client-cert", "--verify-client-cert", "--x509cafile=" + a.ca(), "--x509certfile=" + cert, "--x509keyfile=" + key}, extra...)
		}
		passwd := pskFile(t, "exporter-1:"+key1+"\n")
		p := func(priority string) []string { return []string{"--pskpasswd=" + passwd, "--priority=" + priority} }
		return []exporterSide{
			{"ECDSA", x509(ec, eck), Config{Credentials: exporter, ServerName: "collector.test"}},
			{"ECDSA AES-256", x509(ec, eck), with(Config{Credentials: exporter, ServerName: "collector.test"}, record.ECDHEECDSAAES256GCM)},
			{"ECDSA ChaCha20", x509(ec, eck), with(Config{Credentials: exporter, ServerName: "collector.test"}, record.ECDHEECDSAChaCha20)},
			{"RSA", x509(rc, rck), Config{Credentials: exporter, ServerName: "rsa.test"}},
			{"PSK", p("NORMAL:-KX-ALL:+PSK"), with(psk, record.PSKAES128GCM)},
			{"PSK ChaCha20", p("NORMAL:-KX-ALL:+PSK"), with(psk, record.PSKChaCha20)},
			{"ECDHE-PSK ChaCha20", p("NORMAL:-KX-ALL:+ECDHE-PSK"), with(psk, record.ECDHEPSKChaCha20)},
		}
	}
	x509 := func(cert, key string) []string {
		return []string{"-Verify", "1", "-verify_return_error", "-CAfile", a.ca(), "-cert", cert, "-key", key}
	}
	p := []string{"-nocert", "-psk", key1, "-psk_identity", "exporter-1", "-cipher", "ALL"}
	return []exporterSide{
		{"ECDSA", x509(ec, eck), Config{Credentials: exporter, ServerName: "collector.test"}},
		{"ECDSA AES-256", x509(ec, eck), with(Config{Credentials: exporter, ServerName: "collector.test"}, record.ECDHEECDSAAES256GCM)},
		{"ECDSA ChaCha20", x509(ec, eck), with(Config{Credentials: exporter, ServerName: "collector.test"}, record.ECDHEECDSAChaCha20)},
		{"RSA", x509(rc, rck), Config{Credentials: exporter, ServerName: "rsa.test"}},
		{"PSK", p, with(psk, record.PSKAES128GCM)},
		{"PSK ChaCha20", p, with(psk, record.PSKChaCha20)},
		{"ECDHE-PSK ChaCha20", p, with(psk, record.ECDHEPSKChaCha20)},
	}
}

// Our exporter, OpenSSL's server: full and resumed; no heartbeat there.
func TestInteropOpenSSLServer(t *testing.T) {
	for _, c := range exporterSides(t, false) {
		t.Run(c.name, func(t *testing.T) {
			port := harness.FreePort(t)
			p := start(t, "openssl", append([]string{"s_server", "-dtls1_2", "-accept", fmt.Sprintf("127.0.0.1:%d", port)}, c.args...)...)
			d := udpDialer(port, c.cfg)
			for i := range 2 {
				s := dial(t, d)
				if s.Peer().Resumed != (i == 1) {
					t.Errorf("session %d: resumed %v", i, s.Peer().Resumed)
				}
				send(t, s, "first message\n", fmt.Sprintf("second message %d\n", i))
				p.says(t, "first message", i+1)
				p.says(t, fmt.Sprintf("second message %d", i), 1)
				if err := s.Probe(t.Context()); !errors.Is(err, transport.ErrNoProbe) {
					t.Errorf("probe: %v", err)
				}
				if err := s.Close(t.Context()); err != nil {
					t.Error(err)
				}
				if i == 0 {
					p.says(t, "DONE", 1)
				}
			}
		})
	}
}

// Our exporter, GnuTLS's server: heartbeats answered, full and resumed.
func TestInteropGnuTLSServer(t *testing.T) {
	for _, c := range exporterSides(t, true) {
		t.Run(c.name, func(t *testing.T) {
			port := harness.FreePort(t)
			p := start(t, "gnutls-serv", append([]string{"--udp", "--heartbeat", "--echo", "-p", fmt.Sprint(port)}, c.args...)...)
			d := udpDialer(port, c.cfg)
			for i := range 2 {
				s := dial(t, d)
				if i == 1 && !s.Peer().Resumed {
					t.Log("gnutls-serv did not resume")
				}
				send(t, s, "a message")
				probe(t, s)
				// What it echoes is no heartbeat: counted.
				eventually(t, "the echo", func() bool { return s.Stats().RecordsDropped > 0 })
				if st := s.Stats(); st.ProbesAnswered != 1 {
					t.Errorf("stats %+v", st)
				}
				_ = s.Close(t.Context())
			}
			_ = p
		})
	}
}

// OpenSSL's client, our collector: full and resumed.
func TestInteropOpenSSLClient(t *testing.T) {
	a := newAuthority(t, "test CA")
	cert, key := a.issue(t, "exporter.test", nil, false)
	psk, _ := pskConfigs(t, key1, key1)
	for _, c := range []struct {
		name, identity string
		cfg            Config
		args           []string
	}{
		{"X.509", "exporter.test", Config{Credentials: a.creds(t, "collector.test", nil, nil)},
			[]string{"-CAfile", a.ca(), "-cert", cert, "-key", key, "-verify_return_error", "-verify_hostname", "collector.test"}},
		{"PSK", "exporter-1", psk, []string{"-psk", key1, "-psk_identity", "exporter-1", "-cipher", "PSK-AES128-GCM-SHA256"}},
		{"ECDHE-PSK", "exporter-1", psk, []string{"-psk", key1, "-psk_identity", "exporter-1", "-cipher", "ECDHE-PSK-CHACHA20-POLY1305"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			tool(t, "openssl")
			l := udpServe(t, c.cfg)
			saved := filepath.Join(t.TempDir(), "session")
			for i, use := range []string{"-sess_out", "-sess_in"} {
				// Where it blocks (no -nbio), a last flight that comes twice makes it
				// deaf to its input.
				p := start(t, "openssl", append([]string{"s_client", "-nbio", "-dtls1_2", "-connect", l.Addr().String(), use, saved}, c.args...)...)
				got := l.session(t)
				if got.peer.Identity != c.identity || got.peer.Resumed != (i == 1) {
					t.Errorf("session %d: %+v", i, got.peer)
				}
				fmt.Fprintf(p.in, "message %d\n", i)
				expect(t, got, fmt.Sprintf("message %d\n", i))
				fmt.Fprint(p.in, "Q\n")
				wait(t, got.closed, "close_notify")
				if got.reason != nil {
					t.Errorf("closed with %v", got.reason)
				}
			}
		})
	}
}

// GnuTLS's client, our collector: full and, by its own --resume, resumed.
func TestInteropGnuTLSClient(t *testing.T) {
	a := newAuthority(t, "test CA")
	cert, key := a.issue(t, "exporter.test", nil, false)
	psk, _ := pskConfigs(t, key1, key1)
	for _, c := range []struct {
		name, identity string
		cfg            Config
		resume         bool // gnutls-cli 3.7.9 stops after its first ECDHE-PSK session
		args           []string
	}{
		{"X.509", "exporter.test", Config{Credentials: a.creds(t, "collector.test", nil, nil)}, true,
			[]string{"--x509cafile=" + a.ca(), "--x509certfile=" + cert, "--x509keyfile=" + key, "--verify-hostname=collector.test"}},
		{"PSK", "exporter-1", psk, true, []string{"--pskusername=exporter-1", "--pskkey=" + key1, "--priority=NORMAL:-KX-ALL:+PSK"}},
		{"ECDHE-PSK", "exporter-1", psk, false, []string{"--pskusername=exporter-1", "--pskkey=" + key1, "--priority=NORMAL:-KX-ALL:+ECDHE-PSK"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			tool(t, "gnutls-cli")
			l := udpServe(t, c.cfg)
			args := append([]string{"--udp", "--heartbeat", "-p", fmt.Sprint(l.Addr().Port()), "127.0.0.1"}, c.args...)
			if c.resume {
				args = append(args, "--resume")
			}
			p := start(t, "gnutls-cli", args...)
			got := l.session(t)
			if got.peer.Resumed || got.peer.Identity != c.identity || got.props.Confirms != transport.ConfirmProcess {
				t.Errorf("first session %+v %+v", got.peer, got.props)
			}
			if !c.resume {
				return
			}
			got = l.session(t)
			if !got.peer.Resumed || got.peer.Identity != c.identity {
				t.Errorf("second session %+v", got.peer)
			}
			fmt.Fprint(p.in, "a message\n")
			expect(t, got, "a message\n")
			_ = p.in.Close()
			wait(t, got.closed, "close_notify")
		})
	}
}

// ipfixMessage is a template of two fields and one record of it, by hand from
// RFC 7011: sourceIPv4Address 192.0.2.33, octetDeltaCount 4711.
const ipfixMessage = "000a0034655f1a2b0000000000000007" +
	"00020010" + "01000002" + "00080004" + "00010008" +
	"01000014" + "c0000221" + "0000000000001267" + "00000000"

// tshark, given our key log, finds the IPFIX in what we sent: with a plain
// session, one under a Connection ID, and a resumed one.
func TestInteropTsharkDecrypts(t *testing.T) {
	tshark := tool(t, "tshark")
	message, err := hex.DecodeString(ipfixMessage)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		suite record.Suite
		cid   bool
		count int
	}{
		{"AES-128-GCM", record.ECDHEECDSAAES128GCM, false, 1},
		{"AES-256-GCM", record.ECDHEECDSAAES256GCM, false, 1},
		// ChaCha20-Poly1305 tshark 4.0 does not decrypt in DTLS; OpenSSL and
		// GnuTLS do, above.
		{"resumed", record.ECDHEECDSAAES128GCM, false, 2},
		{"Connection ID", record.ECDHEECDSAAES128GCM, true, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			keys := filepath.Join(dir, "keys")
			a := newAuthority(t, "test CA")
			collector := Config{Credentials: a.creds(t, "collector.test", nil, nil), ConnectionID: c.cid}
			exporter := Config{ServerName: "collector.test", ConnectionID: c.cid, Suites: []record.Suite{c.suite}}
			exporter.Credentials = a.creds(t, "exporter.test", func(cfg *credentials.Config) { cfg.KeyLogFile = keys }, nil)
			n := newMemNetwork()
			pcap := newPcap(t, filepath.Join(dir, "dtls.pcap"))
			n.setFilter(func(from, to netip.AddrPort, b []byte) [][]byte {
				pcap.add(from, to, b)
				return [][]byte{b}
			})
			l := serve(t, n.listen(collectorAddr), collector)
			d := memDialer(n, collectorAddr, exporter, addrN(1), addrN(2))
			for range c.count {
				s := dial(t, d)
				send(t, s, string(message))
				expect(t, l.session(t), string(message))
				probe(t, s)
				_ = s.Close(t.Context())
			}
			_ = l.stop()
			pcap.close(t)
			plain := fields(t, tshark, pcap.name, "data.data", "-o", "tls.keylog_file:"+keys,
				"-d", "udp.port==4740,dtls", "-d", "dtls.port==4740,data")
			if want := slices.Repeat([]string{ipfixMessage}, c.count); !slices.Equal(plain, want) {
				t.Fatalf("tshark decrypted %q, want %q", plain, want)
			}
			// tshark takes no dissector of IPFIX for what it decrypts: it gets
			// that once more in the clear.
			clear := newPcap(t, filepath.Join(dir, "clear.pcap"))
			octets, err := hex.DecodeString(plain[0])
			if err != nil {
				t.Fatal(err)
			}
			clear.add(netip.MustParseAddrPort(addrN(1)), netip.MustParseAddrPort("198.51.100.1:4739"), octets)
			clear.close(t)
			for field, want := range map[string]string{"cflow.version": "10", "cflow.srcaddr": "192.0.2.33", "cflow.octets": "4711"} {
				if got := fields(t, tshark, clear.name, field, "-d", "udp.port==4739,cflow"); !slices.Equal(got, []string{want}) {
					t.Errorf("%s is %q, want %s", field, got, want)
				}
			}
		})
	}
}

// fields are tshark's values of one field, of the packets that have it.
func fields(t *testing.T, tshark, pcap, field string, args ...string) []string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), tshark, append([]string{"-r", pcap, "-Y", field, "-T", "fields", "-e", field}, args...)...)
	var complaint strings.Builder
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("tshark: %v: %s", err, complaint.String())
	}
	return strings.Fields(string(out))
}
