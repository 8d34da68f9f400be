package transport

import (
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseEndpoint(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want Endpoint
		str  string
	}{
		{"udp://collector.example", Endpoint{Scheme: "udp", Host: "collector.example", Port: 4739}, "udp://collector.example:4739"},
		{"dtls+udp://Collector.Example.", Endpoint{Scheme: "dtls+udp", Host: "collector.example", Port: 4740}, "dtls+udp://collector.example:4740"},
		{"DTLS+UDP://10.0.0.1:5000/", Endpoint{Scheme: "dtls+udp", Host: "10.0.0.1", Port: 5000}, "dtls+udp://10.0.0.1:5000"},
		{"tls+tcp://h", Endpoint{Scheme: "tls+tcp", Host: "h", Port: 4740}, "tls+tcp://h:4740"},
		{"mta+tls+tcp://h", Endpoint{Scheme: "mta+tls+tcp", Host: "h", Port: 4740}, "mta+tls+tcp://h:4740"},
		{"tcp://h:", Endpoint{Scheme: "tcp", Host: "h", Port: 4739}, "tcp://h:4739"},
		{"sctp+udp://h?encap=9899", Endpoint{Scheme: "sctp+udp", Host: "h", Port: 4739, Query: url.Values{"encap": {"9899"}}}, "sctp+udp://h:4739?encap=9899"},
		{"dtls+dccp+udp://h", Endpoint{Scheme: "dtls+dccp+udp", Host: "h", Port: 4740}, "dtls+dccp+udp://h:4740"},
		{"udp://[2001:DB8::1]:1", Endpoint{Scheme: "udp", Host: "2001:db8::1", Port: 1}, "udp://[2001:db8::1]:1"},
		{"udp://[::1]", Endpoint{Scheme: "udp", Host: "::1", Port: 4739}, "udp://[::1]:4739"},
		{"udp://[fe80::1%eth0]", Endpoint{Scheme: "udp", Host: "fe80::1%eth0", Port: 4739}, "udp://[fe80::1%25eth0]:4739"},
		{"udp://[fe80::1%25eth0]:7", Endpoint{Scheme: "udp", Host: "fe80::1%eth0", Port: 7}, "udp://[fe80::1%25eth0]:7"},
		{"udp://", Endpoint{Scheme: "udp", Port: 4739}, "udp://:4739"},
		{"udp://:0", Endpoint{Scheme: "udp"}, "udp://:0"},
		{"udp://_x.h-1", Endpoint{Scheme: "udp", Host: "_x.h-1", Port: 4739}, "udp://_x.h-1:4739"},
	} {
		t.Run(tt.in, func(t *testing.T) {
			got, err := ParseEndpoint(tt.in)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Error(d)
			}
			if got.String() != tt.str {
				t.Errorf("String() = %q, want %q", got, tt.str)
			}
		})
	}
}

func TestParseEndpoint_everyScheme(t *testing.T) {
	for _, s := range Schemes() {
		e, err := ParseEndpoint(s + "://h")
		if err != nil {
			t.Fatal(err)
		}
		if secure := strings.Contains(s, "tls"); e.Secure() != secure {
			t.Errorf("%s: Secure() = %v", s, e.Secure())
		} else if want := map[bool]uint16{false: 4739, true: 4740}[secure]; e.Port != want {
			t.Errorf("%s: port %d, want %d", s, e.Port, want)
		}
	}
}

func TestParseEndpoint_errors(t *testing.T) {
	for _, tt := range []struct{ in, reason, hint string }{
		{"", "empty", "dtls+udp://"},
		{"collector:4740", "no scheme", "dtls+udp://collector:4740"},
		{"udp:collector:4739", "no scheme", "udp://collector:4739"},
		{"dtls+udp:/collector", "no scheme", "dtls+udp://collector"},
		{"dtsl+udp://h:1", `unknown scheme "dtsl+udp"`, "dtls+udp://h:1"},
		{"dtls-udp://h", "unknown scheme", "did you mean dtls+udp://h"},
		{"dtls://h", "unknown scheme", "dtls+udp://h"},
		{"tls://h", "unknown scheme", "tls+tcp://h"},
		{"udo://h", "unknown scheme", "udp://h"},
		{"https://h", "unknown scheme", "known are udp, dtls+udp"},
		{"udp://h:4739x", `bad port "4739x"`, "4739"},
		{"dtls+udp://h:70000", `bad port "70000"`, "4740"},
		{"udp://h:-1", "bad port", ""},
		{"udp://h:+1", "bad port", ""},
		{"udp://h:ipfix", "bad port", "4739"},
		{"udp://2001:db8::1:4739", "brackets", "[ADDRESS]:PORT"},
		{"udp://[2001:db8::1", "']'", ""},
		{"udp://[2001:db8::1]4739", "no port", "[ADDRESS]:PORT"},
		{"udp://[10.0.0.1]", "no IPv6 address", ""},
		{"udp://[h]", "no IPv6 address", ""},
		{"udp://10.0.0.300", "no IPv4 address", ""},
		{"udp://10.0.1", "no IPv4 address", ""},
		{"udp://*:4739", "no host", "udp://:4739"},
		{"udp://a..b", "empty label", ""},
		{"udp://-a", "begins or ends with '-'", ""},
		{"udp://a b", `' ' in it`, ""},
		{"udp://zürich", "xn--", ""},
		{"udp://h/flows", "path", ""},
		{"udp://u:p@h", "passwords", "--psk-file"},
		{"udp://h#x", "fragment", ""},
		{"udp://h?a=%zz", "options", "KEY=VALUE"},
		{"udp://" + strings.Repeat("a", 64), "63 octets", ""},
		{"udp://" + strings.Repeat("a.", 200) + "a", "253 octets", ""},
		{"udp://" + strings.Repeat("a", 2000), "longer than 1024", ""},
	} {
		t.Run(tt.in[:min(len(tt.in), 40)], func(t *testing.T) {
			e, err := ParseEndpoint(tt.in)
			ee, ok := errors.AsType[*EndpointError](err)
			if !ok {
				t.Fatalf("got %v, %v; want an EndpointError", e, err)
			}
			if !strings.Contains(ee.Error(), tt.reason) || !strings.Contains(ee.Hint(), tt.hint) {
				t.Errorf("error %q, hint %q; want %q, %q", ee, ee.Hint(), tt.reason, tt.hint)
			}
			if strings.ContainsAny(ee.Error()+ee.Hint(), "\n\r") || len(ee.Error()) > 500 {
				t.Errorf("not one line: %q", ee)
			}
		})
	}
}

func TestEndpoint_Loopback(t *testing.T) {
	for in, want := range map[string]bool{
		"udp://127.0.0.1": true, "udp://127.9.9.9": true, "udp://[::1]": true, "udp://localhost": true,
		"udp://a.localhost": true, "udp://[::ffff:127.0.0.1]": true,
		"udp://": false, "udp://10.0.0.1": false, "udp://localhost.example": false, "udp://[::]": false, "udp://0.0.0.0": false,
	} {
		e, err := ParseEndpoint(in)
		if err != nil {
			t.Fatal(err)
		}
		if e.Loopback() != want {
			t.Errorf("%s: Loopback() = %v", in, !want)
		}
	}
}

func FuzzParseEndpoint(f *testing.F) {
	for _, s := range []string{"udp://h:1", "dtls+udp://[fe80::1%25eth0]:4740?a=b&a=c", "tcp://", "x", "udp://[::ffff:1.2.3.4]", "udp://[fe80::1%252525x]", "sctp+udp://h?encap=9899"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		e, err := ParseEndpoint(s)
		if err != nil {
			if strings.ContainsAny(err.Error(), "\n\r") {
				t.Errorf("error of several lines: %q", err)
			}
			return
		}
		again, err := ParseEndpoint(e.String())
		if len(e.String()) > maxEndpoint {
			return // escapes may have made it longer
		}
		if err != nil {
			t.Fatalf("%q -> %q: %v", s, e, err)
		}
		if d := cmp.Diff(e, again); d != "" && len(e.Query) > 0 == (len(again.Query) > 0) {
			t.Errorf("%q -> %q: %s", s, e, d)
		}
	})
}
