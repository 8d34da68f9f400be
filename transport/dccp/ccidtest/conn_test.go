package ccidtest_test

import (
	"testing"
	"time"

	"ipfixsuite/transport/dccp/ccid"
	"ipfixsuite/transport/dccp/core"
	"ipfixsuite/transport/dccp/sim"
	"ipfixsuite/transport/dccp/wire"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

const service wire.ServiceCode = 0x3f495046

// end is one end of a real connection: negotiation, options, Ack Vectors and
// all. It implements sim.Endpoint.
type end struct {
	t        *testing.T
	c        *core.Conn
	listener *core.Listener
	tuple    core.Tuple
	message  []byte
	greedy   bool   // always has another message
	octets   uint64 // that came
	fates    [3]uint64
}

// zeros is randomness that does not matter here: cookies are not under attack.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

// connect makes the two ends of a connection that d controls.
func connect(t *testing.T, d ccid.CCID, now time.Time, size int, port uint16) (client, server *end) {
	cfg := core.Config{CCIDs: []ccid.CCID{d}, MTU: 1400, QueueMessages: 64}
	client = &end{t: t, message: make([]byte, size)}
	client.c = core.NewClient(now, cfg, core.Ports{Local: port, Remote: 4739, Service: service}, wire.MakeSeq(uint64(port)<<32))
	var err error
	server = &end{t: t, tuple: core.Tuple{LocalPort: 4739, RemotePort: port}}
	server.listener, err = core.NewListener(core.ListenerConfig{
		Config: cfg, Services: []wire.ServiceCode{service}, Rand: zeros{},
	})
	if err != nil {
		t.Fatal(err)
	}
	return client, server
}

func (e *end) Receive(now time.Time, in sim.Packet) {
	var p wire.Packet
	if err := p.Parse(in.Data); err != nil {
		e.t.Errorf("unreadable packet: %v", err)
		return
	}
	if e.c == nil {
		_, e.c = e.listener.HandlePacket(now, e.tuple, &p, nil)
	} else {
		e.c.HandlePacket(now, &p)
	}
	e.events()
}

func (e *end) events() {
	for e.c != nil {
		ev, ok := e.c.Event()
		if !ok {
			return
		}
		switch ev.Kind {
		case core.EventOpened:
			if e.listener != nil {
				e.listener.Settled(e.tuple)
			}
		case core.EventData:
			e.octets += uint64(len(ev.Data))
		case core.EventTransmitted:
			e.fates[0]++
		case core.EventDelivered:
			e.fates[1]++
		case core.EventLost:
			e.fates[2]++
		case core.EventClosed:
			e.t.Errorf("connection ended: %v", e.c.Err())
		}
	}
}

func (e *end) Transmit(now time.Time, b []byte) ([]byte, bool, bool) {
	if e.c == nil {
		return b, false, false
	}
	for e.greedy && e.c.Send(now, 0, e.message) == nil {
	}
	b, _, ok := e.c.AppendPacket(now, b)
	e.events()
	return b, false, ok
}

func (e *end) Advance(now time.Time) {
	if e.c != nil {
		e.c.HandleTimer(now)
		e.events()
	}
}

func (e *end) Next() time.Time {
	if e.c == nil {
		return time.Time{}
	}
	return e.c.NextTimer()
}
