package tlsmux

import (
	"context"
	"errors"
	"net/netip"
	"testing"

	"ipfixsuite/transport"
	"ipfixsuite/transport/tcp"
	"ipfixsuite/transport/transporttest"
)

// discard is a Handler whose sinks have always written everything.
type discard struct{}

func (discard) Open(transport.Peer, transport.Properties) (transport.Receiver, error) {
	return discard{}, nil
}
func (discard) Message(transport.Incoming) {}
func (discard) Barrier(done func())        { done() }
func (discard) Closed(error)               {}

// A message costs no allocation, at either end: those that remain are for
// waits and barriers, of which there is one for many messages.
func TestSession_Allocations(t *testing.T) {
	ca := transporttest.NewAuthority(t)
	cfg := CollectorConfig{Names: func() []string { return []string{"collector"} }}
	l, err := tcp.Listen(netip.MustParseAddrPort("127.0.0.1:0"), tcp.Config{
		Credentials: ca.Credentials(t, "collector"), NextProtos: []string{Protocol}, Upgrade: map[string]tcp.Upgrade{Protocol: Upgrade(cfg)},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	over := make(chan error, 1)
	go func() { over <- l.Serve(ctx, discard{}) }() // ended by stop
	defer func() {
		stop()
		wait(t, over, "end of Serve")
	}()
	d := &Dialer{TCP: &tcp.Dialer{Remote: l.Addr(), Config: tcp.Config{Credentials: ca.Credentials(t, "exporter"), ServerName: "collector"}}}
	s, err := d.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close(t.Context())
	batch := make([]transport.Outgoing, 32)
	for i := range batch {
		batch[i] = message(1400, i)
		batch[i].Stream = uint16(i % 4)
	}
	round := func() {
		for rest := batch; len(rest) > 0; {
			n, err := s.Send(t.Context(), rest)
			if err != nil && !errors.Is(err, transport.ErrBusy) {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
	}
	for range 300 {
		round()
	}
	n := testing.AllocsPerRun(1000, round) / float64(len(batch))
	t.Logf("%.3f allocations a message", n)
	if n >= 0.5 {
		t.Errorf("%.2f allocations a message", n)
	}
}
