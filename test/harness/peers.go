package harness

import (
	"fmt"
	"strconv"
	"testing"
)

// StartGnuTLS starts GnuTLS as a DTLS server that has the certificate of a
// name, wants one of its clients, answers heartbeats and echoes what it is
// sent. It returns its address, too.
func StartGnuTLS(t testing.TB, pki PKI, name string) (*Process, string) {
	t.Helper()
	port := FreePort(t)
	p := Start(t, Tool(t, "gnutls-serv"), "--udp", "--heartbeat", "--echo", "-p", strconv.Itoa(port), "--require-client-cert", "--verify-client-cert",
		"--x509cafile", pki.CA(), "--x509certfile", pki.Cert(name), "--x509keyfile", pki.Key(name))
	p.Wait("listening on IPv4")
	return p, fmt.Sprintf("127.0.0.1:%d", port)
}
