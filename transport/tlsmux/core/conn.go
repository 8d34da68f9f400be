// Package core is MTA-TLS as a machine (draft-badra-tls-multiplexing-01): it is
// given what came out of the TLS session, and asked what to write into it.
// spec.md in the directory above says the rules.
//
// It is pure: no sockets, goroutines or clocks. Whoever drives it serializes
// the calls.
package core

import (
	"errors"
	"fmt"

	"ipfixsuite/transport/tlsmux/wire"
)

// Defaults of Config.
const (
	DefaultWindow = 1 << 20
	// DefaultMaxPacket makes a packet fill a TLS record.
	DefaultMaxPacket   = 1<<14 - wire.DataHeaderLen
	DefaultSendBuffer  = 256 << 10
	DefaultMaxChannels = 1024
	DefaultMaxAsked    = 64
)

const (
	// maxControl is how many octets of answers may wait to be written before
	// no more is taken from a peer that does not read them.
	maxControl = 64 << 10
	// maxStray bounds the packets for channels that never were.
	maxStray = 10_000
	// remembered is how many channels that were closed are remembered, so
	// that their late packets are known as such.
	remembered = 256
)

// Config bounds a session; zero fields take the defaults.
type Config struct {
	// Client tells that this side is the TLS client: the two sides choose
	// their halves of identifiers from different ranges.
	Client bool
	// Window is what is granted to the peer on each channel, MaxPacket the
	// largest packet taken, in octets of data.
	Window, MaxPacket uint32
	// SendBuffer bounds what a channel holds that has not been written, in
	// octets.
	SendBuffer int
	// MaxChannels bounds the channels that the peer has opened, MaxAsked those
	// of its requests that are not answered.
	MaxChannels, MaxAsked int
}

func (c Config) withDefaults() Config {
	if c.Window == 0 {
		c.Window = DefaultWindow
	}
	if c.MaxPacket == 0 {
		c.MaxPacket = DefaultMaxPacket
	}
	// A packet never fills more than the window (Section 2.1.1).
	c.MaxPacket = min(c.MaxPacket, c.Window, wire.MaxData)
	if c.SendBuffer == 0 {
		c.SendBuffer = DefaultSendBuffer
	}
	if c.MaxChannels == 0 {
		c.MaxChannels = DefaultMaxChannels
	}
	if c.MaxAsked == 0 {
		c.MaxAsked = DefaultMaxAsked
	}
	return c
}

// Stats counts what became of what the peer sent.
type Stats struct {
	Opened, Asked, Refused, Closed uint64 // channels
	Violations                     uint64 // of a channel's rules: it was closed
	Late                           uint64 // packets for a channel closed lately
	Stray                          uint64 // for one that never was, or answering nothing
	Unknown                        uint64 // of a type the draft does not have
}

// Conn is one TLS session's multiplexer.
type Conn struct {
	cfg   Config
	stats Stats

	channels map[wire.ChannelID]*Channel // established, or being closed by us
	asking   map[uint16]*Channel         // our requests under way, by our half
	asked    int                         // the peer's requests not answered
	pending  map[uint16]*Channel         // those, by the peer's half
	peers    int                         // channels that the peer opened, asked for included
	nextOurs uint16                      // half of our next request
	nextTo   uint16                      // half of our next answer
	late     [remembered]wire.ChannelID
	lateN    int

	events  []Event // from head on
	head    int
	control []byte
	ready   []*Channel // with data and window, in the order of their turns
	skip    uint32     // of a packet that is too long
	tainted bool
	fatal   error
	packet  wire.Packet
}

// New makes the machine of an established session. Both sides are alike.
func New(cfg Config) *Conn {
	return &Conn{
		cfg: cfg.withDefaults(), channels: map[wire.ChannelID]*Channel{},
		asking: map[uint16]*Channel{}, pending: map[uint16]*Channel{},
	}
}

// Stats is a snapshot.
func (c *Conn) Stats() Stats { return c.stats }

// Tainted tells that a channel failed: the session must not be resumed
// (Section 3).
func (c *Conn) Tainted() bool { return c.tainted }

// EventKind says what happened.
type EventKind uint8

const (
	// Opened: the peer granted our request.
	Opened EventKind = iota + 1
	// Refused: it did not; Text says why. The channel is gone.
	Refused
	// Asked: the peer wants a channel; Accept or Reject answers.
	Asked
	// Arrived: Data came. It counts against the window until Free.
	Arrived
	// Room: an Acknowledgment came, or there is room to write again.
	Room
	// Closed: the channel is gone; Text says why if it was a fault.
	Closed
)

// Event is something that happened. Data and Text are views of what was given
// to Receive.
type Event struct {
	Kind                EventKind
	Channel             *Channel
	Data, Text          []byte
	Source, Destination wire.Address
}

// ErrFull says that there is no identifier left.
var ErrFull = errors.New("too many channels")

// Open asks for a channel. Hosts are names or numeric addresses of at most
// wire.MaxAddress octets.
func (c *Conn) Open(source, destination wire.Address) (*Channel, error) {
	if c.fatal != nil {
		return nil, c.fatal
	}
	half, ok := c.freeHalf()
	if !ok {
		return nil, ErrFull
	}
	ch := &Channel{conn: c, state: asking, half: half, granted: c.cfg.Window, maxIn: c.cfg.MaxPacket}
	p := wire.Packet{Type: wire.OpenRequest, Sender: half, Window: c.cfg.Window, MaxPacket: c.cfg.MaxPacket, Source: source, Destination: destination}
	out, err := p.AppendBinary(c.control)
	if err != nil {
		return nil, err
	}
	c.control = out
	c.asking[half] = ch
	return ch, nil
}

// halves is how many each side has to choose from: with all from one range,
// requests that cross could get one identifier for two channels.
const halves = 1 << 15

// our makes a number a half of our range.
func (c *Conn) our(n uint16) uint16 {
	n %= halves
	if !c.cfg.Client {
		n |= halves
	}
	return n
}

// freeHalf finds a half for a request of ours: none that is under way.
func (c *Conn) freeHalf() (uint16, bool) {
	for range halves {
		c.nextOurs++
		if half := c.our(c.nextOurs); c.asking[half] == nil {
			return half, true
		}
	}
	return 0, false
}

// Limit makes the window of a channel that the peer asked for no larger than n
// octets. It comes before Accept.
func (ch *Channel) Limit(n uint32) {
	if ch.state == asked {
		ch.granted = min(ch.granted, n)
		ch.maxIn = min(ch.maxIn, ch.granted)
	}
}

// Accept grants a request of the peer's.
func (c *Conn) Accept(ch *Channel) error {
	if ch.state != asked {
		return errState
	}
	for range halves {
		c.nextTo++
		// The whole identifier must be one that no channel has (Section 2.1.1).
		receiver := c.our(c.nextTo)
		if id := wire.MakeID(ch.half, receiver); c.channels[id] == nil {
			ch.id = id
			c.answered(ch)
			ch.state = open
			c.channels[id] = ch
			c.stats.Opened++
			c.send(wire.Packet{Type: wire.OpenSuccess, Sender: ch.half, Receiver: receiver, Window: ch.granted, MaxPacket: ch.maxIn})
			return nil
		}
	}
	c.Reject(ch, ErrFull.Error())
	return ErrFull
}

// Reject refuses a request of the peer's.
func (c *Conn) Reject(ch *Channel, why string) {
	if ch.state != asked {
		return
	}
	c.answered(ch)
	ch.state = gone
	c.peers--
	c.refuse(ch.half, why)
}

func (c *Conn) answered(ch *Channel) {
	delete(c.pending, ch.half)
	c.asked--
}

func (c *Conn) refuse(half uint16, why string) {
	c.stats.Refused++
	c.send(wire.Packet{Type: wire.OpenFailure, Sender: half, Text: []byte(why)})
}

// send queues a control packet.
func (c *Conn) send(p wire.Packet) {
	out, err := p.AppendBinary(c.control)
	if err != nil {
		panic(fmt.Sprintf("tlsmux: %v", err)) // a packet of ours that cannot be
	}
	c.control = out
}

// Event returns what happened next.
func (c *Conn) Event() (Event, bool) {
	if c.head == len(c.events) {
		return Event{}, false
	}
	e := c.events[c.head]
	c.events[c.head] = Event{}
	if c.head++; c.head == len(c.events) {
		c.events, c.head = c.events[:0], 0
	}
	return e, true
}
