package export_test

import (
	"context"
	"encoding/binary"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"ipfixsuite/collect"
	"ipfixsuite/export"
	"ipfixsuite/ie"
	"ipfixsuite/ipfix"
	"ipfixsuite/transport"
	"ipfixsuite/transport/credentials"
	"ipfixsuite/transport/dtls"
	"ipfixsuite/transport/udp"
)

func psk(t *testing.T) *credentials.Credentials {
	t.Helper()
	name := filepath.Join(t.TempDir(), "psk")
	if err := os.WriteFile(name, []byte("router1:000102030405060708090a0b0c0d0e0f\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := credentials.Load(credentials.Config{PSKFile: name})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// As fast as the source goes, over DTLS: the window of unconfirmed octets
// keeps the collector's socket buffer from overflowing.
func TestLoopback_DTLS_Unpaced(t *testing.T) {
	cred := psk(t)
	// What a user without privileges gets of a Linux host's defaults.
	conn, err := udp.Listen(netip.MustParseAddrPort("127.0.0.1:0"), udp.Config{ReceiveBuffer: 212992})
	if err != nil {
		t.Fatal(err)
	}
	l := dtls.NewListener(conn, dtls.Config{Credentials: cred})
	sink := new(numbered)
	c := collect.New(collect.Config{Sinks: []collect.Sink{sink}})
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- l.Serve(ctx, c) }()

	remote := l.Addr()
	dialer := &dtls.Dialer{
		Connect: func(ctx context.Context) (transport.DatagramConn, netip.AddrPort, error) {
			c, err := udp.Connect(ctx, remote, udp.Config{})
			return c, remote, err
		},
		Config: dtls.Config{Credentials: cred, PSKIdentity: "router1"},
	}
	e, err := export.New(export.Config{Dialer: dialer, Domain: 3, MaxMessage: 1400})
	if err != nil {
		t.Fatal(err)
	}
	go e.Run(t.Context())
	tmpl, err := e.Define(0, []ipfix.FieldSpec{{ID: ie.ID{Num: 1}, Length: 8}, {ID: ie.ID{Num: 8}, Length: 4}, {ID: ie.ID{Num: 27}, Length: 16}, {ID: ie.ID{Num: 28}, Length: 16}})
	if err != nil {
		t.Fatal(err)
	}
	const n = 500_000
	begin := time.Now()
	var rec [44]byte
	for i := range n {
		binary.BigEndian.PutUint64(rec[:], uint64(i+1))
		if err := e.Write(t.Context(), tmpl, rec[:]); err != nil {
			t.Fatal(err)
		}
	}
	cctx, ccancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer ccancel()
	if err := e.Close(cctx); err != nil {
		t.Error(err)
	}
	t.Logf("%.0f records a second", n/time.Since(begin).Seconds())
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
	if err := c.Close(t.Context()); err != nil {
		t.Error(err)
	}
	sum, got := e.Summary(), summary(c)
	if sum.RecordsSent != n || got.RecordsReceived != n || got.RecordsLost != 0 || l.Stats().SocketDrops != 0 ||
		sum.HeartbeatsAnswered < 10 || sum.CollectorsLost != 0 {
		t.Errorf("exporter %+v\ncollector %+v\nlistener %+v", sum, got, l.Stats())
	}
	if sink.bad != 0 || sink.last != n {
		t.Errorf("%d records out of order, last %d", sink.bad, sink.last)
	}
}
