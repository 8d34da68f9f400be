package tlsmux

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"ipfixsuite/transport"
	"ipfixsuite/transport/tlsmux/core"
	"ipfixsuite/transport/tlsmux/wire"
)

// Protocol is how the two sides agree on MTA-TLS: an application protocol of
// ALPN (spec.md, D1).
const Protocol = "mta-tls/draft-01"

const (
	// maxRecord is how much is written at once: the packets of a TLS record.
	maxRecord = 1 << 14
	// readBuffer holds at least one whole packet.
	readBuffer     = 2 * (wire.DataHeaderLen + wire.MaxData)
	defaultBacklog = 64
	// probePort asks for a sign of life: nothing listens there (spec.md, D14).
	probePort = 0
)

var errNothing = errors.New("nothing listens on that port")

// Config is for both sides; its zero value works.
type Config struct {
	// Core bounds channels, windows and packets. Client is filled in.
	Core core.Config
	// Takes decides whether a channel to a destination is wanted; nil: all
	// are. Its error goes to the peer. It must not wait.
	Takes func(source, destination wire.Address) error
	// Grant is how large a window a channel gets that Takes has agreed to, at
	// most; nil: Core.Window. Its error goes to the peer. It must not wait.
	Grant func() (octets uint32, err error)
	// Backlog bounds the channels that wait for Accept; those beyond are
	// refused. 0: 64.
	Backlog int
	// Tainted is called once, when the first channel fails: the TLS session
	// must not be resumed (Section 3). It must not wait.
	Tainted func()
}

// Mux is one TLS session with channels.
type Mux struct {
	conn net.Conn
	cfg  Config

	mu       sync.Mutex
	core     *core.Conn
	channels map[*core.Channel]*Channel
	accept   chan *Channel
	deaf     bool          // nobody accepts any more
	tainted  bool          // Config.Tainted knows
	probes   uint64        // requests for probePort
	parting  func()        // what ends our direction, once all is written
	wake     chan struct{} // to the writer
	unblock  chan struct{} // to the reader: answers have been written

	heard  atomic.Uint64 // reads that brought something
	ending sync.Once
	wg     sync.WaitGroup
	done   chan struct{}
	err    error // read after done
}

// Client multiplexes a connection on which both agreed to, as its TLS client.
// The Mux owns the connection.
func Client(conn net.Conn, cfg Config) *Mux {
	cfg.Core.Client = true
	return newMux(conn, cfg)
}

// Server is Client for the TLS server.
func Server(conn net.Conn, cfg Config) *Mux {
	cfg.Core.Client = false
	return newMux(conn, cfg)
}

func newMux(conn net.Conn, cfg Config) *Mux {
	if cfg.Backlog == 0 {
		cfg.Backlog = defaultBacklog
	}
	m := &Mux{
		conn: conn, cfg: cfg, core: core.New(cfg.Core), channels: map[*core.Channel]*Channel{},
		accept: make(chan *Channel, cfg.Backlog), wake: make(chan struct{}, 1), unblock: make(chan struct{}, 1), done: make(chan struct{}),
	}
	m.wg.Go(m.read)  // ended by end, which closes the connection
	m.wg.Go(m.write) // likewise
	return m
}

// Open asks for a channel and waits for the answer. A *RefusedError says that
// the peer does not want it.
func (m *Mux) Open(ctx context.Context, source, destination wire.Address) (*Channel, error) {
	ch, err := m.open(source, destination)
	if err != nil {
		return nil, err
	}
	if err := ch.wait(ctx); err != nil {
		_ = ch.Close()
		return nil, err
	}
	return ch, nil
}

// open asks for a channel. What is written on it before the answer waits.
func (m *Mux) open(source, destination wire.Address) (*Channel, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	select {
	case <-m.done:
		return nil, m.closed()
	default:
	}
	c, err := m.core.Open(source, destination)
	if err != nil {
		return nil, err
	}
	ch := newChannel(m, c)
	ch.remote, ch.local = destination, source
	m.channels[c] = ch
	m.poke()
	return ch, nil
}

// RefusedError says that the peer did not want a channel.
type RefusedError struct{ Reason string }

func (e *RefusedError) Error() string { return "channel refused: " + e.Reason }

// Accept waits for a channel that the peer opened.
func (m *Mux) Accept(ctx context.Context) (*Channel, error) {
	select {
	case ch := <-m.accept:
		return ch, nil
	case <-m.done:
		return nil, m.closed()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Done is closed when the session is over; Err tells why: nil after Close.
func (m *Mux) Done() <-chan struct{} { return m.done }

// Err is why the session ended.
func (m *Mux) Err() error {
	select {
	case <-m.done:
		return m.err
	default:
		return nil
	}
}

// Tainted tells that a channel failed: the TLS session is not to be resumed.
func (m *Mux) Tainted() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.core.Tainted()
}

// Stats is a snapshot.
func (m *Mux) Stats() core.Stats {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.core.Stats()
}

// Close ends the session and all channels at once.
func (m *Mux) Close() error {
	m.end(nil)
	m.wg.Wait()
	return nil
}

func (m *Mux) closed() error {
	if m.err != nil {
		return m.err
	}
	return net.ErrClosed
}

func (m *Mux) end(err error) {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		// Somebody ended the connection by its deadline. To a channel's reader
		// that must not look like a deadline of its own.
		err = errors.New(err.Error())
	}
	m.ending.Do(func() {
		if c, ok := m.conn.(interface{ CloseWrite() error }); ok && errors.Is(err, transport.ErrPeerClosed) {
			// The peer ended in order, and gets the same from us.
			_ = m.conn.SetWriteDeadline(time.Now().Add(partMost))
			_ = c.CloseWrite()
		}
		_ = m.conn.Close()
		m.mu.Lock()
		m.err = err
		close(m.done)
		for _, ch := range m.channels {
			ch.over(m.closed())
		}
		clear(m.channels)
		m.mu.Unlock()
	})
}

// poke tells the writer that there is something to write. mu is held.
func (m *Mux) poke() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

func (m *Mux) write() {
	var buf []byte
	for {
		m.mu.Lock()
		buf = m.core.Output(buf[:0], maxRecord)
		m.dispatch() // room in channels
		parting := m.parting
		m.mu.Unlock()
		if len(buf) > 0 {
			if _, err := m.conn.Write(buf); err != nil {
				m.end(fmt.Errorf("tlsmux: %w", err))
				return
			}
			select {
			case m.unblock <- struct{}{}:
			default:
			}
			continue
		}
		if parting != nil {
			parting()
			<-m.done // the peer's end
			return
		}
		select {
		case <-m.wake:
		case <-m.done:
			return
		}
	}
}

func (m *Mux) read() {
	buf := make([]byte, readBuffer)
	have := 0
	for {
		n, err := m.conn.Read(buf[have:])
		have += n
		m.heard.Add(1)
		used, bad := m.receive(buf[:have])
		have = copy(buf, buf[used:have])
		switch {
		case bad != nil:
			m.end(fmt.Errorf("tlsmux: %w", bad))
			return
		case errors.Is(err, io.EOF):
			m.end(transport.ErrPeerClosed)
			return
		case err != nil:
			m.end(fmt.Errorf("tlsmux: %w", err))
			return
		}
	}
}

// receive digests what it can of b.
func (m *Mux) receive(b []byte) (used int, err error) {
	for {
		m.mu.Lock()
		n, err := m.core.Receive(b[used:])
		used += n
		more := m.dispatch()
		blocked := m.core.Blocked()
		if m.core.Tainted() && !m.tainted {
			m.tainted = true
			if m.cfg.Tainted != nil {
				m.cfg.Tainted()
			}
		}
		if m.core.Pending() {
			m.poke()
		}
		m.mu.Unlock()
		switch {
		case err != nil:
			return used, err
		case blocked:
			select {
			case <-m.unblock:
			case <-m.done:
				return used, nil
			}
		case n == 0 && !more:
			return used, nil
		}
	}
}

// dispatch tells channels what happened. mu is held.
func (m *Mux) dispatch() (any bool) {
	for {
		ev, ok := m.core.Event()
		if !ok {
			return any
		}
		any = true
		ch := m.channels[ev.Channel]
		switch ev.Kind {
		case core.Asked:
			m.asked(ev)
		case core.Opened:
			if ch != nil {
				ch.opened()
			}
		case core.Arrived:
			if ch == nil {
				ev.Channel.Free(uint32(len(ev.Data))) // nobody reads it any more
			} else {
				ch.arrived(ev.Data)
			}
		case core.Room:
			if ch != nil {
				ch.emptied()
			}
		case core.Refused, core.Closed:
			delete(m.channels, ev.Channel)
			switch {
			case ch == nil:
			case ev.Kind == core.Refused:
				ch.over(&RefusedError{Reason: printable(ev.Text)})
			case len(ev.Text) > 0:
				ch.over(errors.New("channel failed: " + printable(ev.Text)))
			default:
				ch.over(io.EOF)
			}
		}
	}
}

// asked answers the peer's wish for a channel.
func (m *Mux) asked(ev core.Event) {
	var err error
	window := m.cfg.Core.Window
	switch {
	case ev.Destination.Port == probePort: // a sign of life is wanted (spec.md, D14)
		err = errNothing
		m.probes++
		for _, ch := range m.channels {
			ch.asked, ch.before = true, len(ch.in)-ch.begin
			ch.stir()
		}
	case m.deaf:
		err = errNothing
	case len(m.accept) == cap(m.accept):
		err = core.ErrFull
	case m.cfg.Takes != nil:
		err = m.cfg.Takes(ev.Source, ev.Destination)
	}
	if err == nil && m.cfg.Grant != nil {
		if window, err = m.cfg.Grant(); err == nil {
			ev.Channel.Limit(window)
		}
	}
	if err == nil {
		err = m.core.Accept(ev.Channel) // it was asked for just now: there is a name for it
	}
	if err != nil {
		m.core.Reject(ev.Channel, err.Error())
		return
	}
	ch := newChannel(m, ev.Channel)
	ch.window = window
	ch.remote, ch.local = clone(ev.Source), clone(ev.Destination)
	ch.opened()
	m.channels[ev.Channel] = ch
	m.accept <- ch // there is room: see above
}

// printable keeps what a peer sent on one line.
func printable(b []byte) string {
	s := strconv.Quote(string(b[:min(len(b), 200)]))
	return s[1 : len(s)-1]
}
