package tlsmux

import (
	"context"
	"time"

	"ipfixsuite/transport/tcp"
)

// farewell writes what there is, tells the peer that nothing more comes, and
// waits for it to do the same, no longer than ctx and partMost.
func (m *Mux) farewell(ctx context.Context, c *tcp.Conn) {
	ctx, cancel := context.WithTimeout(ctx, partMost)
	defer cancel()
	m.mu.Lock()
	m.parting = func() { _ = c.CloseWrite() }
	m.poke()
	m.mu.Unlock()
	select {
	case <-m.done:
	case <-ctx.Done():
	}
	_ = c.SetDeadline(time.Unix(1, 0))
}
