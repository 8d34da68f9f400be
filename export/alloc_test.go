//go:build !race

// The race detector allocates for what it observes.

package export

import (
	"context"
	"testing"
	"time"

	"ipfixsuite/transport"
)

// sinkSession takes everything and looks at nothing.
type sinkSession struct {
	*testSession
	messages, octets int
}

func (s *sinkSession) Send(_ context.Context, batch []transport.Outgoing) (int, error) {
	for i := range batch {
		s.octets += len(batch[i].Data)
	}
	s.messages += len(batch)
	return len(batch), nil
}

type sinkDialer struct{ s *sinkSession }

func (d sinkDialer) Dial(context.Context) (transport.Session, error) { return d.s, nil }

func sinkExporter(t testing.TB, props transport.Properties, streams Streams) (*Exporter, *Template, *sinkSession) {
	s := &sinkSession{testSession: newTestSession(1, props, 1400)}
	e, err := New(Config{Dialer: sinkDialer{s}, Streams: streams, StatsInterval: -1, QueueBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	tmpl, err := e.Define(0, flowSpecs)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- e.Run(context.Background()) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := e.Close(ctx); err != nil {
			t.Error(err)
		}
		<-done
	})
	return e, tmpl, s
}

// Neither a record nor a message costs an allocation in the steady state,
// in the source's goroutine and in the loop's together.
func TestWrite_AllocatesNothing(t *testing.T) {
	for _, tc := range []struct {
		name    string
		props   transport.Properties
		streams Streams
	}{{"udp", udpLike, 0}, {"a stream for each domain", sctpLike, StreamPerDomain}, {"a stream for each template", sctpLike, StreamPerTemplate}} {
		t.Run(tc.name, func(t *testing.T) {
			e, tmpl, _ := sinkExporter(t, tc.props, tc.streams)
			list := []*Template{tmpl}
			for k := range 4 {
				o, err := e.DefineIn(uint32(k/2), 0, append(flowSpecs[:2:2], farSpecs(1 + k)[1]))
				if err != nil {
					t.Fatal(err)
				}
				list = append(list, o)
			}
			ctx := t.Context()
			rec := append(flowRecord(1), 0, 0, 0, 1)
			write := func() {
				for i := range 100_000 {
					to := list[i%len(list)]
					if err := e.Write(ctx, to, rec[:to.RecordLen]); err != nil {
						t.Fatal(err)
					}
				}
			}
			for range 5 {
				write() // fills the stock of messages
			}
			if n := testing.AllocsPerRun(5, write); n > 20 {
				t.Errorf("%v allocations for 100000 records in 1500 messages", n)
			}
		})
	}
}

// What a record of 16 octets costs from Write to a session that does nothing.
func BenchmarkWrite(b *testing.B) {
	e, tmpl, _ := sinkExporter(b, udpLike, 0)
	ctx := b.Context()
	rec := flowRecord(1)
	b.SetBytes(int64(len(rec)))
	b.ReportAllocs()
	for b.Loop() {
		if err := e.Write(ctx, tmpl, rec); err != nil {
			b.Fatal(err)
		}
	}
}
