package core

import (
	"errors"
	"time"

	"ipfixsuite/transport/dccp/ccid"
	"ipfixsuite/transport/dccp/wire"
)

// receivedOptions is what a packet's options said. Its slices are reused.
type receivedOptions struct {
	vector, dropped []byte
	joinedV         []byte // memory for vectors that came in several options
	joinedD         []byte
	ndp             uint64
	hasNDP          bool
	elapsed, rtt    time.Duration
	slow            bool
	corrupt         bool // the Data Checksum does not match
	feature         bool // a feature option was there
	cookies         []byte
	toSender        []wire.Option
	toReceiver      []wire.Option

	// Told to the halves: kept here so that nothing escapes per packet.
	ack      ccid.Ack
	received ccid.Received
}

func (o *receivedOptions) reset() {
	*o = receivedOptions{joinedV: o.joinedV[:0], joinedD: o.joinedD[:0], elapsed: -1,
		cookies: o.cookies[:0], toSender: o.toSender[:0], toReceiver: o.toReceiver[:0]}
}

// readOptions processes the options of a valid packet in their order (Step 8).
// A fault is a reason to reset the connection.
func (c *Conn) readOptions(now time.Time, p *wire.Packet) fault {
	o := &c.received
	o.reset()
	r := p.ReadOptions()
	for r.Next() {
		if f := c.readOption(now, p, r.Option); f.code != 0 {
			return f
		}
	}
	if o.feature && c.feat.fgsr.Less(p.Seq) {
		c.feat.fgsr = p.Seq
		c.feat.settled()
	}
	if err := r.Err(); err != nil {
		c.stats.OptionErrors++
		if errors.Is(err, wire.ErrMandatory) {
			return fault{code: wire.ResetOptionError, data: [3]byte{byte(wire.OptMandatory)}}
		}
	}
	return fault{}
}

// readOption processes one option. What is not understood is ignored unless
// Mandatory stood before it (RFC 4340, Section 5.8.2).
func (c *Conn) readOption(now time.Time, p *wire.Packet, opt wire.Option) fault {
	o := &c.received
	understood := true
	// The number on a Sync or SyncAck need not be the greatest that came, from
	// which its sender's vectors start (Section 5.7), unless that is our last.
	acks := p.Type.HasAck() && p.Type != wire.Sync && (p.Type != wire.SyncAck || p.Ack == c.gss)
	switch t := opt.Type; t {
	case wire.OptSlowReceiver:
		o.slow = true
		c.stats.SlowReceiverSeen++
	case wire.OptChangeL, wire.OptChangeR, wire.OptConfirmL, wire.OptConfirmR:
		o.feature = true
		rf := receivedFeature{o: opt, seq: p.Seq, ack: p.Ack, hasAck: p.Type.HasAck()}
		return c.feat.receive(&rf)
	case wire.OptInitCookie:
		if p.Type == wire.Response && len(o.cookies)+len(opt.Data)+2 <= maxCookies {
			o.cookies = wire.AppendOption(o.cookies, t, opt.Data...)
		}
	case wire.OptNDPCount:
		o.ndp, o.hasNDP = wire.NDPCount(opt.Data)
		understood = o.hasNDP
	case wire.OptAckVector0, wire.OptAckVector1:
		if acks {
			o.vector = join(&o.joinedV, o.vector, opt.Data)
		}
	case wire.OptDataDropped:
		if acks {
			o.dropped = join(&o.joinedD, o.dropped, opt.Data)
		}
	case wire.OptTimestamp:
		var ok bool
		if c.echo, ok = wire.Timestamp(opt.Data); ok {
			c.echoAt, c.hasEcho = now, true
		}
		understood = ok
	case wire.OptTimestampEcho:
		stamp, delay, ok := wire.TimestampEcho(opt.Data)
		if d := time.Duration(c.stamp(now)-stamp) * wire.TimeUnit; ok && delay <= d && d < maxEcho {
			o.rtt = d - delay
		}
		understood = ok
	case wire.OptElapsedTime:
		d, ok := wire.ElapsedTime(opt.Data)
		if ok && p.Type.HasAck() {
			o.elapsed = d
		}
		understood = ok
	case wire.OptDataChecksum:
		match, ok := wire.CheckDataCRC(opt.Data, p.Data)
		o.corrupt = o.corrupt || ok && !match
		understood = ok
	default:
		understood = c.readCCIDOption(opt, p.Type)
	}
	if !understood {
		if opt.Mandatory {
			return optionFault(wire.ResetMandatoryError, opt)
		}
		if opt.Type <= wire.OptDataChecksum {
			c.stats.OptionErrors++
		}
	}
	return fault{}
}

// readCCIDOption collects what concerns the halves; only those of the CCID in
// force are understood.
func (c *Conn) readCCIDOption(opt wire.Option, t wire.Type) bool {
	switch {
	case opt.Type >= 192:
		if len(c.received.toSender) < maxCCIDOptions && t.HasAck() {
			c.received.toSender = append(c.received.toSender, opt)
		}
		return opt.Type <= wire.OptReceiveRate && c.feat.value(local, wire.FeatCCID) == uint64(ccid.TFRC)
	case opt.Type >= 128:
		if len(c.received.toReceiver) < maxCCIDOptions {
			c.received.toReceiver = append(c.received.toReceiver, opt)
		}
	}
	return false
}

const (
	// maxCCIDOptions is more than any CCID sends.
	maxCCIDOptions = 16
	// maxEcho is half the way around the timestamps' circle.
	maxEcho = time.Duration(1<<31) * wire.TimeUnit
)

// join concatenates the data of options that go on where the one before ended.
// The usual single one is not copied.
func join(memory *[]byte, have, more []byte) []byte {
	if have == nil {
		return more
	}
	if len(*memory) == 0 {
		*memory = append(*memory, have...)
	}
	*memory = append(*memory, more...)
	return *memory
}

// stamp is our clock for Timestamp options.
func (c *Conn) stamp(now time.Time) uint32 {
	return uint32(uint64(max(now.Sub(c.epoch), 0) / wire.TimeUnit))
}

// keepCookies remembers the Init Cookies of the Response, to be echoed on each
// packet until one is acknowledged (RFC 4340, Section 8.1.4, MUST).
func (c *Conn) keepCookies() { c.cookies = append(c.cookies[:0], c.received.cookies...) }
