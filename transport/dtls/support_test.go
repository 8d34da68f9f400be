package dtls

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ipfixsuite/transport"
	"ipfixsuite/transport/credentials"
)

// memNetwork is datagrams in memory. A filter may drop, change or repeat what
// passes.
type memNetwork struct {
	mu     sync.Mutex
	ports  map[netip.AddrPort]*memConn
	filter func(from, to netip.AddrPort, b []byte) [][]byte
}

func newMemNetwork() *memNetwork { return &memNetwork{ports: map[netip.AddrPort]*memConn{}} }

type memConn struct {
	n      *memNetwork
	addr   netip.AddrPort
	in     chan transport.Datagram
	closed chan struct{}
	once   sync.Once
	mtu    atomic.Int32
}

func (n *memNetwork) listen(addr string) *memConn {
	c := &memConn{n: n, addr: netip.MustParseAddrPort(addr), in: make(chan transport.Datagram, 4096), closed: make(chan struct{})}
	c.mtu.Store(1452)
	n.mu.Lock()
	n.ports[c.addr] = c
	n.mu.Unlock()
	return c
}

// send delivers b as if from had sent it.
func (n *memNetwork) send(from, to netip.AddrPort, b []byte) {
	n.mu.Lock()
	defer n.mu.Unlock()
	out := [][]byte{b}
	if n.filter != nil {
		out = n.filter(from, to, b)
	}
	c := n.ports[to]
	if c == nil {
		return
	}
	for _, b := range out {
		select {
		case c.in <- transport.Datagram{Peer: from, Data: bytes.Clone(b)}:
		default:
		}
	}
}

func (n *memNetwork) setFilter(f func(from, to netip.AddrPort, b []byte) [][]byte) {
	n.mu.Lock()
	n.filter = f
	n.mu.Unlock()
}

func (c *memConn) ReadBatch(ctx context.Context, dst []transport.Datagram) (int, error) {
	select {
	case d := <-c.in:
		dst[0] = d
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-c.closed:
		return 0, net.ErrClosed
	}
	n := 1
	for n < len(dst) {
		select {
		case dst[n] = <-c.in:
			n++
		default:
			return n, nil
		}
	}
	return n, nil
}

func (c *memConn) WriteBatch(batch []transport.Datagram) (int, error) {
	for _, d := range batch {
		c.n.send(c.addr, d.Peer, d.Data)
	}
	return len(batch), nil
}
func (c *memConn) LocalAddr() netip.AddrPort      { return c.addr }
func (c *memConn) MaxDatagram(netip.AddrPort) int { return int(c.mtu.Load()) }
func (c *memConn) SocketDrops() uint64            { return 0 }
func (c *memConn) Unreachable() uint64            { return 0 }
func (c *memConn) Close() error {
	c.once.Do(func() {
		close(c.closed)
		c.n.mu.Lock()
		if c.n.ports[c.addr] == c {
			delete(c.n.ports, c.addr)
		}
		c.n.mu.Unlock()
	})
	return nil
}

// authority issues certificates into files, as credentials reads them.
type authority struct {
	dir    string
	cert   *x509.Certificate
	key    *ecdsa.PrivateKey
	serial int64
}

func newAuthority(t testing.TB, name string) *authority {
	t.Helper()
	a := &authority{dir: t.TempDir(), serial: 1}
	var err error
	if a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	tpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: epochStart.Add(-time.Hour), NotAfter: epochStart.Add(1e6 * time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tpl, tpl, a.key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	writePEM(t, a.ca(), "CERTIFICATE", der)
	return a
}

// epochStart lies before the clock of a synctest bubble and before today.
var epochStart = time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC)

func (a *authority) ca() string { return filepath.Join(a.dir, "ca.pem") }

func writePEM(t testing.TB, name, typ string, der []byte) {
	t.Helper()
	if err := os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: typ, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// issue writes NAME.pem and NAME-key.pem.
func (a *authority) issue(t testing.TB, name string, edit func(*x509.Certificate), rsaKey bool) (cert, key string) {
	t.Helper()
	a.serial++
	var priv, pub any
	if rsaKey {
		k, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		priv, pub = k, k.Public()
	} else {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		priv, pub = k, k.Public()
	}
	tpl := &x509.Certificate{
		SerialNumber: big.NewInt(a.serial), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore:   epochStart.Add(-time.Hour), NotAfter: epochStart.Add(1e6 * time.Hour),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	if edit != nil {
		edit(tpl)
	}
	der, err := x509.CreateCertificate(rand.Reader, tpl, a.cert, pub, a.key)
	if err != nil {
		t.Fatal(err)
	}
	kder, err := x509.MarshalPKCS8PrivateKey(priv)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(a.dir, name+".pem"), filepath.Join(a.dir, name+"-key.pem")
	writePEM(t, cert, "CERTIFICATE", der)
	writePEM(t, key, "PRIVATE KEY", kder)
	return cert, key
}

// creds issues a certificate and loads it.
func (a *authority) creds(t testing.TB, name string, edit func(*credentials.Config), cert func(*x509.Certificate)) *credentials.Credentials {
	t.Helper()
	c, k := a.issue(t, name, cert, false)
	cfg := credentials.Config{CertFile: c, KeyFile: k, CAFile: a.ca()}
	if edit != nil {
		edit(&cfg)
	}
	return load(t, cfg)
}

func load(t testing.TB, cfg credentials.Config) *credentials.Credentials {
	t.Helper()
	cfg.Now = func() time.Time { return epochStart } // nothing has expired yet
	got, err := credentials.Load(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func readFile(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func writeFile(t testing.TB, name string, b []byte) {
	t.Helper()
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// pskFile holds lines identity:hexkey.
func pskFile(t testing.TB, lines string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "psk")
	if err := os.WriteFile(name, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// sink is a Handler and keeps what its sessions bring.
type sink struct {
	mu       sync.Mutex
	sessions []*sunk
	opened   chan *sunk
	refuse   error
	open     func()                     // in Open
	barrier  func(s *sunk, done func()) // default: done at once
}

type sunk struct {
	sink     *sink
	peer     transport.Peer
	props    transport.Properties
	mu       sync.Mutex
	messages []string
	closed   chan struct{}
	reason   error
	got      chan string
}

func newSink() *sink { return &sink{opened: make(chan *sunk, 1024)} }

func (k *sink) Open(p transport.Peer, props transport.Properties) (transport.Receiver, error) {
	if k.refuse != nil {
		return nil, k.refuse
	}
	if k.open != nil {
		k.open()
	}
	s := &sunk{sink: k, peer: p, props: props, closed: make(chan struct{}), got: make(chan string, 4096)}
	k.mu.Lock()
	k.sessions = append(k.sessions, s)
	k.mu.Unlock()
	k.opened <- s
	return s, nil
}

func (s *sunk) Message(m transport.Incoming) {
	s.mu.Lock()
	s.messages = append(s.messages, string(m.Data))
	s.mu.Unlock()
	s.got <- string(m.Data)
}

func (s *sunk) Barrier(done func()) {
	if s.sink.barrier != nil {
		s.sink.barrier(s, done)
		return
	}
	done()
}

func (s *sunk) Closed(reason error) {
	s.reason = reason
	close(s.closed)
}

// serving is a listener that serves.
type serving struct {
	transport.Listener
	l    *listener
	sink *sink
	log  *lockedBuffer
	stop func() error
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func serve(t testing.TB, conn transport.DatagramConn, cfg Config) *serving {
	t.Helper()
	log := &lockedBuffer{}
	cfg.Log = slog.New(slog.NewTextHandler(log, nil))
	l := NewListener(conn, cfg)
	s := &serving{Listener: l, l: l.(*listener), sink: newSink(), log: log}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- l.Serve(ctx, s.sink) }()
	var once sync.Once
	s.stop = func() (err error) {
		once.Do(func() {
			cancel()
			err = <-ended
		})
		return err
	}
	t.Cleanup(func() {
		if err := s.stop(); err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return s
}

// memDialer dials over a memory network from the given addresses, one after the
// other; the last serves for all that follow.
func memDialer(n *memNetwork, to string, cfg Config, from ...string) *Dialer {
	var mu sync.Mutex
	return &Dialer{Config: cfg, Connect: func(context.Context) (transport.DatagramConn, netip.AddrPort, error) {
		mu.Lock()
		defer mu.Unlock()
		addr := from[0]
		if len(from) > 1 {
			from = from[1:]
		}
		return n.listen(addr), netip.MustParseAddrPort(to), nil
	}}
}

func dial(t testing.TB, d *Dialer) *session {
	t.Helper()
	return dialWithin(t, d, 30*time.Second)
}

func dialWithin(t testing.TB, d *Dialer, most time.Duration) *session {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), most)
	defer cancel()
	s, err := d.Dial(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close(context.Background()) })
	return s.(*session)
}

func send(t testing.TB, s transport.Session, messages ...string) {
	t.Helper()
	var batch []transport.Outgoing
	for _, m := range messages {
		batch = append(batch, transport.Outgoing{Data: []byte(m)})
	}
	if n, err := s.Send(context.Background(), batch); err != nil || n != len(batch) {
		t.Fatalf("sent %d of %d: %v", n, len(batch), err)
	}
}

const patience = 10 * time.Second

func expect(t testing.TB, s *sunk, want ...string) {
	t.Helper()
	for _, w := range want {
		select {
		case got := <-s.got:
			if got != w {
				t.Fatalf("received %q, want %q", got, w)
			}
		case <-time.After(patience):
			t.Fatalf("%q never came", w)
		}
	}
}

func (s *serving) session(t testing.TB) *sunk {
	t.Helper()
	select {
	case got := <-s.sink.opened:
		return got
	case <-time.After(patience):
		t.Fatalf("no session opened; log: %s", s.log)
		return nil
	}
}

func wait[T any](t testing.TB, c <-chan T, what string) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(patience):
		t.Fatalf("%s never happened", what)
	}
}

// eventually polls: for counters that another goroutine moves.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if f() {
			return
		}
	}
	t.Fatalf("%s never happened", what)
}

func probe(t testing.TB, s transport.Session) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.Probe(ctx); err != nil {
		t.Fatalf("probe: %v", err)
	}
}

// mutual is a collector and an exporter of one authority.
func mutual(t testing.TB) (collector, exporter Config) {
	t.Helper()
	a := newAuthority(t, "test CA")
	collector = Config{Credentials: a.creds(t, "collector.test", nil, nil)}
	exporter = Config{Credentials: a.creds(t, "exporter.test", nil, nil), ServerName: "collector.test"}
	return collector, exporter
}

func addrN(i int) string { return fmt.Sprintf("192.0.2.%d:%d", 1+i%250, 10000+i) }

// inbound is the session of a listener that has one; Open is told of one before it is
// installed.
func (s *serving) inbound(t testing.TB) (first *inbound) {
	t.Helper()
	eventually(t, "a session's installation", func() bool {
		s.l.mu.Lock()
		defer s.l.mu.Unlock()
		for _, in := range s.l.sessions() {
			first = in
		}
		return first != nil
	})
	return first
}
