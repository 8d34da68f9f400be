package dtls

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"reflect"
	"runtime"
	"testing"

	"github.com/google/go-cmp/cmp"
	pion "github.com/pion/dtls/v3"

	"ipfixsuite/transport"
)

// The takeover rests on the names and types that pion exports: a new version
// that adds, drops or changes one must be looked at first.
func TestPionStateFields(t *testing.T) {
	collector, exporter := mutual(t)
	d := &driver{cfg: exporter.WithDefaults(), creds: exporter.Credentials.Current(), client: true, mtu: 1200}
	n := newMemNetwork()
	serve(t, n.listen(collectorAddr), collector)
	conn := n.listen(addrN(1))
	drops := new(dropCounters)
	to := netip.MustParseAddrPort(collectorAddr)
	sh := newShim(true, conn.LocalAddr(), to, drops, func(_ context.Context, b []byte) error {
		_, err := conn.WriteBatch([]transport.Datagram{{Peer: to, Data: b}})
		return err
	})
	go func() {
		batch := make([]transport.Datagram, 1)
		for {
			if _, err := conn.ReadBatch(t.Context(), batch); err != nil {
				return
			}
			sh.push(batch[0].Data)
		}
	}()
	d.sh, d.cancel = sh, func(error) {}
	c, err := d.pion()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.HandshakeContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	sh.mute()
	state, _ := c.ConnectionState()
	raw, err := state.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	sh.Close()
	_ = c.Close()
	// A decoder passes over fields that are missing on either side, so look
	// at the description of the type that leads a gob.
	var want []string
	for f := range reflect.TypeFor[snapshot]().Fields() {
		want = append(want, f.Name)
	}
	if d := cmp.Diff(want, gobFields(raw)); d != "" {
		t.Errorf("pion exports other fields than the takeover knows: %s", d)
	}
}

// gobFields are the names in a gob's description of a struct: each led by its
// length, and beginning with a capital.
func gobFields(raw []byte) (names []string) {
	for i := 1; i < len(raw); i++ {
		size := int(raw[i-1])
		if size < 3 || size > 40 || i+size > len(raw) || raw[i] < 'A' || raw[i] > 'Z' {
			continue
		}
		word := raw[i : i+size]
		if bytes.IndexFunc(word, func(r rune) bool { return (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') }) < 0 {
			names = append(names, string(word))
			i += size
		}
	}
	return names
}

// The cookie must be where cookieField looks, or no handshake would begin.
func TestPionCookieField(t *testing.T) {
	c, err := pion.Server(newShim(false, netip.MustParseAddrPort(collectorAddr), netip.MustParseAddrPort(addrN(1)), new(dropCounters), nil),
		&net.UDPAddr{}, &pion.Config{PSK: func([]byte) ([]byte, error) { return nil, nil }, CipherSuites: []pion.CipherSuiteID{pion.TLS_PSK_WITH_AES_128_GCM_SHA256}})
	if err != nil {
		t.Fatal(err)
	}
	if f := cookieField(c); f == nil || *f != nil {
		t.Errorf("cookie field %v", f)
	}
}

// A datagram of a message costs no allocation from the carrier to the
// Receiver, and none on its way out.
func TestAllocations(t *testing.T) {
	collector, exporter := mutual(t)
	n := newMemNetwork()
	l := serve(t, n.listen(collectorAddr), collector)
	s := dial(t, memDialer(n, collectorAddr, exporter, addrN(1)))
	l.session(t)
	nowhere := &discard{memConn: s.conn.(*memConn)}
	s.wmu.Lock()
	s.conn = nowhere
	s.wmu.Unlock()

	batch := []transport.Outgoing{{Data: make([]byte, 1400)}, {Data: make([]byte, 1400)}, {Data: make([]byte, 700)}}
	ctx := t.Context()
	if got := testing.AllocsPerRun(100, func() {
		if n, err := s.Send(ctx, batch); n != len(batch) || err != nil {
			t.Fatal(n, err)
		}
	}); got != 0 {
		t.Errorf("Send: %v allocations", got)
	}

	// Each datagram is opened in place, so each run needs one of its own.
	const runs = 200
	datagrams := make([][]byte, 0, runs+1)
	for range runs + 1 {
		b, err := s.sealer.Seal(nil, 23, batch[0].Data)
		if err != nil {
			t.Fatal(err)
		}
		datagrams = append(datagrams, b)
	}
	l.inbound(t).receiver = quiet{}
	in := make([]transport.Datagram, 1)
	i := 0
	from := s.conn.LocalAddr()
	before := l.Stats()
	if got := testing.AllocsPerRun(runs, func() {
		in[0] = transport.Datagram{Peer: from, Data: datagrams[i]}
		i++
		l.l.receive(ctx, in, epochStart)
	}); got != 0 {
		t.Errorf("receive: %v allocations a datagram", got)
	}
	if st := l.Stats(); len(st.Dropped) != 0 || st.DatagramsReceived-before.DatagramsReceived != runs+1 {
		t.Errorf("stats %+v", st)
	}
}

type quiet struct{}

func (quiet) Message(transport.Incoming) {}
func (quiet) Barrier(done func())        { done() }
func (quiet) Closed(error)               {}

// discard is a carrier whose writes go nowhere.
type discard struct{ *memConn }

func (d *discard) WriteBatch(b []transport.Datagram) (int, error) { return len(b), nil }

// An idle session must cost at most 6 kB at the collector, what it keeps for
// resumption included.
func TestIdleSessionMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("300 handshakes")
	}
	const sessions = 300
	collector, exporter := mutual(t)
	n := newMemNetwork()
	l := serve(t, n.listen(collectorAddr), collector)
	measure := func() uint64 {
		var m runtime.MemStats
		for range 3 {
			runtime.GC()
		}
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	warm := dial(t, memDialer(n, collectorAddr, exporter, addrN(0)))
	send(t, warm, "x")
	expect(t, l.session(t), "x")
	heap := measure()
	goroutines := runtime.NumGoroutine()
	for i := range sessions {
		s, err := memDialer(n, collectorAddr, exporter, addrN(i+1)).Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		send(t, s, "x")
		expect(t, l.session(t), "x")
		// Crashed: the collector does not hear of its end.
		n.setFilter(func(netip.AddrPort, netip.AddrPort, []byte) [][]byte { return nil })
		_ = s.Close(t.Context())
		n.setFilter(nil)
	}
	l.sink.mu.Lock()
	l.sink.sessions = nil
	l.sink.mu.Unlock()
	l.l.mu.Lock()
	for _, s := range l.l.sessions() {
		s.receiver = quiet{}
	}
	l.l.mu.Unlock()
	eventually(t, "the handshakes' end", func() bool { return runtime.NumGoroutine() <= goroutines+2 })
	after := measure()
	if l.Stats().SessionsClosed != 0 {
		t.Fatal("sessions ended")
	}
	each := (int64(after) - int64(heap)) / sessions
	t.Logf("%d B of heap for an idle session, no goroutine", each)
	if each > 6000 {
		t.Errorf("an idle session takes %d B, at most 6000 are allowed", each)
	}
}
