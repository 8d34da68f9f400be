package dccp

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"ipfixsuite/pki"
	"ipfixsuite/transport"
	"ipfixsuite/transport/credentials"
	"ipfixsuite/transport/dccp/wire"
	"ipfixsuite/transport/dtls"
	"ipfixsuite/transport/dtls/record"
)

const secureService ServiceCode = 0x3f495053

var (
	collectorAt = netip.MustParseAddrPort("192.0.2.1:6511")
	collectorTo = Addr{IP: collectorAt.Addr(), Port: 4740, UDP: collectorAt.Port()}
)

// issuer makes credentials, each of one authority.
type issuer struct{ dir string }

func newIssuer(t testing.TB) issuer {
	t.Helper()
	i := issuer{t.TempDir()}
	if err := pki.Init(i.dir, pki.Options{}); err != nil {
		t.Fatal(err)
	}
	return i
}

// credentials of a name; with more names its certificate is larger.
func (i issuer) credentials(t testing.TB, name string, more ...string) *credentials.Credentials {
	t.Helper()
	if err := pki.Issue(i.dir, name, more, pki.Options{Overwrite: true}); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(i.dir, name)
	c, err := credentials.Load(credentials.Config{CertFile: file + ".pem", KeyFile: file + "-key.pem", CAFile: filepath.Join(i.dir, "ca.pem")})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// manyNames make a certificate of several packets.
func manyNames() (list []string) {
	for n := range 90 {
		list = append(list, fmt.Sprintf("one-of-many-names-that-this-host-has-%03d.collectors.example", n))
	}
	return list
}

// secured is a collector of DTLS over DCCP, and exporters that dial it, on a
// network in memory.
type secured struct {
	t        *testing.T
	lan      *lan
	endpoint *Endpoint
	listener transport.Listener
	opened   chan *arrival
	exporter dtls.Config
	// under wraps the carriers that the exporter's DTLS gets; nil: not.
	under func(c *Conn, d *Datagrams) transport.DatagramConn
	// conn and carrier are of the last dial.
	conn    *Conn
	carrier *Datagrams
	next    int
}

// arrival is a session at the collector.
type arrival struct {
	peer     transport.Peer
	messages chan string
	closed   chan error
}

func (s *secured) Open(p transport.Peer, _ transport.Properties) (transport.Receiver, error) {
	a := &arrival{peer: p, messages: make(chan string, 1000), closed: make(chan error, 1)}
	s.opened <- a
	return a, nil
}
func (a *arrival) Message(m transport.Incoming) { a.messages <- string(m.Data) }
func (a *arrival) Barrier(done func())          { done() }
func (a *arrival) Closed(reason error)          { a.closed <- reason }

// inBubble runs a test in virtual time, with a collector.
func inBubble(t *testing.T, change func(collector, exporter *dtls.Config), test func(t *testing.T, s *secured)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer(t)
		collector := dtls.Config{Credentials: i.credentials(t, "collector.test"), Scheme: "dtls+dccp+udp"}
		s := &secured{t: t, lan: newLAN(), opened: make(chan *arrival, 10), exporter: dtls.Config{
			Credentials: i.credentials(t, "exporter.test"), ServerName: "collector.test", Scheme: "dtls+dccp+udp",
		}}
		if change != nil {
			change(&collector, &s.exporter)
		}
		s.endpoint = s.lan.endpoint(t, collectorAt.String(), false)
		l, err := s.endpoint.Listen(collectorTo.Port, []ServiceCode{secureService}, ListenConfig{})
		if err != nil {
			t.Fatal(err)
		}
		s.listener = dtls.NewConnectionListener(&Connections{Listener: l}, collector)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.listener.Serve(ctx, s) }()
		t.Cleanup(func() {
			cancel()
			if err := <-ended; err != nil {
				t.Errorf("Serve: %v", err)
			}
		})
		test(t, s)
	})
}

// dialer makes a DCCP connection for each session.
func (s *secured) dialer() *dtls.Dialer {
	return &dtls.Dialer{Config: s.exporter, Connect: func(ctx context.Context) (transport.DatagramConn, netip.AddrPort, error) {
		s.next++
		from := fmt.Sprintf("192.0.2.2:%d", 50000+s.next)
		c, err := s.lan.dial(ctx, s.t, from, collectorTo, secureService, Config{Track: true})
		if err != nil {
			return nil, netip.AddrPort{}, err
		}
		s.conn = c
		d := c.Datagrams()
		s.carrier = d
		if s.under != nil {
			return s.under(c, d), c.remote.AddrPort(), nil
		}
		return d, c.remote.AddrPort(), nil
	}}
}

// dial opens a session and returns both ends.
func (s *secured) dial(d *dtls.Dialer) (transport.Session, *arrival) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 10*time.Minute)
	defer cancel()
	session, err := d.Dial(ctx)
	if err != nil {
		s.t.Fatal(err)
	}
	select {
	case a := <-s.opened:
		return session, a
	case <-ctx.Done():
		s.t.Fatal("the collector knows of no session")
		return nil, nil
	}
}

func (s *secured) send(session transport.Session, messages ...string) {
	s.t.Helper()
	var batch []transport.Outgoing
	for _, m := range messages {
		batch = append(batch, transport.Outgoing{Data: []byte(m)})
	}
	if n, err := session.Send(s.t.Context(), batch); err != nil {
		s.t.Fatalf("%d of %d sent: %v", n, len(batch), err)
	}
}

// expect awaits messages, and no others.
func (a *arrival) expect(t testing.TB, want ...string) {
	t.Helper()
	for _, w := range want {
		select {
		case got := <-a.messages:
			if got != w {
				t.Fatalf("%.40q came, want %.40q", got, w)
			}
		case <-time.After(time.Minute):
			t.Fatalf("%.40q never came", w)
		}
	}
	synctest.Wait()
	select {
	case got := <-a.messages:
		t.Errorf("%.40q came as well", got)
	default:
	}
}

// part closes a session and waits until both ends have.
func (s *secured) part(session transport.Session, a *arrival) {
	s.t.Helper()
	if err := session.Close(s.t.Context()); err != nil {
		s.t.Error(err)
	}
	if err := <-a.closed; err != nil {
		s.t.Errorf("closed: %v", err)
	}
}

// carriesData tells packets that carry application data, of whatever kind.
func carriesData(p lanPacket) bool {
	switch p.Type {
	case wire.Request, wire.Response, wire.Data, wire.DataAck:
		return len(p.Data) > 0
	}
	return false
}

func netipOf(s string) netip.Addr { return netip.MustParseAddr(s) }

func toCollector(p lanPacket) bool { return p.to == collectorAt }

// records takes a packet's data apart; whole tells whether nothing is left.
func records(data []byte) (list []sealed, whole bool) {
	for len(data) > 0 {
		h, rec, rest, ok := record.Next(data, 0)
		if !ok {
			return list, false
		}
		list = append(list, sealed{h, rec[record.HeaderLen:]})
		data = rest
	}
	return list, true
}

// sealed is a record on the wire.
type sealed struct {
	record.Header
	content []byte
}

// piece is a fragment of a handshake message.
type piece struct {
	typ              byte
	message          int
	from, to, length int
	at               time.Time
}

// piece reads a plaintext one.
func (r sealed) piece() (p piece, ok bool) {
	if r.Type != record.Handshake || r.Epoch != 0 || len(r.content) < 12 {
		return p, false
	}
	number := func(b []byte) int { return int(binary.BigEndian.Uint32(append([]byte{0}, b[:3]...))) }
	p = piece{typ: r.content[0], message: int(binary.BigEndian.Uint16(r.content[4:])), from: number(r.content[6:]), length: number(r.content[1:])}
	p.to = p.from + number(r.content[9:])
	return p, true
}
