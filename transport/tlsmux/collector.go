package tlsmux

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"ipfixsuite/transport"
	"ipfixsuite/transport/tcp"
	"ipfixsuite/transport/tlsmux/core"
	"ipfixsuite/transport/tlsmux/wire"
)

const (
	// A channel is acknowledged when its peer asks for a sign of life, which
	// ours do before they stand still, when creditPart of the window is used,
	// and for the sake of others when CreditAfter has passed.
	creditAfter = 100 * time.Millisecond
	creditPart  = 16
	// underWay is how many barriers of a channel wait for the sinks at a time;
	// what comes meanwhile is the next one's.
	underWay = 2
	// partMost is how long the end of a session may take.
	partMost = 2 * time.Second
)

// CollectorConfig is for Upgrade; its zero value works.
type CollectorConfig struct {
	// Core bounds channels and windows. A window has room for some messages of
	// the greatest length at least.
	Core core.Config
	// Names returns names and addresses that are the collector's, beside the
	// address that a connection came to; nil: there are none. Nothing else is
	// served: a collector is no proxy.
	Names func() []string
	// CreditAfter bounds how long what came waits to be acknowledged to a peer
	// that does not ask; 0: 100 ms.
	CreditAfter time.Duration
}

// minWindow holds messages of the greatest length.
const minWindow = 4 * (maxMessage + 1)

// Upgrade returns what serves the connections of a tcp.Listener that agreed to
// Protocol.
func Upgrade(cfg CollectorConfig) tcp.Upgrade {
	if cfg.Core.Window == 0 {
		cfg.Core.Window = core.DefaultWindow
	}
	cfg.Core.Window = max(cfg.Core.Window, minWindow)
	if cfg.CreditAfter == 0 {
		cfg.CreditAfter = creditAfter
	}
	return func(ctx context.Context, c *tcp.Conn, h transport.Handler) {
		m := Server(c, Config{Core: cfg.Core, Tainted: c.Bar, Takes: func(_, to wire.Address) error { return cfg.takes(c.Peer.Local, to) }})
		c.Count(m.dropped)
		var wg sync.WaitGroup
		for {
			ch, err := m.Accept(ctx)
			if err != nil {
				break
			}
			wg.Go(func() { cfg.serve(ctx, ch, c.Peer, h) }) // ends with the channel, the Mux, or ctx
		}
		wg.Wait()
		m.farewell(context.WithoutCancel(ctx), c)
		_ = m.Close()
	}
}

// dropped is what the peer sent in vain, by reason.
func (m *Mux) dropped() map[string]uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	st := m.core.Stats()
	return map[string]uint64{
		"channel-refused": st.Refused - m.probes, "channel-violation": st.Violations, "channel-late": st.Late,
		"channel-stray": st.Stray, "channel-unknown": st.Unknown,
	}
}

// takes holds a destination to what is ours (spec.md, D7).
func (cfg *CollectorConfig) takes(local netip.AddrPort, to wire.Address) error {
	host := strings.ToLower(string(to.Host))
	if to.Port != local.Port() {
		return errors.New("nothing listens on that port")
	}
	if a, err := netip.ParseAddr(host); err == nil && a.Unmap() == local.Addr().WithZone("") {
		return nil
	}
	if cfg.Names != nil && slices.ContainsFunc(cfg.Names(), func(name string) bool { return strings.EqualFold(name, host) }) {
		return nil
	}
	return errors.New("no destination of this collector")
}

// serve is a channel's life as a Transport Session.
func (cfg *CollectorConfig) serve(ctx context.Context, ch *Channel, peer transport.Peer, h transport.Handler) {
	defer func() { _ = ch.Close() }()
	ch.serve()
	peer.Session = transport.NewSessionNumber()
	props := properties
	props.Streams, props.Channels = 1, false
	r, err := h.Open(peer, props)
	if err != nil || r == nil {
		return
	}
	c := credit{ch: ch, receiver: r, part: int(cfg.Core.Window / creditPart), after: cfg.CreditAfter}
	stop := context.AfterFunc(ctx, func() { _ = ch.SetReadDeadline(time.Now()) })
	defer stop()
	err = c.receive(ctx)
	if ctx.Err() != nil {
		err = transport.ErrClosed
		c.last()
	}
	r.Closed(err)
}

// credit reads a channel's messages and gives the window back as the sinks
// write them.
type credit struct {
	ch       *Channel
	receiver transport.Receiver
	part     int
	after    time.Duration
	framer   tcp.Framer

	due     int       // octets of messages that no barrier covers yet
	by      time.Time // when one is placed at the latest; zero: nothing is due
	asked   bool      // the peer waits for them
	waiting atomic.Int32
}

func (c *credit) receive(ctx context.Context) error {
	for {
		n, err := c.ch.Read(c.framer.Room())
		now := time.Now()
		_, octets, bad := c.framer.Took(n, c.receiver, now)
		if bad != nil {
			return bad
		}
		if c.due == 0 && octets > 0 {
			c.by = now.Add(c.after)
			c.wake(ctx, c.by)
		}
		c.due += octets
		c.asked = c.ch.askedFor() || c.asked
		c.settle(ctx, now)
		switch {
		case err == nil:
		case ctx.Err() != nil:
			return err
		case errors.Is(err, os.ErrDeadlineExceeded):
		case errors.Is(err, io.EOF) || errors.Is(err, transport.ErrPeerClosed): // the channel, or the session
			if n := c.framer.Pending(); n > 0 {
				return fmt.Errorf("channel closed within a message, after %d octets of it", n)
			}
			return nil
		default:
			return err
		}
	}
}

// settle places a barrier if one is due. While one waits for the sinks the
// next is placed only for a peer that asks, as one flush answers many.
func (c *credit) settle(ctx context.Context, now time.Time) {
	if c.due == 0 {
		c.asked = false // it has been answered, or is about to be
		return
	}
	switch waiting := c.waiting.Load(); {
	case c.asked && waiting < underWay:
	case c.due >= c.part && waiting == 0:
	case !now.Before(c.by) && waiting == 0:
	case !now.Before(c.by):
		c.wake(ctx, time.Time{}) // the one that waits wakes us
		return
	default:
		return
	}
	c.asked = false
	c.barrier(func() {})
	c.wake(ctx, time.Time{})
}

// wake ends the next Read at a time; the end of ctx always does.
func (c *credit) wake(ctx context.Context, at time.Time) {
	_ = c.ch.SetReadDeadline(at)
	if ctx.Err() != nil {
		_ = c.ch.SetReadDeadline(time.Now())
	}
}

// barrier gives the window back once all that came so far is written.
func (c *credit) barrier(done func()) {
	n := c.due
	c.due = 0
	c.waiting.Add(1)
	c.receiver.Barrier(func() {
		c.waiting.Add(-1)
		c.ch.settled(n)
		done()
	})
}

// last waits, for a while, until what has come is written and acknowledged.
func (c *credit) last() {
	written := make(chan struct{})
	c.barrier(func() { close(written) })
	select {
	case <-written:
	case <-time.After(partMost):
	}
}
