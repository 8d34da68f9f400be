package dccp

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"ipfixsuite/transport"
	"ipfixsuite/transport/dccp/carrier"
	"ipfixsuite/transport/dccp/ccid"
	"ipfixsuite/transport/dccp/core"
	"ipfixsuite/transport/dccp/wire"
)

// ErrTooLarge says that a message exceeds the MPS in force. Nothing was
// queued.
var ErrTooLarge = core.ErrTooLarge

// ErrQueueFull says that TrySend found no room.
var ErrQueueFull = core.ErrQueueFull

// ErrSecured says that the connection carries DTLS, beside which nothing
// unprotected goes.
var ErrSecured = errors.New("connection carries DTLS: nothing is sent beside it")

// ResetError is how a connection ended: the code of the Reset that was sent
// or received.
type ResetError = core.ResetError

// Stats are a connection's counts.
type Stats = core.Stats

// Conn is a connection. One Write is one message and one packet; one Read
// returns one message. It implements net.Conn. Its methods may be called from
// several goroutines.
type Conn struct {
	e             *Endpoint
	key           core.Tuple
	peer          netip.AddrPort // where packets go to
	from          netip.Addr     // where they leave from; invalid: there is one address only
	local, remote Addr
	service       ServiceCode
	receive       func(*Conn, []byte)
	linger        time.Duration
	port          *port     // that accepted it
	accept        *Listener // who is to hear of it when it opens

	// readable and writable hold one token when a waiting Read or Write
	// should look again.
	readable, writable chan struct{}
	opened, done       chan struct{} // closed
	secured            atomic.Bool   // only Datagrams writes
	reads, writes      deadline

	mu          sync.Mutex
	m           *core.Conn
	timer       *time.Timer
	held        *outbox   // of the reader, while it has the connection in hand
	timerAt     time.Time // when timer fires; zero: never
	in          inbox
	share       share
	fates       fates
	next        uint64        // the last message that the queue took
	told        uint64        // messages up to here went, or never will, and those who wait know it
	moved       chan struct{} // closed when told grows; nil: nobody waits
	mtu         int           // what the carrier said last of the path
	mtuAt       time.Time     // when to ask it again
	established bool
	closing     bool // Close was called here
	over        bool // the machine has ended
	ended       bool // done is closed
	retired     bool // the endpoint has forgotten it
	rests       bool // in TIMEWAIT; guarded by e.mu
	err         error
}

// mtuMemory is how long the carrier's word on the path's MTU is trusted.
const mtuMemory = 10 * time.Second

func newConn(e *Endpoint, key core.Tuple, service ServiceCode, cfg *Config) *Conn {
	c := &Conn{
		e: e, key: key, peer: key.Remote, service: service, receive: cfg.Receive, linger: cfg.linger(),
		readable: make(chan struct{}, 1), writable: make(chan struct{}, 1),
		opened: make(chan struct{}), done: make(chan struct{}),
	}
	c.remote = Addr{IP: key.Remote.Addr(), Port: key.RemotePort, UDP: key.Remote.Port()}
	c.local = Addr{IP: key.Local.Addr(), Port: key.LocalPort, UDP: key.Local.Port()}
	if e.wild {
		c.from = key.Local.Addr()
	}
	c.in.limit = cfg.ReceiveBuffer
	if c.in.limit <= 0 {
		c.in.limit = defaultReceiveBuffer
	}
	c.fates.on = cfg.Track
	return c
}

// start begins to drive the machine; c.mu is held.
func (c *Conn) start(now time.Time, m *core.Conn) {
	c.m = m
	c.mtuAt = now.Add(mtuMemory)
	c.timer = time.AfterFunc(time.Hour, c.tick)
	c.timer.Stop()
}

// askMTU asks the carrier what the path takes. What it said before is no news:
// the machine may have found out since that less passes.
func (c *Conn) askMTU(now time.Time) {
	c.mtuAt = now.Add(mtuMemory)
	if mtu := c.e.io.MaxDatagram(c.peer); mtu != c.mtu {
		c.mtu = mtu
		c.m.SetMTU(now, mtu)
	}
}

// ResetMTU forgets what was found out about the path's MTU: the carrier's word
// counts again, until it proves wrong.
func (c *Conn) ResetMTU() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.retired {
		return
	}
	now := time.Now()
	c.mtu = 0
	c.askMTU(now)
	c.drive(now)
}

// events takes up what the machine tells; c.mu is held, but not while Receive
// runs.
func (c *Conn) events() {
	for {
		e, ok := c.m.Event()
		if !ok {
			break
		}
		switch e.Kind {
		case core.EventData:
			c.deliver(e.Data)
		case core.EventDelivered:
			c.fates.add(e.Message, true)
		case core.EventLost, core.EventDropped:
			c.fates.add(e.Message, false)
		case core.EventWritable:
			signal(c.writable)
		case core.EventOpened:
			c.establish()
		case core.EventClosed:
			c.over = true
		}
	}
	// A client may send from PARTOPEN on.
	if s := c.m.State(); s == core.StatePartOpen {
		c.establish()
	}
}

func (c *Conn) establish() {
	if c.established {
		return
	}
	c.established = true
	close(c.opened)
	if c.accept != nil {
		c.port.settled(c.key)
		c.accept.offer(c)
	}
}

// deliver hands a message over, or keeps it for Read.
func (c *Conn) deliver(msg []byte) {
	if c.receive != nil {
		c.mu.Unlock()
		c.receive(c, msg)
		c.mu.Lock()
		return
	}
	if c.closing {
		c.m.Refuse(wire.DropNotListening)
		return
	}
	if !c.in.push(msg) {
		c.m.Refuse(wire.DropReceiveBuffer)
		return
	}
	signal(c.readable)
}

func signal(token chan struct{}) {
	select {
	case token <- struct{}{}:
	default:
	}
}

// reason is why the machine has ended.
func (c *Conn) reason() error {
	err := c.m.Err()
	switch {
	case c.closing:
		return net.ErrClosed
	case err == nil:
		return net.ErrClosed
	case err.Clean():
		return nil
	case err.Remote && err.Code == wire.ResetNoConnection && c.e.local.UDP == 0:
		// Our own kernel may have reset the peer's end in our name.
		return carrier.Explain(err, c.e.cfg.Socket.MarkInForce())
	}
	return err
}

// end tells everybody that the connection is over; err is nil when the peer
// closed it in order. c.mu is held.
func (c *Conn) end(err error) {
	if c.ended {
		return
	}
	c.ended, c.err = true, err
	close(c.done)
	if c.accept != nil && !c.established {
		c.port.settled(c.key)
	}
	if c.moved != nil {
		close(c.moved)
		c.moved = nil
	}
}

// retire lets the endpoint forget the connection; c.mu is held.
func (c *Conn) retire() {
	if c.retired {
		return
	}
	c.retired = true
	if c.accept == nil && c.established {
		departed.add(time.Now(), c.key)
	}
	c.timer.Stop()
	c.e.forget(c)
	c.end(c.reason())
}

// arm sets the timer. One that fires too soon does no harm.
func (c *Conn) arm() {
	next := c.m.NextTimer()
	switch {
	case next.IsZero():
		if !c.timerAt.IsZero() {
			c.timer.Stop()
			c.timerAt = time.Time{}
		}
	case c.timerAt.IsZero() || next.Before(c.timerAt):
		c.timerAt = next
		c.timer.Reset(max(time.Until(next), 0))
	}
}

// tick is the timer's function.
func (c *Conn) tick() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.retired {
		return
	}
	now := time.Now()
	c.timerAt = time.Time{}
	c.m.HandleTimer(now)
	c.drive(now)
}

// Close is Shutdown that waits for Config.Linger at most.
func (c *Conn) Close() error {
	if c.linger == 0 {
		c.shutdown()
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), c.linger)
	defer cancel()
	_ = c.Shutdown(ctx)
	return nil
}

// Shutdown closes the connection in order and waits until what is queued went
// and the peer has answered, or ctx ends; then it goes on by itself. It returns
// the *ResetError of an end that was not in order: who answered so, perhaps a new
// process on the peer's port, has not read what was acknowledged. Read and Write
// return net.ErrClosed from now on.
func (c *Conn) Shutdown(ctx context.Context) error {
	c.shutdown()
	select {
	case <-c.done:
		return c.disorder()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// disorder is how the connection ended, if not in order.
func (c *Conn) disorder() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.m.Err(); err != nil && !err.Clean() {
		return err
	}
	return nil
}

func (c *Conn) shutdown() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing {
		return
	}
	c.closing = true
	signal(c.readable)
	signal(c.writable)
	if !c.retired {
		now := time.Now()
		c.m.Close(now)
		c.drive(now)
	}
}

// Abort ends the connection at once, with a Reset of code "Aborted"; what is
// queued is dropped.
func (c *Conn) Abort() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.retired {
		return nil
	}
	c.closing = true
	now := time.Now()
	c.m.Abort(now, wire.ResetAborted)
	c.drive(now)
	signal(c.readable)
	signal(c.writable)
	return nil
}

// Done is closed when the connection has ended.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Err tells why the connection has ended: nil while it lives and when the peer
// closed it in order, net.ErrClosed after Close, else a *ResetError or what
// became of the socket.
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// MPS is the largest message in octets that goes now. It changes with the
// path's MTU.
func (c *Conn) MPS() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return max(c.m.MPS(), 0)
}

// ServiceCode is what the connection was made for.
func (c *Conn) ServiceCode() ServiceCode { return c.service }

// CCIDs are the congestion controls in force, for what is sent and what is
// received.
func (c *Conn) CCIDs() (send, receive ccid.ID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.m.CCIDs()
}

// Stats are the counts so far.
func (c *Conn) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.m.Stats()
}

// Fates appends to dst what was learnt about messages since the call before;
// they are counted from 1 in the order in which Write took them. Only with
// Config.Track. A message without a fate when Done is closed may or may not
// have arrived.
func (c *Conn) Fates(dst []transport.Fate) []transport.Fate {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.fates.take(dst)
}

// LocalAddr implements net.Conn; it is an Addr.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr implements net.Conn; it is an Addr.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }
