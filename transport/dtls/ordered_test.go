package dtls

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	pion "github.com/pion/dtls/v3"

	"ipfixsuite/transport/credentials"
	"ipfixsuite/transport/dtls/record"
)

// line is an Ordered carrier in memory: what one end sends is pushed into the
// other's handshake, in order.
type line struct {
	t    testing.TB
	to   func(rec []byte) error
	mu   sync.Mutex
	sent [][]byte
	keys [][]byte
	// switched is how many records had been sent when ChangeCipherSpec was.
	switched int
	fail     error // of ChangeCipherSpec
}

func (l *line) SendRecord(_ context.Context, rec []byte) error {
	l.mu.Lock()
	l.sent = append(l.sent, bytes.Clone(rec))
	l.mu.Unlock()
	return l.to(bytes.Clone(rec))
}

func (l *line) ChangeCipherSpec(ctx context.Context, rec []byte) error {
	if l.fail != nil {
		return l.fail
	}
	l.mu.Lock()
	if len(l.keys) == 0 {
		l.t.Error("ChangeCipherSpec before the key was told")
	}
	l.switched = len(l.sent)
	l.mu.Unlock()
	return l.SendRecord(ctx, rec)
}

func (l *line) Key(key []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.keys = append(l.keys, bytes.Clone(key))
	return nil
}

var lineEnds = [2]netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:4740"), netip.MustParseAddrPort("192.0.2.2:4740")}

// pairHandshakes makes both sides, connected.
func pairHandshakes(t testing.TB, client, server Config) (c, s *Handshake, cl, sl *line) {
	t.Helper()
	cl, sl = &line{t: t}, &line{t: t}
	c, err := NewHandshake(client, true, lineEnds[0], lineEnds[1], cl)
	if err != nil {
		t.Fatal(err)
	}
	s, err = NewHandshake(server, false, lineEnds[1], lineEnds[0], sl)
	if err != nil {
		t.Fatal(err)
	}
	cl.to, sl.to = s.Push, c.Push
	return c, s, cl, sl
}

func runBoth(t testing.TB, c, s *Handshake) (ce, se *Established, cerr, serr error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() { se, serr = s.Run(ctx) })
	ce, cerr = c.Run(ctx)
	wg.Wait()
	return ce, se, cerr, serr
}

// Over a carrier of messages every suite gives both sides the same key of 64
// octets before either changes to it (RFC 6083, Section 4.8), each record is a
// message of its own (Section 4.1), and none is sent twice (Section 3.5).
func TestOrdered(t *testing.T) {
	a := newAuthority(t, "test CA")
	rsaCert, rsaKey := a.issue(t, "collector.test", nil, true)
	withRSA := Config{Credentials: load(t, credentials.Config{CertFile: rsaCert, KeyFile: rsaKey, CAFile: a.ca()})}
	withECDSA := Config{Credentials: a.creds(t, "collector.test", nil, nil)}
	exporter := Config{Credentials: a.creds(t, "exporter.test", nil, nil), ServerName: "collector.test"}
	pskCollector, pskExporter := pskConfigs(t, key1, key1)
	for _, suite := range allSuites() {
		t.Run(suite.String(), func(t *testing.T) {
			server, client := withECDSA, exporter
			switch {
			case suite.PSK():
				server, client = pskCollector, pskExporter
			case strings.Contains(suite.String(), "RSA_WITH"):
				server = withRSA
			}
			server.Suites, client.Suites = []record.Suite{suite}, []record.Suite{suite}
			c, s, cl, sl := pairHandshakes(t, client, server)
			ce, se, cerr, serr := runBoth(t, c, s)
			if cerr != nil || serr != nil {
				t.Fatal(cerr, serr)
			}
			if len(cl.keys) != 1 || len(sl.keys) != 1 || !bytes.Equal(cl.keys[0], sl.keys[0]) || len(cl.keys[0]) != 64 {
				t.Errorf("keys %x and %x", cl.keys, sl.keys)
			}
			for _, l := range []*line{cl, sl} {
				seen := map[string]bool{}
				for i, rec := range l.sent {
					h, _, rest, ok := record.Next(rec, 0)
					if !ok || len(rest) > 0 {
						t.Errorf("message %d is not one record: % x", i, rec)
					}
					if (h.Type == record.ChangeCipherSpec) != (i == l.switched) {
						t.Errorf("record %d of type %d, switched at %d", i, h.Type, l.switched)
					}
					if seen[string(rec)] {
						t.Errorf("record %d sent again", i)
					}
					seen[string(rec)] = true
				}
			}
			b, err := ce.Sealer.Seal(nil, record.ApplicationData, []byte("data"))
			if err != nil {
				t.Fatal(err)
			}
			// No replay detection (RFC 6083, Section 3.3, MUST NOT).
			for range 2 {
				if _, got, err := se.Opener.Open(bytes.Clone(b)); err != nil || string(got) != "data" {
					t.Errorf("%q, %v", got, err)
				}
			}
			if !ce.Answers || ce.Mode == 0 || se.Mode == 0 {
				t.Error("heartbeats were not negotiated")
			}
		})
	}
}

// A peer may send a whole flight in one record, larger than what pion reads at
// once.
func TestOrdered_LargeRecords(t *testing.T) {
	collector, exporter := mutual(t)
	c, s, _, sl := pairHandshakes(t, exporter, collector)
	var whole []byte
	sl.to = func(rec []byte) error {
		h, _, _, _ := record.Next(rec, 0)
		if h.Epoch != 0 || h.Type != record.Handshake {
			return c.Push(rec)
		}
		f, _, ok := nextFragment(rec[record.HeaderLen:])
		if !ok || !f.whole() {
			t.Errorf("a fragment though everything fits: % x", rec[:25])
		}
		whole = append(whole, rec[record.HeaderLen:]...)
		if f.typ != typeServerHelloDone {
			return nil
		}
		big := appendFragment([]byte{22, 0xFE, 0xFD, 10: 9, 12: 0}, []byte{99, 0, 0, 0, 0, 0}, 0, nil)[:record.HeaderLen]
		// All messages of the flight in one record, and again, padded by
		// repetition beyond pion's buffer.
		content := whole
		for len(content) < pionBuffer {
			content = append(content, whole...)
		}
		big[11], big[12] = byte(len(content)>>8), byte(len(content))
		return c.Push(append(big, content...))
	}
	_, _, cerr, serr := runBoth(t, c, s)
	if cerr != nil || serr != nil {
		t.Fatal(cerr, serr)
	}
}

func TestOrdered_Push(t *testing.T) {
	collector, _ := mutual(t)
	fresh := func() *Handshake {
		h, err := NewHandshake(collector, false, lineEnds[1], lineEnds[0], &line{t: t})
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	part := func(length, offset, n int) []byte {
		head := []byte{typeCertificate, byte(length >> 16), byte(length >> 8), byte(length), 0, 3}
		return appendFragment([]byte{22, 0xFE, 0xFD, 12: 0}, head, offset, make([]byte, n))
	}
	for _, c := range []struct {
		name string
		in   []byte
		want error
		into int
	}{
		{name: "empty", want: record.ErrMalformed},
		{name: "two records", in: append(part(10, 0, 10), part(10, 0, 10)...), want: record.ErrMalformed},
		{name: "small", in: part(10, 0, 10), into: 1},
		{name: "cut", in: part(16000, 0, 16000), into: 2},
		{name: "cut, of a larger message", in: part(30000, 14000, 16001), want: record.ErrMalformed},
		{name: "cut in three", in: part(16001, 0, 16001), into: 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := fresh()
			if err := h.Push(c.in); !errors.Is(err, c.want) {
				t.Fatalf("error %v, want %v", err, c.want)
			}
			if got := len(h.sh.in); got != c.into {
				t.Errorf("%d records for pion, want %d", got, c.into)
			}
			offset := 0
			for i := range len(h.sh.in) {
				rec := <-h.sh.in
				hd, _, rest, ok := record.Next(rec, 0)
				f, _, whole := nextFragment(rec[record.HeaderLen:])
				if !ok || len(rest) > 0 || len(rec) > pionBuffer || !whole || f.offset != offset || hd.Sequence != uint64(i) {
					t.Errorf("record %d: %+v, fragment at %d of %d octets", i, hd, f.offset, len(f.body))
				}
				offset += len(f.body)
			}
		})
	}
	h := fresh()
	var err error
	for range maxQueued + 1 {
		err = h.Push(part(10, 0, 10))
	}
	if !errors.Is(err, errFlood) {
		t.Errorf("a flood: %v", err)
	}
}

// What the carrier cannot do ends the handshake.
func TestOrdered_CarrierFails(t *testing.T) {
	collector, exporter := mutual(t)
	c, s, cl, _ := pairHandshakes(t, exporter, collector)
	cl.fail = errors.New("association gone")
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _, _ = s.Run(ctx) })
	if _, err := c.Run(t.Context()); !errors.Is(err, cl.fail) {
		t.Errorf("error %v", err)
	}
	cancel()
	wg.Wait()
}

// pion's own exporter is the judge of the key, in both roles.
func TestOrdered_ExporterOfPion(t *testing.T) {
	collector, exporter := mutual(t)
	for _, client := range []bool{true, false} {
		ours := collector
		if client {
			ours = exporter
		}
		l := &line{t: t}
		h, err := NewHandshake(ours, client, lineEnds[0], lineEnds[1], l)
		if err != nil {
			t.Fatal(err)
		}
		near := &messages{in: make(chan []byte, 64), closed: make(chan struct{}), out: h.Push}
		l.to = func(rec []byte) error { near.in <- rec; return nil }
		creds := exporter.Credentials.Current()
		if client {
			creds = collector.Credentials.Current()
		}
		cfg := &pion.Config{
			Certificates: []tls.Certificate{creds.Certificate()}, InsecureSkipVerify: true, ClientAuth: pion.RequireAnyClientCert,
			ExtendedMasterSecret: pion.RequireExtendedMasterSecret, InsecureSkipVerifyHello: true, LoggerFactory: silent{},
		}
		var theirs *pion.Conn
		if client {
			theirs, err = pion.Server(near, near.LocalAddr(), cfg)
		} else {
			theirs, err = pion.Client(near, near.LocalAddr(), cfg)
		}
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := theirs.HandshakeContext(ctx); err != nil {
				t.Errorf("pion: %v", err)
			}
		})
		if _, err := h.Run(ctx); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
		state, ok := theirs.ConnectionState()
		if !ok {
			t.Fatal("pion has no state")
		}
		want, err := state.ExportKeyingMaterial("EXPORTER_DTLS_OVER_SCTP", nil, 64)
		if err != nil || len(l.keys) != 1 || !bytes.Equal(l.keys[0], want) {
			t.Errorf("client %v: key %x, pion's %x, %v", client, l.keys, want, err)
		}
		_ = theirs.Close()
	}
}

// messages is a net.PacketConn for pion; what it sends is cut to records.
type messages struct {
	in     chan []byte
	closed chan struct{}
	once   sync.Once
	out    func([]byte) error
	mu     sync.Mutex
}

func (m *messages) ReadFrom(b []byte) (int, net.Addr, error) {
	select {
	case p := <-m.in:
		return copy(b, p), m.LocalAddr(), nil
	case <-m.closed:
		return 0, nil, net.ErrClosed
	}
}

func (m *messages) WriteTo(b []byte, _ net.Addr) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for rest := b; len(rest) > 0; {
		h, rec, more, ok := record.Next(rest, 0)
		if !ok {
			return 0, record.ErrMalformed
		}
		if h.Epoch == 0 || h.Type == record.Handshake {
			if err := m.out(rec); err != nil {
				return 0, err
			}
		}
		rest = more
	}
	return len(b), nil
}
func (m *messages) Close() error                     { m.once.Do(func() { close(m.closed) }); return nil }
func (m *messages) LocalAddr() net.Addr              { return net.UDPAddrFromAddrPort(lineEnds[0]) }
func (m *messages) SetDeadline(time.Time) error      { return nil }
func (m *messages) SetReadDeadline(time.Time) error  { return nil }
func (m *messages) SetWriteDeadline(time.Time) error { return nil }

func FuzzHandshakePush(f *testing.F) {
	collector, _ := pskConfigs(f, key1, key1)
	f.Add(appendFragment([]byte{22, 0xFE, 0xFD, 12: 0}, []byte{typeCertificate, 0, 0x40, 0, 0, 3}, 0, make([]byte, 1<<14)))
	f.Add([]byte{20, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1})
	f.Add([]byte{22, 0xFE, 0xFD, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 1, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := NewHandshake(collector, false, lineEnds[1], lineEnds[0], &line{t: t})
		if err != nil {
			t.Fatal(err)
		}
		before := bytes.Clone(b)
		err = h.Push(b)
		if !bytes.Equal(b, before) {
			t.Error("the caller's record was changed")
		}
		size := 0
		for len(h.sh.in) > 0 {
			rec := <-h.sh.in
			hd, _, rest, ok := record.Next(rec, 0)
			if !ok || len(rest) > 0 || hd.Epoch == 0 && hd.Type == record.Handshake && len(rec) > pionBuffer {
				t.Errorf("record of %d octets for pion: % x", len(rec), rec[:record.HeaderLen])
			}
			size += len(rec) - record.HeaderLen
		}
		_, plain := plausible(b, false) // what is no record of a handshake is counted, not handed on
		if err == nil && plain && size < len(b)-record.HeaderLen {
			t.Errorf("%d octets of %d", size, len(b)-record.HeaderLen)
		}
	})
}
