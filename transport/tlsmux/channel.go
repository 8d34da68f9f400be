package tlsmux

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strconv"
	"sync"
	"time"

	"ipfixsuite/transport/tlsmux/core"
	"ipfixsuite/transport/tlsmux/wire"
)

// Channel is one channel of a Mux: a net.Conn. Reading gives the peer its
// window back, unless Hold has been called.
type Channel struct {
	mux  *Mux
	core *core.Channel
	// As the opener named the two ends.
	local, remote wire.Address

	// Under Mux.mu.
	in     []byte // arrived, not read
	begin  int    // of it in in
	held   bool
	ready  bool          // established
	err    error         // it is over
	change chan struct{} // closed, and made anew, when something changed; nil: nobody waits

	rd, wd deadline
}

func newChannel(m *Mux, c *core.Channel) *Channel {
	return &Channel{mux: m, core: c}
}

// signal wakes whoever waits. Mux.mu is held, as in what follows.
func (ch *Channel) signal() {
	if ch.change != nil {
		close(ch.change)
		ch.change = nil
	}
}

// changed is closed at the next change.
func (ch *Channel) changed() <-chan struct{} {
	if ch.change == nil {
		ch.change = make(chan struct{})
	}
	return ch.change
}

func (ch *Channel) opened() {
	ch.ready = true
	ch.signal()
}

func (ch *Channel) over(err error) {
	if ch.err == nil {
		ch.err = err
	}
	ch.signal()
}

func (ch *Channel) arrived(b []byte) {
	if ch.begin > 0 && len(ch.in)+len(b) > cap(ch.in) {
		ch.in = ch.in[:copy(ch.in, ch.in[ch.begin:])]
		ch.begin = 0
	}
	ch.in = append(ch.in, b...)
	ch.signal()
}

// wait waits for the peer's answer.
func (ch *Channel) wait(ctx context.Context) error {
	m := ch.mux
	for {
		m.mu.Lock()
		ready, err, change := ch.ready, ch.err, ch.changed()
		m.mu.Unlock()
		switch {
		case ready:
			return nil
		case err != nil:
			return err
		}
		select {
		case <-change:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Hold makes Read keep the window: Free gives it back.
func (ch *Channel) Hold() {
	ch.mux.mu.Lock()
	ch.held = true
	ch.mux.mu.Unlock()
}

// Free gives the peer n octets of the window back (spec.md, D11).
func (ch *Channel) Free(n int) {
	m := ch.mux
	m.mu.Lock()
	ch.core.Free(uint32(n))
	m.poke()
	m.mu.Unlock()
}

// Read implements net.Conn. io.EOF says that the peer closed the channel.
func (ch *Channel) Read(b []byte) (int, error) {
	m := ch.mux
	select {
	case <-ch.rd.over():
		return 0, os.ErrDeadlineExceeded
	default:
	}
	for {
		m.mu.Lock()
		if n := copy(b, ch.in[ch.begin:]); n > 0 || len(b) == 0 {
			if ch.begin += n; ch.begin == len(ch.in) {
				ch.in, ch.begin = ch.in[:0], 0
			}
			if !ch.held && n > 0 {
				ch.core.Free(uint32(n))
				m.poke()
			}
			m.mu.Unlock()
			return n, nil
		}
		err, change := ch.err, ch.changed()
		m.mu.Unlock()
		if err != nil {
			return 0, err
		}
		select {
		case <-change:
		case <-ch.rd.over():
			return 0, os.ErrDeadlineExceeded
		}
	}
}

// Write implements net.Conn. It waits for room in the channel's buffer.
func (ch *Channel) Write(b []byte) (n int, err error) {
	select {
	case <-ch.wd.over():
		return 0, os.ErrDeadlineExceeded
	default:
	}
	for {
		k, change, err := ch.put(b[n:])
		n += k
		if err != nil || n == len(b) {
			return n, err
		}
		select {
		case <-change:
		case <-ch.wd.over():
			return n, os.ErrDeadlineExceeded
		}
	}
}

// put writes what there is room for.
func (ch *Channel) put(b []byte) (n int, change <-chan struct{}, err error) {
	m := ch.mux
	m.mu.Lock()
	defer m.mu.Unlock()
	if ch.err != nil {
		if errors.Is(ch.err, io.EOF) {
			return 0, nil, net.ErrClosed
		}
		return 0, nil, ch.err
	}
	if n = ch.core.Write(b); n > 0 {
		m.poke()
	}
	if n < len(b) {
		change = ch.changed()
	}
	return n, change, nil
}

// putWhole writes b if there is room for all of it.
func (ch *Channel) putWhole(b []byte) (ok bool, change <-chan struct{}, err error) {
	m := ch.mux
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case ch.err != nil:
		return false, nil, ch.err
	case ch.core.Room() < len(b):
		ch.core.Want()
		return false, ch.changed(), nil
	}
	ch.core.Write(b)
	m.poke()
	return true, nil, nil
}

// settled reports whether everything written up to octet n was acknowledged;
// else change is closed when something changes.
func (ch *Channel) settled(n uint64) (ok bool, change <-chan struct{}, err error) {
	m := ch.mux
	m.mu.Lock()
	defer m.mu.Unlock()
	if ch.core.Acknowledged() >= n {
		return true, nil, nil
	}
	return false, ch.changed(), ch.err
}

func (ch *Channel) written() uint64 {
	ch.mux.mu.Lock()
	defer ch.mux.mu.Unlock()
	return ch.core.Written()
}

// Close implements net.Conn: what was written is still sent, as far as the peer
// gives room for it; whether it is read nobody knows (spec.md, D8).
func (ch *Channel) Close() error {
	m := ch.mux
	m.mu.Lock()
	defer m.mu.Unlock()
	ch.core.Finish()
	delete(m.channels, ch.core)
	ch.over(net.ErrClosed)
	m.poke()
	return nil
}

// LocalAddr and RemoteAddr are those named when the channel was opened, not
// the TLS session's.
func (ch *Channel) LocalAddr() net.Addr  { return addr(ch.local) }
func (ch *Channel) RemoteAddr() net.Addr { return addr(ch.remote) } //nolint:revive // see LocalAddr

// addr is an end of a channel.
type addr wire.Address

// Network implements net.Addr.
func (addr) Network() string { return Protocol }

// String implements net.Addr.
func (a addr) String() string {
	return net.JoinHostPort(printable(a.Host), strconv.Itoa(int(a.Port)))
}

// SetDeadline implements net.Conn.
func (ch *Channel) SetDeadline(t time.Time) error {
	ch.rd.set(t)
	ch.wd.set(t)
	return nil
}

// SetReadDeadline implements net.Conn.
func (ch *Channel) SetReadDeadline(t time.Time) error {
	ch.rd.set(t)
	return nil
}

// SetWriteDeadline implements net.Conn.
func (ch *Channel) SetWriteDeadline(t time.Time) error {
	ch.wd.set(t)
	return nil
}

// deadline is one direction's.
type deadline struct {
	mu    sync.Mutex
	timer *time.Timer
	c     chan struct{}
}

// over is closed when the deadline has passed.
func (d *deadline) over() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.c == nil {
		d.c = make(chan struct{})
	}
	return d.c
}

func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil && !d.timer.Stop() {
		<-d.c // it is about to close it
	}
	d.timer = nil
	select {
	case <-d.c:
		d.c = nil // it has passed: the next is another
	default:
	}
	if d.c == nil {
		d.c = make(chan struct{})
	}
	switch c := d.c; {
	case t.IsZero():
	case !t.After(time.Now()):
		close(c)
	default:
		d.timer = time.AfterFunc(time.Until(t), func() { close(c) })
	}
}
