package endpoint

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"ipfixsuite/pki"
	"ipfixsuite/test/harness"
	"ipfixsuite/transport"
	"ipfixsuite/transport/credentials"
)

// patience is for what comes at once, on a machine that is busy.
const patience = 20 * time.Second

func parse(t testing.TB, s string) transport.Endpoint {
	t.Helper()
	e, err := transport.ParseEndpoint(s)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// creds makes an authority's certificates for exporter and collector.
func creds(t testing.TB) (exporter, collector *credentials.Credentials) {
	t.Helper()
	dir := t.TempDir()
	if err := pki.Init(dir, pki.Options{}); err != nil {
		t.Fatal(err)
	}
	load := func(name string, sans ...string) *credentials.Credentials {
		if err := pki.Issue(dir, name, sans, pki.Options{}); err != nil {
			t.Fatal(err)
		}
		c, err := credentials.Load(credentials.Config{CertFile: filepath.Join(dir, name+".pem"), KeyFile: filepath.Join(dir, name+"-key.pem"), CAFile: filepath.Join(dir, pki.CAFile)})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	return load("exporter.example"), load("collector.example", "127.0.0.1", "localhost")
}

// sink is handler and receiver of one test.
type sink struct {
	mu   sync.Mutex
	peer transport.Peer
	got  chan string
}

func (s *sink) Open(p transport.Peer, _ transport.Properties) (transport.Receiver, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.peer = p
	return s, nil
}
func (s *sink) Message(m transport.Incoming) { s.got <- string(m.Data) }
func (s *sink) Barrier(done func())          { done() }
func (s *sink) Closed(error)                 {}

func serve(t *testing.T, l transport.Listener) *sink {
	t.Helper()
	s := &sink{got: make(chan string, 16)}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- l.Serve(ctx, s) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return s
}

// outer is the option of a free port for the outer UDP.
func outer(t testing.TB) string {
	t.Helper()
	return fmt.Sprintf("?udp=%d", harness.FreePort(t))
}

func TestThere(t *testing.T) {
	exporter, collector := creds(t)
	for _, tt := range []struct{ name, listen, dial, identity string }{
		{"plain", "udp://127.0.0.1:0", "udp://127.0.0.1", "127.0.0.1"},
		{"plain, by name", "udp://localhost:0", "udp://localhost", "127.0.0.1"},
		{"DTLS", "dtls+udp://127.0.0.1:0", "dtls+udp://127.0.0.1", "exporter.example"},
		{"DTLS, by name", "dtls+udp://:0", "dtls+udp://collector.example", "exporter.example"},
		{"SCTP over UDP", "sctp+udp://127.0.0.1:4739" + outer(t), "sctp+udp://127.0.0.1", "127.0.0.1"},
		{"DCCP over UDP", "dccp+udp://127.0.0.1:4739" + outer(t), "dccp+udp://127.0.0.1", "127.0.0.1"},
		{"DTLS over DCCP over UDP", "dtls+dccp+udp://127.0.0.1:4740" + outer(t), "dtls+dccp+udp://127.0.0.1", "exporter.example"},
		{"DCCP", "dccp://127.0.0.1:4739", "dccp://127.0.0.1", "127.0.0.1"},
		{"DTLS over DCCP", "dtls+dccp://127.0.0.1:4740", "dtls+dccp://127.0.0.1", "exporter.example"},
		{"DTLS over SCTP over UDP", "dtls+sctp+udp://127.0.0.1:4740" + outer(t), "dtls+sctp+udp://127.0.0.1", "exporter.example"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			lookup := func(context.Context, string) ([]netip.Addr, error) {
				// Not the address that the system would answer from.
				return []netip.Addr{netip.MustParseAddr("127.0.0.2"), netip.MustParseAddr("127.0.0.1")}, nil
			}
			if strings.Contains(tt.listen, "dccp://") && os.Getuid() != 0 {
				harness.Missing(t, "raw sockets need root")
			}
			l, err := Listen(parse(t, tt.listen), Config{Credentials: collector})
			if err != nil {
				t.Fatal(err)
			}
			in := serve(t, l)
			e := parse(t, tt.dial)
			e.Port = l.Addr().Port()
			e.Query = parse(t, tt.listen).Query
			cfg := Config{Credentials: exporter}
			if e.Host == "collector.example" {
				cfg.Lookup = lookup
			}
			d, err := Dialer(e, cfg)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			for range 2 { // the second may be resumed
				s, err := d.Dial(ctx)
				if err != nil {
					t.Fatal(err)
				}
				if n, err := s.Send(ctx, []transport.Outgoing{{Data: []byte("hello")}}); n != 1 || err != nil {
					t.Fatalf("Send = %d, %v", n, err)
				}
				select {
				case got := <-in.got:
					if got != "hello" {
						t.Errorf("got %q", got)
					}
				case <-ctx.Done():
					t.Fatal("nothing arrived")
				}
				in.mu.Lock()
				if in.peer.Identity != tt.identity || in.peer.Scheme != e.Scheme {
					t.Errorf("peer %+v", in.peer)
				}
				in.mu.Unlock()
				if err := s.Close(ctx); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestDialer_triesEachAddress(t *testing.T) {
	exporter, collector := creds(t)
	l, err := Listen(parse(t, "dtls+udp://127.0.0.1:0"), Config{Credentials: collector})
	if err != nil {
		t.Fatal(err)
	}
	serve(t, l)
	e := parse(t, "dtls+udp://collector.example")
	e.Port = l.Addr().Port()
	d, err := Dialer(e, Config{Credentials: exporter, Lookup: func(context.Context, string) ([]netip.Addr, error) {
		return []netip.Addr{netip.MustParseAddr("127.0.0.3"), netip.MustParseAddr("127.0.0.1")}, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		s, err := d.Dial(ctx)
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		if got := s.Peer().Remote; got != l.Addr() {
			t.Errorf("peer %v, want %v", got, l.Addr())
		}
		_ = s.Close(t.Context())
		// Now the good one is known, and first.
		in := d.(*dialer)
		addrs, _, err := in.cfg.resolve(t.Context(), e)
		if err != nil || addrs[0] == l.Addr() {
			t.Errorf("resolved to %v, %v", addrs, err)
		}
		if ordered, _, known := in.prepare(addrs); !known || ordered[0] != l.Addr() {
			t.Errorf("tries %v first", ordered)
		}
	}
}

// preShared are credentials without a certificate.
func preShared(t *testing.T) *credentials.Credentials {
	t.Helper()
	file := filepath.Join(t.TempDir(), "psk")
	if err := os.WriteFile(file, []byte("exporter:00112233445566778899aabbccddeeff\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := credentials.Load(credentials.Config{PSKFile: file})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestErrors(t *testing.T) {
	exporter, _ := creds(t)
	nobody := func(context.Context, string) ([]netip.Addr, error) {
		return nil, &net.DNSError{Err: "no such host", Name: "x", IsNotFound: true}
	}
	afar := func(context.Context, string) ([]netip.Addr, error) {
		return []netip.Addr{netip.MustParseAddr("192.0.2.1")}, nil
	}
	for _, tt := range []struct {
		url            string
		cfg            Config
		listen, dialer string // what the error says; empty: none
		hint           string
	}{
		{"udp://192.0.2.1", Config{}, "neither encrypted nor authenticated", "neither encrypted nor authenticated", "--insecure"},
		{"udp://", Config{}, "neither encrypted nor authenticated", "neither encrypted nor authenticated", "dtls+udp://"},
		{"udp://h.example", Config{}, "neither encrypted", "neither encrypted", "--insecure"},
		{"dtls+udp://127.0.0.1", Config{}, "needs a certificate or a pre-shared key", "needs a certificate or a pre-shared key", "collector pki init"},
		{"tls+tcp://127.0.0.1", Config{Credentials: preShared(t)}, "tls needs a certificate", "tls needs a certificate", "dtls+udp://"},
		{"tcp://192.0.2.1", Config{}, "neither encrypted", "neither encrypted", "tls+tcp://"},
		{"dccp://192.0.2.1", Config{}, "neither encrypted", "neither encrypted", "dtls+dccp://"},
		{"dccp://127.0.0.1?udp=6511", Config{}, `option "udp" means nothing to dccp`, `option "udp"`, "leave it out"},
		{"dccp+udp://127.0.0.1?udp=0", Config{}, "option udp=0 is no port", "udp=0", "1 to 65535"},
		{"dtls+dccp+udp://127.0.0.1?udp=1&udp=2", Config{}, "option udp=1,2 is no port", "udp=1,2", "1 to 65535"},
		{"dtls+sctp://127.0.0.1", Config{}, "needs a certificate or a pre-shared key", "needs a certificate or a pre-shared key", "collector pki init"},
		{"sctp://192.0.2.1", Config{}, "neither encrypted", "neither encrypted", "dtls+sctp://"},
		{"sctp://127.0.0.1?udp=9899", Config{}, `option "udp" means nothing to sctp`, `option "udp"`, ""},
		{"sctp+udp://127.0.0.1?from=127.0.0.2", Config{}, `option "from" means nothing to sctp+udp`, `option "from"`, ""},
		{"sctp+udp://127.0.0.1?udp=70000", Config{}, "udp=70000 is no number from 0 to 65535", "udp=70000", ""},
		{"sctp://127.0.0.1?addr=h.example", Config{}, "addr=h.example is no address", "addr=h.example", ""},
		{"sctp://127.0.0.1?lifetime=-1s", Config{}, "lifetime=-1s is no duration", "lifetime=-1s", ""},
		{"sctp://127.0.0.1?streams=1&streams=2", Config{}, "streams=1,2 is no number", "streams=1,2", ""},
		{"udp://127.0.0.1?x=1", Config{}, `option "x" means nothing to udp`, `option "x"`, ""},
		{"udp://127.0.0.1", Config{MTU: 100}, "MTU 100 is not within 576 to 65535", "MTU 100", ""},
		{"udp://192.0.2.1:0", Config{Insecure: true}, "cannot assign requested address", "port 0 cannot be sent to", ""},
		{"dtls+udp://nowhere.example", Config{Credentials: exporter, Lookup: nobody}, "name nowhere.example: no such host", "", "check the name"},
		{"udp://localhost", Config{Lookup: afar}, "neither encrypted", "", "--insecure"},
	} {
		t.Run(tt.url, func(t *testing.T) {
			check := func(what string, err error, want string) {
				if want == "" {
					if err != nil {
						t.Errorf("%s: %v", what, err)
					}
					return
				}
				if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
					t.Fatalf("%s: got %v, want %q", what, err, want)
				}
				if h, ok := errors.AsType[interface {
					error
					Hint() string
				}](err); tt.hint != "" && (!ok || !strings.Contains(h.Hint(), tt.hint)) {
					t.Errorf("%s: no hint %q", what, tt.hint)
				}
			}
			l, err := Listen(parse(t, tt.url), tt.cfg)
			if err == nil {
				_ = l.Close()
			}
			check("listen", err, tt.listen)
			_, err = Dialer(parse(t, tt.url), tt.cfg)
			check("dial", err, tt.dialer)
		})
	}
	d, err := Dialer(parse(t, "dtls+udp://nowhere.example"), Config{Credentials: exporter, Lookup: nobody})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Dial(t.Context()); err == nil || err.Error() != "dtls+udp://nowhere.example:4740: name nowhere.example: no such host" {
		t.Errorf("got %v", err)
	}
}

func TestEverySchemeIsAnswered(t *testing.T) {
	exporter, _ := creds(t)
	for _, s := range transport.Schemes() {
		d, err := Dialer(parse(t, s+"://127.0.0.1"), Config{Credentials: exporter})
		if (err == nil) != slices.Contains(built, s) || (d == nil) != (err != nil) {
			t.Errorf("%s: %v, %v", s, d, err)
		}
	}
}
