package udp

import (
	"context"
	"sync"
	"time"
)

// A gate lets contexts interrupt waits for a socket by its deadline. It stays
// set up for the last context seen, so that a loop that passes the same one
// each time costs neither an allocation nor a goroutine.
type gate struct {
	set  func(time.Time) error // the socket's deadline
	mu   sync.Mutex
	done <-chan struct{} // of the context in force
	stop func() bool
	turn uint64 // tells a late wake-up of an earlier context from one of this
}

// enter makes ctx the one that interrupts.
func (g *gate) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	done := ctx.Done()
	g.mu.Lock()
	defer g.mu.Unlock()
	if done == g.done {
		return nil
	}
	g.leave()
	if err := g.set(time.Time{}); err != nil {
		return err
	}
	g.done = done
	if done == nil {
		return nil
	}
	turn := g.turn
	g.stop = context.AfterFunc(ctx, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.turn == turn {
			// The past ends the wait at once; an error means that the
			// socket is closed, which ends it too.
			_ = g.set(time.Unix(1, 0))
		}
	})
	return nil
}

// leave forgets the context in force; g.mu is held.
func (g *gate) leave() {
	if g.stop != nil {
		g.stop()
	}
	g.stop, g.done = nil, nil
	g.turn++
}

func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.leave()
}
