package tlsmux

import (
	"context"
	"net"
	"os"
	"sync/atomic"

	"ipfixsuite/transport/tlsmux/core"
	"ipfixsuite/transport/tlsmux/wire"
)

// Channel is one channel of a Mux: a net.Conn. Reading gives the peer its
// window back, unless Hold has been called.
type Channel struct {
	mux  *Mux
	core *core.Channel
	// window is what the peer was granted, if it asked for the channel.
	window uint32
	// As the opener named the two ends.
	local, remote wire.Address

	// Under Mux.mu.
	in     []byte // arrived, not read
	begin  int    // of it in in
	held   bool
	ready  bool          // established
	err    error         // it is over
	change chan struct{} // closed, and made anew, when something changed; nil: nobody waits
	// Of a channel that the collector serves: asked, the peer asked for a sign
	// of life when before octets of what arrived were not read; stirred, the
	// reader is to look around.
	serving, asked, stirred bool
	before                  int
	// full: a message found no room; stuck: even after a while. roomy is told
	// when one of any length finds some, and when more than confirmed was
	// acknowledged, fell of the end, which told says is known; nil: nobody is.
	full, stuck bool
	roomy, fell func()
	told        bool
	confirmed   atomic.Uint64 // written under Mux.mu

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
	if ch.fell != nil {
		ch.fell()
	}
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

// SetMaxPacket asks the peer for packets of at most n octets of data from now
// on, and returns what it was asked for: not more than its window has room for,
// and 0, nothing at all, when that is none.
func (ch *Channel) SetMaxPacket(n int) int {
	m := ch.mux
	m.mu.Lock()
	defer m.mu.Unlock()
	n = int(ch.core.SetMaxPacket(uint32(max(0, min(n, wire.MaxData)))))
	m.poke()
	return n
}

// serve is Hold for the collector.
func (ch *Channel) serve() {
	ch.mux.mu.Lock()
	ch.held, ch.serving = true, true
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

// settled is Free for a reader that may wait for it.
func (ch *Channel) settled(n int) {
	m := ch.mux
	m.mu.Lock()
	ch.core.Free(uint32(n))
	m.poke()
	ch.stir()
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
		if n := ch.read(b); n > 0 || len(b) == 0 || ch.stirred {
			ch.stirred = false
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

// read takes what has arrived.
func (ch *Channel) read(b []byte) int {
	n := copy(b, ch.in[ch.begin:])
	ch.before -= n
	if ch.begin += n; ch.begin == len(ch.in) {
		ch.in, ch.begin = ch.in[:0], 0
	}
	return n
}

// stir makes a Read of the collector's return, if with nothing.
func (ch *Channel) stir() {
	if ch.serving {
		ch.stirred = true
		ch.signal()
	}
}

// askedFor reports, once, that the peer asked for a sign of life and that all
// that had come before it has been read.
func (ch *Channel) askedFor() bool {
	ch.mux.mu.Lock()
	defer ch.mux.mu.Unlock()
	ok := ch.asked && ch.before <= 0
	ch.asked = ch.asked && !ok
	return ok
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
