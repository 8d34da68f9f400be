package dccp

import (
	"context"
	"net/netip"
	"time"

	"ipfixsuite/transport"
	"ipfixsuite/transport/dccp/core"
	"ipfixsuite/transport/dccp/wire"
)

// readSize is how many packets are asked of the socket at once.
const readSize = 64

// read is the goroutine that owns the socket's receiving side.
func (e *Endpoint) read() {
	dst := make([]transport.Datagram, readSize)
	r := reader{e: e}
	for n := 0; ; {
		if n >= manyRead && e.io.Pressed() {
			r.crowd.pressed = time.Now()
		}
		var err error
		if n, err = e.io.ReadBatch(context.Background(), dst); err != nil {
			e.fail(err)
			return
		}
		now := time.Now()
		r.crowd.read(now)
		r.batch(now, dst[:n])
	}
}

// reader hands packets out, those in a row for one connection under one lock
// and with one system call for what they elicit.
type reader struct {
	e      *Endpoint
	packet wire.Packet
	conn   *Conn // locked, with packets in out
	out    outbox
	crowd  crowd
}

func (r *reader) batch(now time.Time, batch []transport.Datagram) {
	octets := 0
	for i := range batch {
		d := &batch[i]
		octets += len(d.Data)
		if r.packet.Parse(d.Data) != nil {
			r.e.malformed.Add(1)
			continue
		}
		r.handle(now, d)
	}
	r.release(now)
	r.e.packets.Add(uint64(len(batch)))
	r.e.octets.Add(uint64(octets))
}

func (r *reader) handle(now time.Time, d *transport.Datagram) {
	key := core.Tuple{
		Local: netip.AddrPortFrom(r.e.local.IP, r.e.local.UDP), Remote: d.Peer,
		LocalPort: r.packet.DstPort, RemotePort: r.packet.SrcPort,
	}
	if r.e.wild {
		key.Local = netip.AddrPortFrom(d.Local, r.e.local.UDP)
	}
	if r.conn == nil || r.conn.key != key || r.conn.retired {
		r.release(now)
		if r.conn = r.e.find(key); r.conn == nil {
			r.e.unknown(now, key, d, &r.packet)
			return
		}
		r.conn.mu.Lock()
		if r.conn.retired {
			r.conn.mu.Unlock()
			r.conn = nil
			r.e.unknown(now, key, d, &r.packet)
			return
		}
		r.conn.held = &r.out
	}
	c := r.conn
	c.m.SetSlow(r.crowd.ask(&c.share) || c.in.used > c.in.limit/2)
	c.m.HandlePacket(now, &r.packet)
	c.events()
	// Each packet's answers are made when it comes, so that acknowledgements
	// say what they would have said without batches; they leave together.
	if !c.retired && c.collect(now, &r.out) {
		c.transmit(now, &r.out)
	}
}

// release lets go of the connection in hand.
func (r *reader) release(now time.Time) {
	if r.conn == nil {
		return
	}
	if !r.conn.retired {
		r.conn.flush(now, &r.out)
	}
	r.out.reset()
	r.conn.held = nil
	r.conn.mu.Unlock()
	r.conn = nil
}
