package sctp

import (
	"bytes"
	"context"
	"testing"

	"ipfixsuite/transport"
	"ipfixsuite/transport/dtls/record"
)

// discard is an association that takes everything.
type discard struct {
	*memory
	taken uint64
}

func (d *discard) Send(_ context.Context, batch []Message) (int, error) {
	d.taken += uint64(len(batch))
	return len(batch), nil
}
func (d *discard) Acknowledged() uint64 { return d.taken }

type quiet struct{}

func (quiet) Message(transport.Incoming) {}
func (quiet) Barrier(done func())        { done() }
func (quiet) Closed(error)               {}

// Neither sending nor receiving allocates, in the clear and under DTLS.
func TestAllocations(t *testing.T) {
	for _, secure := range []bool{false, true} {
		client, _ := memoryPair(listed, listed)
		c := &carrier{assoc: &discard{memory: client}}
		var seal *record.Sealer
		if secure {
			secrets := record.Secrets{
				Suite: record.ECDHEECDSAAES128GCM, Client: true,
				Master: make([]byte, 48), ClientRandom: make([]byte, 32), ServerRandom: make([]byte, 32),
			}
			sealer, _, err := record.New(secrets)
			if err != nil {
				t.Fatal(err)
			}
			seal = sealer
			secrets.Client = false
			_, opener, err := record.New(secrets)
			if err != nil {
				t.Fatal(err)
			}
			c.tls = &secured{sealer: sealer, opener: opener}
		}
		s := newSession(c, new(pump), SessionConfig{}, transport.Peer{})
		batch := make([]transport.Outgoing, 32)
		for i := range batch {
			batch[i] = transport.Outgoing{Stream: uint16(i % memoryStreams), Data: make([]byte, 1400)}
		}
		send := func() {
			if n, err := s.Send(t.Context(), batch); n != len(batch) || err != nil {
				t.Fatal(n, err)
			}
		}
		send()
		if n := testing.AllocsPerRun(100, send); n > 0 {
			t.Errorf("secure %v: %v allocations to send %d messages", secure, n, len(batch))
		}

		in := &inbound{carrier: carrier{assoc: client, tls: c.tls}, l: &listener{}, receiver: quiet{}}
		m := Message{Data: make([]byte, 1400)}
		var sealed, buf []byte
		if secure {
			var err error
			if sealed, err = seal.Seal(nil, record.ApplicationData, m.Data); err != nil {
				t.Fatal(err)
			}
			buf = bytes.Clone(sealed)
		}
		ev := &Event{Kind: EventMessage}
		receive := func() {
			ev.Message = m
			if secure {
				copy(buf, sealed)
				ev.Message.Data = buf
			}
			in.take(ev)
		}
		if n := testing.AllocsPerRun(100, receive); n > 0 {
			t.Errorf("secure %v: %v allocations to receive a message", secure, n)
		}
		if got := in.l.messages.Load(); got < 100 || in.heard.Load() == 0 {
			t.Errorf("%d messages received", got)
		}
	}
}

// FuzzCheckMessage: what passes is one record, in its place.
func FuzzCheckMessage(f *testing.F) {
	f.Add(uint16(0), false, []byte{23, 0xFE, 0xFD, 0, 1, 0, 0, 0, 0, 0, 1, 0, 1, 7})
	f.Add(uint16(3), false, []byte{21, 0xFE, 0xFD, 0, 1, 0, 0, 0, 0, 0, 1, 0, 2, 1, 0})
	f.Fuzz(func(t *testing.T, stream uint16, unordered bool, b []byte) {
		h, err := checkMessage(Message{Stream: stream, Unordered: unordered, Data: b})
		if err != nil {
			return
		}
		if len(b) < record.HeaderLen || len(b) != record.HeaderLen+int(b[11])<<8+int(b[12]) {
			t.Errorf("% x is not one record", b)
		}
		if (stream != 0 || unordered) && h.Type >= record.ChangeCipherSpec && h.Type <= record.Handshake {
			t.Errorf("type %d on stream %d, unordered %v", h.Type, stream, unordered)
		}
	})
}
