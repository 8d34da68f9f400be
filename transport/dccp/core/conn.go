package core

import (
	"slices"
	"time"

	"ipfixsuite/transport/dccp/ccid"
	"ipfixsuite/transport/dccp/wire"
)

// State is a connection's state (RFC 4340, Section 8). LISTEN is Listener.
type State uint8

// States, in the order in which a connection passes through them.
const (
	StateClosed   State = iota // ended; nothing is kept
	StateRequest               // client, Request sent
	StateRespond               // server, Response sent
	StatePartOpen              // client, Response received
	StateOpen
	StateCloseReq // server, asked the client to close
	StateClosing  // Close sent
	StateTimeWait // Reset received: old packets are answered for 4 minutes
)

var stateNames = [...]string{"CLOSED", "REQUEST", "RESPOND", "PARTOPEN", "OPEN", "CLOSEREQ", "CLOSING", "TIMEWAIT"}

func (s State) String() string { return stateNames[s] }

// Ports are a connection's DCCP ports and service code, as this end sees them.
type Ports struct {
	Local, Remote uint16
	Service       wire.ServiceCode
}

// Timers' bounds.
const (
	maxBackoff      = 64 * time.Second
	requestRetry    = time.Second
	partOpenRetry   = 200 * time.Millisecond
	minFeatureRetry = 200 * time.Millisecond
	minCloseRetry   = 200 * time.Millisecond
	minSettle       = 300 * time.Millisecond
	maxFateTries    = 6
	handshakeLimit  = 4 * MSL
	closeLimit      = 4 * MSL
	timeWait        = 2 * MSL
	unknownRTT      = 200 * time.Millisecond // RFC 4340, Section 3.4

	// windowSpans is how much larger a Sequence Window should be than what is
	// sent in a round trip (RFC 4340, Section 7.5.2: about five times). A larger
	// maxSpan than what outstanding remembers helps nobody.
	windowSpans = 5
	maxSpan     = maxOutstanding

	syncsPerSecond  = 8
	maxKeepAlives   = 8
	keepAliveRetry  = 2 * time.Second
	maxErrorText    = 128
	maxCookies      = 512 // octets of Init Cookie options that a client echoes
	minWindowStall  = 200 * time.Millisecond
	maxEchoElapsed  = 10 * time.Second
	resetsPerSecond = 8
)

// Conn is one end of a connection. Its methods are not safe for concurrent use.
type Conn struct {
	cfg     Config
	ports   Ports
	server  bool
	state   State
	stats   Stats
	events  events
	data    Event // of the packet just handled
	hasData bool
	err     *ResetError

	// Sequence number variables (RFC 4340, Sections 7.1 and 8.5).
	iss, isr, osr, gss, gsr, gar wire.Seq
	issWrapped, isrWrapped       bool
	vectored                     wire.Seq // the latest that an Ack Vector came with,
	vectors                      bool     // if any did
	span                         int64    // the furthest that an acknowledgement was behind gss

	feat negotiation
	in   history
	out  outstanding

	sender     ccid.Sender
	receiver   ccid.Receiver
	sendCCID   ccid.ID // of the halves that exist
	recvCCID   ccid.ID
	ackPending bool // a packet came that no acknowledgement of ours has covered

	queue    queue
	full     bool      // ErrQueueFull was returned
	sendAt   time.Time // when the CCID wants to be asked again
	ndp      uint64    // non-data packets since the last data packet
	draining bool      // Close was called
	drainBy  time.Time
	settleBy time.Time // for the fates of the last messages

	// A Sync asks for the fates of messages that nothing was heard of for a
	// while: fateSeq, once fateAsked; fateDue: the next one is it.
	fateAt             time.Time
	fateTries          int
	fateDue, fateAsked bool
	fateSeq            wire.Seq
	overtook           int // packets that have come since the oldest outstanding is it

	// What is to be sent.
	due       due
	syncAck   wire.Seq // number to acknowledge by due.sync
	syncAckOf wire.Seq // Sync to answer by due.syncAck
	reset     wire.Packet
	isStray   bool // reset is StrayReset's

	// Timers; zero: off.
	retryAt      time.Time // REQUEST, PARTOPEN, CLOSEREQ, CLOSING: repeat
	retryBackoff time.Duration
	limitAt      time.Time // the state's end
	keepAliveAt  time.Time
	keepAlives   int
	stallAt      time.Time // the sequence window is full
	stallBackoff time.Duration

	syncs, resets bucket
	heard         time.Time // last valid packet

	rtt      rttMeter
	echo     uint32 // the peer's timestamp to echo
	echoAt   time.Time
	hasEcho  bool
	epoch    time.Time // of our timestamps
	cookies  []byte    // options to echo, as octets
	slow     bool      // Slow Receiver to be sent
	deaf     bool      // the peer's application reads no more
	path     path
	received receivedOptions
	dataSeq  wire.Seq // of the last EventData
	unfit    bool     // an Ack had to go before its message
	vector   []byte   // memory for Ack Vectors
	scratch  []byte   // options of the packet that is made
}

// due are the packets to send, by precedence.
type due struct {
	reset, sync, syncAck, handshake, closing, ack bool
}

// NewClient makes the active end. iss is its initial sequence number, which
// NewISS makes; the Request is ready for AppendPacket.
func NewClient(now time.Time, cfg Config, ports Ports, iss wire.Seq) *Conn {
	c := new(Conn)
	c.init(now, cfg, ports, iss, false)
	c.state = StateRequest
	c.due.handshake = true
	c.limitAt = now.Add(c.cfg.GiveUp)
	return c
}

// init starts afresh; memory that c has is used again.
func (c *Conn) init(now time.Time, cfg Config, ports Ports, iss wire.Seq, server bool) {
	*c = Conn{cfg: cfg.withDefaults(), ports: ports, server: server, epoch: now, heard: now,
		in: history{ring: c.in.ring}, out: outstanding{ring: c.out.ring},
		scratch: c.scratch[:0], cookies: c.cookies[:0], feat: negotiation{confirms: c.feat.confirms[:0]}}
	c.iss, c.gss, c.gar = iss, iss.Add(-1), iss
	c.feat.changed = c.featureChanged
	c.feat.start(&c.cfg, server)
	c.feat.fgss = iss
	c.out.start(iss)
	c.syncs.rate, c.resets.rate = syncsPerSecond, resetsPerSecond
	c.path.start(&c.cfg)
	if !server {
		c.preferences()
	}
}

// State is the connection's state.
func (c *Conn) State() State { return c.state }

// Server reports whether this end is the passive one.
func (c *Conn) Server() bool { return c.server }

// Ports returns the ports and the service code.
func (c *Conn) Ports() Ports { return c.ports }

// Err is how the connection ended; nil while it lives.
func (c *Conn) Err() *ResetError { return c.err }

// CCIDs are the congestion controls in force, for what we send and what we
// receive.
func (c *Conn) CCIDs() (send, receive ccid.ID) {
	return ccid.ID(c.feat.value(local, wire.FeatCCID)), ccid.ID(c.feat.value(remote, wire.FeatCCID))
}

// RTT is the smoothed round trip time; 0 before the first measurement.
func (c *Conn) RTT() time.Duration { return c.rtt.smoothed }

// rttMeter times one packet at a time.
type rttMeter struct {
	smoothed time.Duration
	seq      wire.Seq
	at       time.Time
	running  bool
}

// sample takes one measurement (RFC 6298's filter).
func (m *rttMeter) sample(d time.Duration) {
	d = max(d, time.Microsecond)
	if m.smoothed == 0 {
		m.smoothed = d
	} else {
		m.smoothed += (d - m.smoothed) / 8
	}
}

// roundTrip is for timers: what was measured, or RFC 4340's 0.2 s.
func (c *Conn) roundTrip() time.Duration {
	if c.rtt.smoothed == 0 {
		return unknownRTT
	}
	return c.rtt.smoothed
}

// featureChanged acts on a value that has come into force.
func (c *Conn) featureChanged(p place, f wire.Feature, v uint64) {
	c.stats.FeaturesChanged++
	atSender := f == wire.FeatAckRatio || f == wire.FeatSequenceWindow || f >= 128 && f < 192
	if (p == local) == atSender {
		if c.sender != nil {
			c.sender.Feature(f, v)
		}
	} else if c.receiver != nil {
		c.receiver.Feature(f, v)
	}
}

// halves makes the CCIDs' halves, when the connection first needs them and
// when negotiation has chosen others. It reports false when the peer insists
// on a CCID that is not ours; negotiation never comes to that by itself.
func (c *Conn) halves(now time.Time) bool {
	send, recv := c.CCIDs()
	if c.sender != nil && c.sendCCID == send && c.recvCCID == recv {
		return true
	}
	s, r := c.ccid(send), c.ccid(recv)
	if s == nil || r == nil {
		return false
	}
	if c.sender == nil || c.sendCCID != send {
		c.askNeeds(s)
		c.sender = s.NewSender(ccid.Setup{Now: now, Next: c.gss.Add(1), MPS: c.MPS(), RTT: c.rtt.smoothed})
		c.sendCCID = send
		c.tell(local, wire.FeatAckRatio)
		c.tell(local, wire.FeatSequenceWindow)
		c.tell(remote, wire.FeatSendAckVector)
		c.tell(remote, wire.FeatSendLossEventRate)
	}
	if c.receiver == nil || c.recvCCID != recv {
		c.receiver = r.NewReceiver(ccid.Setup{Now: now, Next: c.gsr, MPS: c.MPS(), RTT: c.rtt.smoothed})
		c.recvCCID = recv
		c.tell(remote, wire.FeatAckRatio)
		c.tell(remote, wire.FeatSequenceWindow)
		c.tell(local, wire.FeatSendAckVector)
		c.tell(local, wire.FeatSendLossEventRate)
	}
	return true
}

// askNeeds negotiates what the CCID for what we send depends on.
func (c *Conn) askNeeds(d *ccid.CCID) {
	for _, n := range d.Needs {
		p := local
		if n.Remote {
			p = remote
		}
		if c.feat.known(p, n.Feature) {
			c.feat.ask(p, n.Feature, n.Values, n.Mandatory)
		}
	}
}

// preferences starts the negotiation of what depends on the CCIDs: a client
// asks for its favourite's needs at once, a server for those of the CCID that
// the client's Request has led to. CCID-specific features wait until the CCID
// is agreed upon (RFC 4340, Section 10.3).
func (c *Conn) preferences() {
	if !c.server {
		d := c.cfg.CCIDs[0]
		if d.ID != ccid.TCPLike {
			return // not in force yet
		}
		if len(c.cfg.CCIDs) > 1 {
			d.Needs = slices.Clone(d.Needs)
			for i := range d.Needs {
				d.Needs[i].Mandatory = false
			}
		}
		c.askNeeds(&d)
		return
	}
	send, recv := c.CCIDs()
	for p, id := range [...]ccid.ID{local: send, remote: recv} {
		if c.ccid(id) == nil {
			c.feat.ask(place(p), wire.FeatCCID, c.feat.at(place(p), wire.FeatCCID).prefs, true)
		}
	}
	if d := c.ccid(send); d != nil {
		c.askNeeds(d)
	}
}

// tell repeats a feature's value to the half that it concerns.
func (c *Conn) tell(p place, f wire.Feature) {
	if c.feat.known(p, f) {
		c.featureChanged(p, f, c.feat.value(p, f))
	}
}

func (c *Conn) ccid(id ccid.ID) *ccid.CCID {
	for i := range c.cfg.CCIDs {
		if c.cfg.CCIDs[i].ID == id {
			return &c.cfg.CCIDs[i]
		}
	}
	return nil
}

// wishes takes up what the HC-Sender wants of the features at our side.
func (c *Conn) wishes() ccid.Wishes {
	if c.sender == nil {
		return ccid.Wishes{}
	}
	w := c.sender.Wishes()
	if w.AckRatio != 0 {
		c.feat.wish(wire.FeatAckRatio, uint64(w.AckRatio))
	}
	have := c.feat.value(local, wire.FeatSequenceWindow)
	span := windowSpans * uint64(c.span)
	if w.SequenceWindow != 0 || span > have {
		// Not for every packet: when it is too small, or far too large.
		want := min(max(w.SequenceWindow, span, c.cfg.SequenceWindow), wire.MaxSequenceWindow)
		if want > have || want < have/4 {
			c.feat.wish(wire.FeatSequenceWindow, min(want+want/2, wire.MaxSequenceWindow))
		}
	}
	return w
}

// noteSpan measures how far behind what we sent the peer's acknowledgements
// are. Packets without data count as others do: who only acknowledges outruns
// its Sequence Window as well, and then the peer's data is invalid, for the old
// numbers that it acknowledges (RFC 4340, Section 7.5.2).
func (c *Conn) noteSpan(ack wire.Seq) {
	c.span = min(max(c.span, c.gss.Sub(ack)), maxSpan)
}
