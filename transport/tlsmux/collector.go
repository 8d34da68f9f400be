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
	"time"

	"ipfixsuite/transport"
	"ipfixsuite/transport/tcp"
	"ipfixsuite/transport/tlsmux/core"
	"ipfixsuite/transport/tlsmux/wire"
)

const (
	// creditAfter bounds how long what a channel brought waits to be
	// acknowledged, creditPart how much of the window: an exporter that waits
	// for credit stands still for so long. The sinks' flushes are spaced
	// elsewhere.
	creditAfter = 2 * time.Millisecond
	creditPart  = 16
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
	return func(ctx context.Context, c *tcp.Conn, h transport.Handler) {
		m := Server(c, Config{Core: cfg.Core, Takes: func(_, to wire.Address) error { return cfg.takes(c.Peer.Local, to) }})
		var wg sync.WaitGroup
		for {
			ch, err := m.Accept(ctx)
			if err != nil {
				break
			}
			wg.Go(func() { serve(ctx, ch, c.Peer, cfg.Core.Window, h) }) // ends with the channel, the Mux, or ctx
		}
		wg.Wait()
		m.farewell(context.WithoutCancel(ctx), c)
		_ = m.Close()
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
func serve(ctx context.Context, ch *Channel, peer transport.Peer, window uint32, h transport.Handler) {
	defer func() { _ = ch.Close() }()
	ch.Hold()
	peer.Session = transport.NewSessionNumber()
	props := properties
	props.Streams = 1
	r, err := h.Open(peer, props)
	if err != nil || r == nil {
		return
	}
	c := credit{ch: ch, receiver: r, part: int(window / creditPart)}
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
	framer   tcp.Framer

	due   int // octets of messages that no barrier covers yet
	since time.Time
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
			c.since = now
			c.wake(ctx, now.Add(creditAfter))
		}
		c.due += octets
		if c.due >= c.part || c.due > 0 && now.Sub(c.since) >= creditAfter {
			c.barrier(func() {})
			c.wake(ctx, time.Time{})
		}
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
	c.receiver.Barrier(func() {
		c.ch.Free(n)
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
