package tlsmux

import (
	"cmp"
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
	// Each Acknowledgment wakes the exporter's process: with a sixteenth of the
	// window it took half as much processor time again.
	creditPart = 4
	// underWay is how many barriers of a channel wait for the sinks at a time;
	// what comes meanwhile is the next one's.
	underWay = 2
	// partMost is how long the end of a session may take.
	partMost = 2 * time.Second
	// maxChannels are those of our exporters' sessions, and the signs of life
	// that are asked for meanwhile.
	maxChannels = streams + core.DefaultMaxAsked
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
	// StallTimeout ends a channel that leaves a message unfinished; 0: a
	// minute. IdleTimeout ends a session that brings nothing; 0: never.
	// Negative: never.
	StallTimeout, IdleTimeout time.Duration
	// MaxWindows and MaxWindowsPerPrefix bound what the windows of all channels
	// of the Listener can hold, and those of one source network, in octets. 0:
	// DefaultMaxWindows, DefaultMaxWindowsPerPrefix; negative: no bound.
	MaxWindows, MaxWindowsPerPrefix int64
}

// minWindow holds messages of the greatest length.
const minWindow = 4 * (maxMessage + 1)

// creditAtMost: a channel with a small window gives credit for as much as one
// with a large one, so that a flush of the sinks answers for as much.
const creditAtMost = core.DefaultWindow / creditPart

// Upgrade returns what serves the connections of a tcp.Listener that agreed to
// Protocol.
func Upgrade(cfg CollectorConfig) tcp.Upgrade {
	if cfg.Core.Window == 0 {
		cfg.Core.Window = core.DefaultWindow
	}
	cfg.Core.Window = max(cfg.Core.Window, minWindow)
	if cfg.Core.MaxChannels == 0 {
		cfg.Core.MaxChannels = maxChannels
	}
	if cfg.CreditAfter == 0 {
		cfg.CreditAfter = creditAfter
	}
	if cfg.StallTimeout == 0 {
		cfg.StallTimeout = tcp.DefaultStallTimeout
	}
	q := &quota{most: cmp.Or(cfg.MaxWindows, DefaultMaxWindows), mostPerPrefix: cmp.Or(cfg.MaxWindowsPerPrefix, DefaultMaxWindowsPerPrefix)}
	return func(ctx context.Context, c *tcp.Conn, h transport.Handler) {
		from := transport.SourcePrefix(c.Peer.Remote.Addr())
		m := Server(c, Config{
			Core: cfg.Core, Backlog: cfg.Core.MaxChannels, // an exporter may open all it wants at once
			Tainted: c.Bar,
			Takes:   func(_, to wire.Address) error { return cfg.takes(c.Peer.Local, to) },
			Grant:   func() (uint32, error) { return q.take(from, cfg.Core.Window) },
		})
		c.Count(m.dropped)
		var wg sync.WaitGroup
		if cfg.IdleTimeout > 0 {
			wg.Go(func() { m.watchIdle(cfg.IdleTimeout) }) // ends with the Mux
		}
		for {
			ch, err := m.Accept(ctx)
			if err != nil {
				break
			}
			wg.Go(func() { // ends with the channel, the Mux, or ctx
				defer q.give(from, ch.window)
				cfg.serve(ctx, ch, c.Peer, h)
			})
		}
		wg.Wait()
		m.farewell(context.WithoutCancel(ctx), c)
		_ = m.Close()
		for len(m.accept) > 0 { // nobody came for them
			q.give(from, (<-m.accept).window)
		}
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
	c := credit{ch: ch, receiver: r, cfg: cfg, part: max(int(ch.window)/creditPart, min(int(ch.window)/2, creditAtMost))}
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
	cfg      *CollectorConfig
	ch       *Channel
	receiver transport.Receiver
	framer   tcp.Framer
	part     int // of the window

	due     int       // octets of messages that no barrier covers yet
	by      time.Time // when one is placed at the latest; zero: nothing is due
	asked   bool      // the peer waits for them
	waiting atomic.Int32
	stall   time.Time // when an unfinished message is given up; zero: there is none
	armed   time.Time // when Read returns; zero: never
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
			c.by = now.Add(c.cfg.CreditAfter)
		}
		c.due += octets
		c.asked = c.ch.askedFor() || c.asked
		c.settle(now)
		pending := c.framer.Pending()
		switch {
		case pending == 0 || c.cfg.StallTimeout < 0:
			c.stall = time.Time{}
		case c.stall.IsZero() || octets > 0: // it began just now
			c.stall = now.Add(c.cfg.StallTimeout)
		case !now.Before(c.stall):
			return fmt.Errorf("a message was left unfinished for %v", c.cfg.StallTimeout)
		}
		timeout := errors.Is(err, os.ErrDeadlineExceeded)
		switch {
		case err == nil || timeout && ctx.Err() == nil:
		case ctx.Err() != nil:
			return err
		case errors.Is(err, io.EOF) || errors.Is(err, transport.ErrPeerClosed): // the channel, or the session
			if pending > 0 {
				return fmt.Errorf("channel closed within a message, after %d octets of it", pending)
			}
			return nil
		default:
			return err
		}
		c.arm(ctx, timeout)
	}
}

// settle places a barrier if one is due. While one waits for the sinks the
// next is placed only for a peer that asks, as one flush answers many.
func (c *credit) settle(now time.Time) {
	if c.due == 0 {
		c.asked = false // it has been answered, or is about to be
		return
	}
	late := c.by.IsZero() || !now.Before(c.by)
	switch waiting := c.waiting.Load(); {
	case c.asked && waiting < underWay:
	case (late || c.due >= c.part) && waiting == 0:
	default:
		if late {
			c.by = time.Time{} // the one that waits wakes us
		}
		return
	}
	c.asked, c.by = false, time.Time{}
	c.barrier(func() {})
}

// arm has Read return when something is due by time. It may return sooner:
// that costs less than to set the time for each message. passed: it just has.
func (c *credit) arm(ctx context.Context, passed bool) {
	at := c.by
	if at.IsZero() || !c.stall.IsZero() && c.stall.Before(at) {
		at = c.stall
	}
	if !passed && (at.IsZero() || !c.armed.IsZero() && !at.Before(c.armed)) {
		return
	}
	c.armed = at
	_ = c.ch.SetReadDeadline(at)
	if ctx.Err() != nil {
		_ = c.ch.SetReadDeadline(time.Now()) // the end of ctx came in between
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
