package tcp

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"
	"time"

	"ipfixsuite/transport"
	"ipfixsuite/transport/credentials"
)

// A Conn is an established connection: authenticated, if it is TLS. Reading
// and writing it is the application's; on TLS that is the plaintext.
type Conn struct {
	net.Conn
	Peer transport.Peer
	// Protocol is the application protocol agreed on (ALPN); may be empty.
	Protocol string

	tcp *meter
	tls *tls.Conn // nil on plain TCP
	// took is how long a Dialer's handshake was.
	took time.Duration
	// Of a Listener's: the peer's certificates, when they were judged, and by
	// whom at first.
	chain []*x509.Certificate
	at    time.Time
	by    *credentials.Credentials
	// For an Upgrade.
	bar    func(line uint64)
	counts atomic.Pointer[func() map[string]uint64]
}

// Bar keeps the connection's TLS session from being resumed by its peer. It is
// a Listener's Upgrade that calls it; a Dialer forgets.
func (c *Conn) Bar() {
	if c.bar != nil && c.tcp.line != 0 {
		c.bar(c.tcp.line)
	}
}

// Count has the Listener's statistics include what an Upgrade dropped, by
// reason. The function is called now and then, and once after the Upgrade's
// end.
func (c *Conn) Count(f func() map[string]uint64) { c.counts.Store(&f) }

// Upgrade serves a connection whose application protocol is not plain IPFIX.
type Upgrade func(ctx context.Context, c *Conn, h transport.Handler)

// CloseWrite tells the peer that nothing more will come: close_notify and FIN.
func (c *Conn) CloseWrite() error {
	if c.tls != nil {
		if err := c.tls.CloseWrite(); err != nil {
			return err
		}
	}
	return c.tcp.CloseWrite()
}

// Written counts the octets given to the kernel, TLS's included.
func (c *Conn) Written() uint64 { return c.tcp.written.Load() }

// Unacknowledged are those of them that the peer's host has not acknowledged;
// ok is false when that cannot be known.
func (c *Conn) Unacknowledged() (octets int, ok bool) { return unacknowledged(c.tcp.raw) }

// ErrTruncated says that the connection ended without TLS's close_notify: the
// peer broke off, or somebody else ended it (RFC 8446, Section 6.1).
var ErrTruncated = fmt.Errorf("connection ended without close_notify: %w", io.ErrUnexpectedEOF)

// Read tells the end of a TLS stream that nobody authenticated by
// ErrTruncated.
func (c *Conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	return n, c.end(err)
}

// Close ends the connection without a word; CloseWrite says it before.
func (c *Conn) Close() error { return c.tcp.Close() }

// end tells the orderly end of a stream from one that was cut off; crypto/tls
// lets both pass for EOF.
func (c *Conn) end(err error) error {
	if c.tls != nil && errors.Is(err, io.EOF) && c.tcp.ended.Load() {
		return ErrTruncated
	}
	return err
}

// meter counts what passes a TCP connection.
type meter struct {
	*net.TCPConn
	raw     syscall.RawConn
	written atomic.Uint64
	ended   atomic.Bool // the peer's FIN was read
	// heard is signalled when a session's reader comes back for more after the
	// first octets: it has digested them.
	session bool // set before the session's reader begins
	fresh   bool // owned by the reader
	heard   chan struct{}

	// These are filled in by a handshake; line by a Listener's, once a ticket
	// was given or taken.
	identity string
	chain    []*x509.Certificate
	line     uint64
}

func newMeter(c *net.TCPConn) (*meter, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	return &meter{TCPConn: c, raw: raw, heard: make(chan struct{}, 1)}, nil
}

func (m *meter) Read(b []byte) (int, error) {
	if m.fresh {
		m.fresh = false
		select {
		case m.heard <- struct{}{}:
		default:
		}
	}
	n, err := m.TCPConn.Read(b)
	m.fresh = n > 0 && m.session
	if errors.Is(err, io.EOF) {
		m.ended.Store(true)
	}
	return n, err
}

func (m *meter) Write(b []byte) (int, error) {
	n, err := m.TCPConn.Write(b)
	m.written.Add(uint64(n))
	return n, err
}

// addrPort is the address of a TCP endpoint, an IPv4 one as such.
func addrPort(a net.Addr) netip.AddrPort {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := t.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}
