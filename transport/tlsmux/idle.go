package tlsmux

import (
	"fmt"
	"time"
)

// watchIdle ends a session that brings nothing for a time.
func (m *Mux) watchIdle(after time.Duration) {
	tick := time.NewTicker(max(after/4, time.Millisecond))
	defer tick.Stop()
	heard, since := m.heard.Load(), time.Now()
	for {
		select {
		case <-m.done:
			return
		case now := <-tick.C:
			if n := m.heard.Load(); n != heard {
				heard, since = n, now
			} else if now.Sub(since) >= after {
				m.end(fmt.Errorf("nothing came for %v", after))
				return
			}
		}
	}
}
