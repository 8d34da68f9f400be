package tlsmux

import (
	"net"
	"sync"
)

// Listener offers the channels that the peer opens as a net.Listener. Its Close
// refuses those to come; the session, and the channels there are, go on. A Mux
// has one at a time.
func (m *Mux) Listener() net.Listener {
	m.mu.Lock()
	m.deaf = false
	m.mu.Unlock()
	return &acceptor{mux: m, over: make(chan struct{})}
}

type acceptor struct {
	mux  *Mux
	once sync.Once
	over chan struct{}
}

// Accept implements net.Listener.
func (a *acceptor) Accept() (net.Conn, error) {
	select {
	case <-a.over:
		return nil, net.ErrClosed
	default:
	}
	select {
	case ch := <-a.mux.accept:
		return ch, nil
	case <-a.mux.done:
		return nil, a.mux.closed()
	case <-a.over:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener. Channels that nobody has accepted are closed.
func (a *acceptor) Close() error {
	a.once.Do(func() {
		m := a.mux
		m.mu.Lock()
		m.deaf = true
		m.mu.Unlock()
		close(a.over)
		for {
			select {
			case ch := <-m.accept:
				_ = ch.Close()
			default:
				return
			}
		}
	})
	return nil
}

// Addr implements net.Listener: where the session's connection ends here.
func (a *acceptor) Addr() net.Addr { return a.mux.conn.LocalAddr() }
