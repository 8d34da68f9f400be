package tcp

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"ipfixsuite/transport"
)

// tool finds a program of others that judges us.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("IPFIXSUITE_REQUIRE_TOOLS") != "" {
			t.Fatalf("%s is not installed", name)
		}
		t.Skipf("%s is not installed", name)
	}
	return path
}

// start runs a program until the test's end; what it says is logged then.
func start(t *testing.T, stdin io.Reader, stdout io.Writer, name string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(tool(t, name), args...)
	var said bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, stdout, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s: %s", name, said.Bytes())
		}
	})
	return cmd
}

// freePort is one that nobody listens on, below those that connections take
// from the system.
func freePort(t *testing.T) int {
	t.Helper()
	for range 100 {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 12000+rand.IntN(8000)))
		if err == nil {
			defer l.Close()
			return l.Addr().(*net.TCPAddr).Port
		}
	}
	t.Fatal("no port is free")
	return 0
}

// Our sessions with servers that others wrote: what arrives there is what we
// sent; the second handshake resumes.
func TestInterop_TheirServer(t *testing.T) {
	ca := newAuthority(t)
	pem := []string{ca.File("collector.pem"), ca.File("collector-key.pem"), ca.File("ca.pem")}
	openssl := func(version string) func(int) []string {
		return func(port int) []string {
			return []string{"s_server", "-accept", fmt.Sprintf("127.0.0.1:%d", port), "-cert", pem[0], "-key", pem[1], "-CAfile", pem[2],
				"-Verify", "2", "-verify_return_error", "-quiet", version}
		}
	}
	gnutls := func(version string) func(int) []string {
		return func(port int) []string {
			return []string{"-p", strconv.Itoa(port), "--x509certfile", pem[0], "--x509keyfile", pem[1], "--x509cafile", pem[2],
				"--require-client-cert", "--verify-client-cert", "--echo", "--priority", "NORMAL:-VERS-ALL:+VERS-" + version}
		}
	}
	for _, row := range []struct {
		name, program string
		args          func(int) []string
	}{
		{"OpenSSL TLS 1.3", "openssl", openssl("-tls1_3")},
		{"OpenSSL TLS 1.2", "openssl", openssl("-tls1_2")},
		{"GnuTLS TLS 1.3", "gnutls-serv", gnutls("TLS1.3")},
		{"GnuTLS TLS 1.2", "gnutls-serv", gnutls("TLS1.2")},
	} {
		t.Run(row.name, func(t *testing.T) {
			port := freePort(t)
			out := filepath.Join(t.TempDir(), "out")
			f, err := os.Create(out)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			stdin, hold := io.Pipe() // its end would end a session
			defer hold.Close()
			start(t, stdin, f, row.program, row.args(port)...)
			d := ca.dialer(t, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(port)))
			var want []byte
			for i := range 2 {
				var s transport.Session
				eventually(t, "a session", func() bool {
					s, err = d.Dial(t.Context())
					return err == nil
				})
				if s.Peer().Identity != "collector" || s.Peer().Resumed != (i == 1) {
					t.Errorf("session %d: %+v", i, s.Peer())
				}
				for n := range 20 {
					m := message(1000+n*1000, n)
					want = append(want, m...)
					send(t, s, m)
				}
				if err := s.Close(t.Context()); err != nil {
					t.Error(err)
				}
			}
			if row.program != "openssl" {
				return // gnutls-serv shows nothing of what it reads; that it decrypts, its close says
			}
			eventually(t, "all octets", func() bool {
				got, err := os.ReadFile(out)
				return err == nil && bytes.Equal(got, want)
			})
		})
	}
}

// Clients that others wrote, replaying messages into our listener; GnuTLS's
// also on a session that it resumed.
func TestInterop_TheirClient(t *testing.T) {
	ca := newAuthority(t)
	l := serve(t, Config{Credentials: ca.Credentials(t, "collector")})
	addr := l.Addr().String()
	pem := []string{ca.File("exporter.pem"), ca.File("exporter-key.pem"), ca.File("ca.pem")}
	openssl := []string{"s_client", "-connect", addr, "-cert", pem[0], "-key", pem[1], "-CAfile", pem[2], "-verify_return_error", "-verify_hostname", "collector", "-quiet", "-no_ign_eof"}
	gnutls := []string{"--x509certfile", pem[0], "--x509keyfile", pem[1], "--x509cafile", pem[2], "--verify-hostname", "collector", "-p", strconv.Itoa(int(l.Addr().Port())), "127.0.0.1", "--priority"}
	for _, row := range []struct {
		name, program string
		args          []string
		resumes       bool
	}{
		{"OpenSSL TLS 1.3", "openssl", append(openssl[:len(openssl):len(openssl)], "-tls1_3"), false},
		{"OpenSSL TLS 1.2", "openssl", append(openssl[:len(openssl):len(openssl)], "-tls1_2"), false},
		{"GnuTLS TLS 1.3", "gnutls-cli", append(gnutls[:len(gnutls):len(gnutls)], "NORMAL:-VERS-ALL:+VERS-TLS1.3"), false},
		{"GnuTLS TLS 1.2", "gnutls-cli", append(gnutls[:len(gnutls):len(gnutls)], "NORMAL:-VERS-ALL:+VERS-TLS1.2"), false},
		{"GnuTLS TLS 1.3, resumed", "gnutls-cli", append(gnutls[:len(gnutls):len(gnutls)], "NORMAL:-VERS-ALL:+VERS-TLS1.3", "--resume", "--waitresumption"), true},
		{"GnuTLS TLS 1.2, resumed", "gnutls-cli", append(gnutls[:len(gnutls):len(gnutls)], "NORMAL:-VERS-ALL:+VERS-TLS1.2", "--resume"), true},
	} {
		t.Run(row.name, func(t *testing.T) {
			pr, pw := io.Pipe()
			start(t, pr, nil, row.program, row.args...)
			in := wait(t, l.Opened, "session")
			if row.resumes {
				wait(t, in.Over, "end of the first session")
				in = wait(t, l.Opened, "second session")
			}
			if in.Peer.Identity != "exporter" || in.Peer.Resumed != row.resumes {
				t.Errorf("identity %q, resumed %v", in.Peer.Identity, in.Peer.Resumed)
			}
			var want [][]byte
			w := bufio.NewWriter(pw)
			for i := range 30 {
				m := message(100+100*i, 0)
				// These programs read commands off lines' beginnings.
				for j := range m {
					if j >= headerLen {
						m[j] = 'x'
					}
				}
				want = append(want, m)
				_, _ = w.Write(m)
			}
			_ = w.Flush()
			got := in.Messages(t, len(want))
			for i := range want {
				if !bytes.Equal(got[i], want[i]) {
					t.Fatalf("message %d arrived otherwise", i)
				}
			}
			pw.Close()
			if err := wait(t, in.Over, "Closed"); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("closed: %v", err)
			}
		})
	}
	t.Run("without a certificate", func(t *testing.T) {
		cmd := exec.Command(tool(t, "openssl"), "s_client", "-connect", addr, "-CAfile", pem[2], "-quiet", "-tls1_2")
		cmd.Stdin = strings.NewReader("")
		done := make(chan error, 1)
		go func() { done <- cmd.Run() }()
		select {
		case err := <-done:
			if err == nil {
				t.Error("it was let in")
			}
		case <-time.After(20 * time.Second):
			_ = cmd.Process.Kill()
			t.Error("openssl does not end")
		}
	})
}
