package dtlsmux

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/dtls/v3/pkg/protocol/extension"
	"github.com/pion/dtls/v3/pkg/protocol/handshake"
)

const (
	// maxRecord is the longest record that pion reads, maxPlain what fits into
	// one of ours; nor are handshake messages cut before.
	maxRecord = 8192
	maxPlain  = 8000
	// never: what the carrier took arrives (RFC 6347, Section 4.2.4, is for
	// those that lose).
	never = time.Duration(math.MaxInt64 / 2)
)

// Conn is an established DTLS session as a stream. Its methods may be called
// from several goroutines.
type Conn struct {
	*dtls.Conn
	agreed bool

	mu   sync.Mutex // of reading
	buf  []byte
	have []byte // of buf: read from the session, not by the caller

	write sync.Mutex
}

// Agreed tells whether both sides want MTA-TLS. Without, the session is plain
// DTLS, and goes on as such.
func (c *Conn) Agreed() bool { return c.agreed }

// Client makes a session as the DTLS client, and offers MTA-TLS. The carrier
// belongs to the Conn then, and is closed with it.
func Client(ctx context.Context, carrier net.Conn, options ...dtls.ClientOption) (*Conn, error) {
	r := &records{Conn: carrier, hello: serverHello}
	options = append(options[:len(options):len(options)], dtls.WithMTU(maxPlain), dtls.WithFlightInterval(never),
		dtls.WithClientHelloMessageHook(func(h handshake.MessageClientHello) handshake.Message {
			h.Extensions = append(h.Extensions[:len(h.Extensions):len(h.Extensions)], dataMultiplexing{})
			return &h
		}))
	d, err := dtls.ClientWithOptions(r, carrier.RemoteAddr(), options...)
	return establish(ctx, r, d, err)
}

// Server makes a session as the DTLS server, and takes up MTA-TLS if the client
// offers it.
func Server(ctx context.Context, carrier net.Conn, options ...dtls.ServerOption) (*Conn, error) {
	r := &records{Conn: carrier, hello: clientHello}
	options = append(options[:len(options):len(options)], dtls.WithMTU(maxPlain), dtls.WithFlightInterval(never),
		dtls.WithServerHelloMessageHook(func(h handshake.MessageServerHello) handshake.Message {
			if r.extended.Load() {
				h.Extensions = append(h.Extensions[:len(h.Extensions):len(h.Extensions)], dataMultiplexing{})
			}
			return &h
		}))
	d, err := dtls.ServerWithOptions(r, carrier.RemoteAddr(), options...)
	return establish(ctx, r, d, err)
}

func establish(ctx context.Context, r *records, d *dtls.Conn, err error) (*Conn, error) {
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	if err := d.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("dtls handshake: %w", err), d.Close())
	}
	return &Conn{Conn: d, agreed: r.extended.Load(), buf: make([]byte, maxPlain)}, nil
}

// Read implements net.Conn for any size of b.
func (c *Conn) Read(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.have) == 0 && len(b) > 0 {
		n, err := c.Conn.Read(c.buf)
		if err != nil {
			return 0, err
		}
		c.have = c.buf[:n]
	}
	n := copy(b, c.have)
	c.have = c.have[n:]
	return n, nil
}

// Write implements net.Conn for any length.
func (c *Conn) Write(b []byte) (n int, err error) {
	c.write.Lock() // the records of one Write stay together
	defer c.write.Unlock()
	for n < len(b) {
		k, err := c.Conn.Write(b[n:min(n+maxPlain, len(b))])
		n += k
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// dataMultiplexing is the draft's extension.
type dataMultiplexing struct{}

// Marshal implements extension.Extension.
func (dataMultiplexing) Marshal() ([]byte, error) {
	return []byte{Extension >> 8, Extension & 0xff, 0, 0}, nil
}

// Unmarshal implements extension.Extension.
func (dataMultiplexing) Unmarshal([]byte) error { return nil }

// TypeValue implements extension.Extension.
func (dataMultiplexing) TypeValue() extension.TypeValue { return Extension }

// records is a carrier as pion wants it: a read brings one whole record, whether
// the carrier keeps messages apart or not.
type records struct {
	net.Conn
	hello    byte // the peer's
	extended atomic.Bool

	// Owned by the reader.
	buf   []byte
	begin int
}

// carrierBuffer has room for a whole message of any carrier behind a part of a
// record: what a read leaves of a message is lost.
const carrierBuffer = 1 << 17

// ErrCarrier says that the carrier brought what is no DTLS record, or one longer
// than 8192 octets.
var ErrCarrier = errors.New("carrier lost its synchronisation")

// ReadFrom implements net.PacketConn.
func (r *records) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		have := r.buf[r.begin:]
		if len(have) >= recordHeader {
			n := recordHeader + int(binary.BigEndian.Uint16(have[11:]))
			if have[1] != 0xfe || n > maxRecord {
				return 0, nil, ErrCarrier
			}
			if len(have) >= n {
				if is, extended := offers(have[:n], r.hello); is {
					r.extended.Store(extended)
				}
				r.begin += n
				return copy(b, have[:n]), r.RemoteAddr(), nil
			}
		}
		if r.buf == nil {
			r.buf = make([]byte, 0, carrierBuffer)
		}
		r.buf, r.begin = r.buf[:copy(r.buf[:len(have)], have)], 0
		n, err := r.Read(r.buf[len(r.buf):cap(r.buf)])
		r.buf = r.buf[:len(r.buf)+n]
		if n == 0 && err == nil {
			err = io.ErrUnexpectedEOF // of a SOCK_SEQPACKET: the end
		}
		if n == 0 {
			return 0, nil, err
		}
	}
}

// WriteTo implements net.PacketConn: there is one peer.
func (r *records) WriteTo(b []byte, _ net.Addr) (int, error) { return r.Write(b) }
