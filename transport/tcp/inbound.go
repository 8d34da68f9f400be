package tcp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"ipfixsuite/transport"
)

// errClear is an IPFIX Message (version 10) where TLS should begin.
var errClear = errors.New("the exporter sends IPFIX in the clear: have it send to tls+tcp")

// deadlineGrain is how exactly the bounds on time are kept.
const deadlineGrain = time.Second

// inbound is one connection of a Listener. Its goroutine reads.
type inbound struct {
	l      *listener
	prefix netip.Prefix
	half   bool // under listener.mu

	conn     atomic.Pointer[Conn] // nil while shaking hands
	upgraded atomic.Bool
	parting  atomic.Bool
	expelled atomic.Pointer[error] // by other credentials
}

// serve is the connection's life.
func (s *inbound) serve(ctx context.Context, tc *net.TCPConn, h transport.Handler) {
	l := s.l
	tune(tc, l.cfg.DeadAfter)
	c, err := s.establish(ctx, tc)
	l.shaken(s)
	if err != nil {
		l.failed.Add(1)
		l.refuse(tc.RemoteAddr(), err)
		return
	}
	s.conn.Store(c)
	s.recheck() // the credentials may be others by now
	if up := l.cfg.Upgrade[c.Protocol]; up != nil && c.Protocol != "" {
		s.upgraded.Store(true)
		up(ctx, c, &tallied{s, h})
		return
	}
	r, err := h.Open(c.Peer, transport.Properties{
		Secure: c.tls != nil, Reliable: true, Ordered: true, Stream: true, Streams: 1, Confirms: transport.ConfirmTransport,
	})
	if err != nil || r == nil {
		l.refused.Add(1)
		l.unwanted.Add(1)
		l.refuse(tc.RemoteAddr(), err)
		return
	}
	l.opened.Add(1)
	if c.Peer.Resumed {
		l.resumed.Add(1)
	}
	err = s.receive(c, r)
	if e := s.expelled.Load(); e != nil {
		err = *e
	} else if s.parting.Load() {
		err = transport.ErrClosed
	}
	_ = c.tcp.SetWriteDeadline(time.Now().Add(drainMost))
	_ = c.CloseWrite() // a peer that reads it knows that its end was seen
	r.Closed(err)
	l.closed.Add(1)
}

// establish makes it TLS where that is wanted.
func (s *inbound) establish(ctx context.Context, tc *net.TCPConn) (*Conn, error) {
	cfg := &s.l.cfg
	m, err := newMeter(tc)
	if err != nil {
		return nil, err
	}
	remote := addrPort(tc.RemoteAddr())
	c := &Conn{Conn: m, tcp: m, Peer: transport.Peer{
		Identity: remote.Addr().String(), Remote: remote, Local: addrPort(tc.LocalAddr()),
		Scheme: cfg.Scheme, Session: transport.NewSessionNumber(),
	}}
	if cfg.Credentials == nil {
		return c, nil
	}
	s.l.started.Add(1)
	conf, by, err := s.l.server.config(cfg)
	if err != nil {
		return nil, err
	}
	if cfg.HandshakeTimeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, cfg.HandshakeTimeout)
		defer cancel()
	}
	c.at, c.by, c.bar = time.Now(), by, s.l.server.bar
	t := tls.Server(m, conf)
	if err := t.HandshakeContext(ctx); err != nil {
		if e, ok := errors.AsType[tls.RecordHeaderError](err); ok && e.RecordHeader[0] == 0 && e.RecordHeader[1] == 10 {
			err = errClear
		}
		return nil, fmt.Errorf("tls handshake: %w", err)
	}
	st := t.ConnectionState()
	c.Conn, c.tls, c.Protocol, c.chain = t, t, st.NegotiatedProtocol, m.chain
	c.Peer.Identity, c.Peer.Resumed = m.identity, st.DidResume
	return c, nil
}

// receive hands over messages until the connection ends; nil: in order.
func (s *inbound) receive(c *Conn, r transport.Receiver) error {
	var f Framer
	used := 0
	var clock deadline
	for {
		clock.set(s, c, f.Pending() > 0, used > 0)
		n, err := c.Read(f.Room())
		messages, octets, bad := f.Took(n, r, time.Now())
		used = octets
		s.l.messages.Add(uint64(messages))
		s.l.octets.Add(uint64(octets))
		if bad != nil {
			s.l.unsynchronised.Add(1)
			return bad
		}
		have := f.Pending()
		switch {
		case err == nil:
		case errors.Is(err, io.EOF) && have > 0:
			return fmt.Errorf("connection ended within a message, after %d octets of it", have)
		case errors.Is(err, io.EOF):
			return nil
		case errors.Is(err, os.ErrDeadlineExceeded) && !s.ending():
			s.l.stalled.Add(1)
			if have > 0 {
				return fmt.Errorf("a message was left unfinished for %v", s.l.cfg.StallTimeout)
			}
			return fmt.Errorf("nothing came for %v", s.l.cfg.IdleTimeout)
		default:
			return err
		}
	}
}

// deadline keeps a connection's read deadline without a system call for each
// read.
type deadline struct {
	at   time.Time
	part bool // it is for the rest of a message
}

// set is told whether a message is unfinished, and whether another was
// finished since the call before.
func (d *deadline) set(s *inbound, c *Conn, part, progress bool) {
	bound := s.l.cfg.IdleTimeout
	if part {
		bound = s.l.cfg.StallTimeout
	}
	now := time.Now()
	same := d.part == part
	switch {
	case s.ending():
		return // whoever ends it has set one
	case bound <= 0 && d.at.IsZero():
		return
	case bound <= 0:
		d.at = time.Time{}
	case same && part && !progress:
		return // since the message began
	case same && now.Add(bound).Sub(d.at) < min(deadlineGrain, bound/4):
		return
	default:
		d.at = now.Add(bound)
	}
	d.part = part
	_ = c.tcp.SetReadDeadline(d.at)
	if s.ending() {
		// The deadline for the end came in between, and was overwritten.
		_ = c.tcp.SetReadDeadline(now.Add(deadlineGrain))
	}
}

func (s *inbound) ending() bool { return s.parting.Load() || s.expelled.Load() != nil }

// part ends the connection in order: the peer is told, what it was sending is
// still read.
func (s *inbound) part(by time.Time) {
	s.parting.Store(true)
	c := s.conn.Load()
	if c == nil || s.upgraded.Load() {
		return // its handshake, or whoever took it over, ends with the context
	}
	_ = c.tcp.SetDeadline(by)
	_ = c.CloseWrite()
}

// expel ends the connection at once.
func (s *inbound) expel(reason error) {
	s.expelled.Store(&reason)
	c := s.conn.Load()
	_ = c.tcp.SetWriteDeadline(time.Now().Add(deadlineGrain))
	_ = c.CloseWrite()
	_ = c.tcp.SetReadDeadline(time.Unix(1, 0))
}

// exhausted tells that the process, or the system, is out of descriptors or
// memory: that passes.
func exhausted(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ENOBUFS) || errors.Is(err, syscall.ENOMEM) ||
		errors.Is(err, syscall.ECONNABORTED)
}
