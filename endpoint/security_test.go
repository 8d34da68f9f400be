package endpoint

import (
	"strings"
	"testing"

	"ipfixsuite/transport"
)

// A session tells what protects it.
func TestSecurity(t *testing.T) {
	exporter, collector := creds(t)
	for scheme, want := range map[string]string{
		"dtls+udp": "DTLS 1.2", "dtls+sctp+udp": "DTLS 1.2", "dtls+dccp+udp": "DTLS 1.2", "tls+tcp": "TLS 1.3", "mta+tls+tcp": "TLS 1.3", "tcp": "",
	} {
		option, port := "", ":0"
		if strings.HasSuffix(scheme, "p+udp") && scheme != "dtls+udp" {
			option, port = outer(t), ":4740" // behind a UDP port of its own
		}
		l, err := Listen(parse(t, scheme+"://127.0.0.1"+port+option), Config{Credentials: collector})
		if err != nil {
			t.Fatal(err)
		}
		serve(t, l)
		e := parse(t, scheme+"://127.0.0.1"+option)
		e.Port = l.Addr().Port()
		d, err := Dialer(e, Config{Credentials: exporter})
		if err != nil {
			t.Fatal(err)
		}
		s, err := d.Dial(t.Context())
		if err != nil {
			t.Fatalf("%s: %v", scheme, err)
		}
		got := s.(transport.Secured).Security()
		if got.Version != want || strings.HasPrefix(got.Suite, "TLS_") != (want != "") || (got.Protocol != "") != (scheme == "mta+tls+tcp") {
			t.Errorf("%s: %+v", scheme, got)
		}
		if err := s.Close(t.Context()); err != nil {
			t.Errorf("%s: %v", scheme, err)
		}
	}
}
