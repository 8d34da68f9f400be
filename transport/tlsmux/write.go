package tlsmux

import (
	"context"
	"errors"
	"io"
	"net"
	"os"

	"ipfixsuite/transport/tlsmux/core"
)

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

// putWhole writes b if there is room for all of it. Without a change to wait
// for it has been waited for in vain already.
func (ch *Channel) putWhole(b []byte) (ok bool, change <-chan struct{}, err error) {
	m := ch.mux
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case ch.err != nil:
		return false, nil, ch.err
	case ch.core.Room() < len(b):
		ch.wants()
		if ch.stuck {
			return false, nil, nil
		}
		return false, ch.changed(), nil
	}
	ch.stuck = false
	ch.core.Write(b)
	m.poke()
	return true, nil, nil
}

// stalled notes that room was waited for in vain.
func (ch *Channel) stalled() {
	ch.mux.mu.Lock()
	ch.stuck = true
	ch.mux.mu.Unlock()
}

// room is how much putWhole takes now; when that is less than any message,
// roomy tells when it is no more.
func (ch *Channel) room() int {
	ch.mux.mu.Lock()
	defer ch.mux.mu.Unlock()
	n := ch.core.Room()
	if n < maxMessage {
		ch.wants()
	}
	return n
}

// acknowledged takes no lock: it is asked of all channels, often.
func (ch *Channel) acknowledged() uint64 { return ch.confirmed.Load() }

// tells sets who is told of room, and of the end. Neither may wait.
func (ch *Channel) tells(roomy, fell func()) {
	ch.mux.mu.Lock()
	defer ch.mux.mu.Unlock()
	ch.roomy, ch.fell = roomy, fell
	if ch.err != nil {
		fell()
	}
}

// failed is why the channel is over; nil: it is not.
func (ch *Channel) failed() error {
	ch.mux.mu.Lock()
	defer ch.mux.mu.Unlock()
	return ch.err
}

// fellNow reports, once, that the channel is over.
func (ch *Channel) fellNow() bool {
	ch.mux.mu.Lock()
	defer ch.mux.mu.Unlock()
	is := ch.err != nil && !ch.told
	ch.told = ch.told || is
	return is
}

// abort closes the channel at once: what was not sent is discarded.
func (ch *Channel) abort() {
	m := ch.mux
	m.mu.Lock()
	defer m.mu.Unlock()
	ch.fell = nil
	ch.core.Close()
	delete(m.channels, ch.core)
	ch.over(net.ErrClosed)
	m.poke()
}

// wants has roomy told when there is room for any message again.
func (ch *Channel) wants() {
	ch.full = true
	ch.core.Want()
}

// emptied: something was sent, or acknowledged.
func (ch *Channel) emptied() {
	ch.signal()
	tell := ch.core.Acknowledged() > ch.confirmed.Load()
	ch.confirmed.Store(ch.core.Acknowledged())
	if ch.full && ch.core.Room() >= maxMessage {
		ch.full, ch.stuck = false, false
		tell = true
	}
	if ch.full {
		ch.core.Want()
	}
	if tell && ch.roomy != nil {
		ch.roomy()
	}
}

// until waits until count, of what was written, has come to n.
func (ch *Channel) until(ctx context.Context, n uint64, count func(*core.Channel) uint64) error {
	m := ch.mux
	for {
		m.mu.Lock()
		ok, err := count(ch.core) >= n, ch.err
		ch.core.Want()
		change := ch.changed()
		m.mu.Unlock()
		switch {
		case ok:
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

func (ch *Channel) written() uint64 {
	ch.mux.mu.Lock()
	defer ch.mux.mu.Unlock()
	return ch.core.Written()
}
