package tcp

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"ipfixsuite/transport"
)

func TestAllocations(t *testing.T) {
	ca := newAuthority(t)
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprint("secure ", secure), func(t *testing.T) {
			l, s := pair(t, ca, secure)
			_ = l
			batch := make([]transport.Outgoing, 32)
			for i := range batch {
				batch[i].Data = message(1400, i)
			}
			var fates []transport.Fate
			round := func() {
				for rest := batch; len(rest) > 0; {
					n, err := s.Send(t.Context(), rest)
					if err != nil && !errors.Is(err, transport.ErrBusy) {
						t.Fatal(err)
					}
					rest = rest[n:]
				}
				fates = s.(transport.Tracker).Fates(fates[:0])
			}
			for range 200 {
				round()
			}
			// A wait for room costs; it comes once a buffer at most.
			if n := testing.AllocsPerRun(500, round) / float64(len(batch)); n >= 0.5 {
				t.Errorf("%.2f allocations a message", n)
			}
		})
	}
}

// counter is a Handler that only counts.
type counter struct{}

func (c counter) Open(transport.Peer, transport.Properties) (transport.Receiver, error) {
	return c, nil
}
func (counter) Message(transport.Incoming) {}
func (counter) Barrier(func())             {}
func (counter) Closed(error)               {}

func pair(t testing.TB, ca authority, secure bool) (transport.Listener, transport.Session) {
	t.Helper()
	var cfg Config
	if secure {
		cfg.Credentials = ca.Credentials(t, "collector")
	}
	l, err := Listen(netip.MustParseAddrPort("127.0.0.1:0"), cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	over := make(chan error, 1)
	go func() { over <- l.Serve(ctx, counter{}) }() // ended by stop
	d := &Dialer{Remote: l.Addr()}
	if secure {
		d = ca.dialer(t, l.Addr())
	}
	s := dial(t, d)
	t.Cleanup(func() {
		stop()
		if err := wait(t, over, "end of Serve"); err != nil {
			t.Error(err)
		}
	})
	return l, s
}

func BenchmarkSession(b *testing.B) {
	ca := newAuthority(b)
	for _, secure := range []bool{false, true} {
		b.Run(fmt.Sprintf("secure=%v", secure), func(b *testing.B) {
			_, s := pair(b, ca, secure)
			m := message(1400, 1)
			batch := make([]transport.Outgoing, 64)
			for i := range batch {
				batch[i].Data = m
			}
			b.SetBytes(int64(len(m)))
			b.ReportAllocs()
			sent := 0
			for b.Loop() {
				if sent%len(batch) == 0 {
					for rest := batch; len(rest) > 0; {
						n, _ := s.Send(b.Context(), rest)
						rest = rest[n:]
					}
				}
				sent++
			}
		})
	}
}
