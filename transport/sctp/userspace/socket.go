package userspace

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"ipfixsuite/transport"
	"ipfixsuite/transport/sctp/shim"
	"ipfixsuite/transport/udp"
)

// Socket is a UDP socket with the associations on it.
type Socket struct {
	cfg  Config
	conn *udp.Conn
	out  outbox
	work sync.WaitGroup
	// stop ends the reader.
	stop context.CancelFunc

	mu     sync.RWMutex
	tags   map[uint32]receiver // by local verification tag
	peers  map[peerKey]*association
	dials  map[peerKey]struct{} // handshakes begun here
	ports  map[uint16]*acceptor
	counts map[netip.Prefix]int // associations
	total  int
	closed bool

	// Of the reader.
	handshakes, strays *shim.Limiter
	scratch            []byte

	use atomic.Int64 // of all associations

	packets, bytes   atomic.Uint64
	limited, refused atomic.Uint64
	unsent           atomic.Uint64 // packets the system would not take
	drops            dropCounters
	gone             goneCounters // of associations that have ended
}

// receiver is what a verification tag leads to: an association, or a handshake
// begun here.
type receiver interface {
	// deliver takes a packet from the reader's buffer whose checksum is right.
	deliver(now time.Time, packet []byte, d *transport.Datagram)
	// existing tells the tags.
	existing() shim.Existing
}

// peerKey finds the association of a peer by addresses and ports.
type peerKey struct {
	udp         netip.AddrPort
	local, peer uint16 // SCTP ports
}

// socketBuffer is what a Socket asks of the kernel for packets not yet read,
// in octets.
const socketBuffer = 4 << 20

// Packets go to the system one by one (udp.Config.Apart): a run of them, cut by
// UDP_SEGMENT and joined again on the way, panics a Linux 6.1 peer's kernel in
// its sctp_udp_rcv.

// Open opens a Socket at a UDP address; port 0 is one of the system's choice.
func Open(addr netip.AddrPort, cfg Config) (*Socket, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	conn, err := udp.Listen(addr, udp.Config{MTU: cfg.MTU, ReceiveBuffer: socketBuffer, Apart: true})
	if err != nil {
		return nil, err
	}
	return newSocket(conn, cfg), nil
}

// connect opens a Socket for one peer.
func connect(ctx context.Context, remote netip.AddrPort, cfg Config) (*Socket, error) {
	if cfg.Local.IsValid() {
		return Open(cfg.Local, cfg)
	}
	conn, err := udp.Connect(ctx, remote, udp.Config{MTU: cfg.MTU, ReceiveBuffer: socketBuffer, Fragment: true, Apart: true})
	if err != nil {
		return nil, err
	}
	return newSocket(conn, cfg), nil
}

func newSocket(conn *udp.Conn, cfg Config) *Socket {
	ctx, cancel := context.WithCancel(context.Background())
	s := &Socket{
		cfg:        cfg,
		conn:       conn,
		stop:       cancel,
		tags:       make(map[uint32]receiver),
		peers:      make(map[peerKey]*association),
		dials:      make(map[peerKey]struct{}),
		ports:      make(map[uint16]*acceptor),
		counts:     make(map[netip.Prefix]int),
		handshakes: shim.NewLimiter(cfg.Handshakes, cfg.HandshakesPerPrefix),
		strays:     shim.NewLimiter(cfg.Strays, max(cfg.Strays/10, 1)),
	}
	s.out.init()
	s.work.Go(func() { s.read(ctx) })
	s.work.Go(s.write)
	return s
}

// UDPAddr is the socket's UDP address.
func (s *Socket) UDPAddr() netip.AddrPort { return s.conn.LocalAddr() }

// Close ends everything on the socket: listeners, handshakes, associations;
// these are aborted.
func (s *Socket) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	var live []receiver
	for _, r := range s.tags {
		live = append(live, r)
	}
	for _, l := range s.ports {
		l.shut(net.ErrClosed)
	}
	s.mu.Unlock()
	for _, r := range live {
		switch r := r.(type) {
		case *association:
			r.Abort("")
		case *dialing:
			r.abandon(net.ErrClosed)
		}
	}
	s.out.close()
	s.stop()
	s.work.Wait()
	return s.conn.Close()
}

// readBatch is how many datagrams are read at once.
const readBatch = 64

// read is the reader; it ends when its context does or the socket fails.
func (s *Socket) read(ctx context.Context) {
	batch := make([]transport.Datagram, readBatch)
	for {
		n, err := s.conn.ReadBatch(ctx, batch)
		now := time.Now()
		for i := range batch[:n] {
			s.receive(now, &batch[i])
		}
		if err != nil {
			if ctx.Err() == nil {
				s.failed(err)
			}
			return
		}
	}
}

// failed ends what depends on a socket that cannot be read any more.
func (s *Socket) failed(err error) {
	err = fmt.Errorf("read: %w", err)
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, l := range s.ports {
		l.shut(err)
	}
}

// write is the writer; it ends when the outbox is closed and empty.
func (s *Socket) write() {
	var batch []transport.Datagram
	for {
		var more bool
		if batch, more = s.out.fetch(batch[:0]); !more {
			return
		}
		for rest := batch; len(rest) > 0; {
			n, err := s.conn.WriteBatch(rest)
			rest = rest[n:]
			if err != nil && len(rest) > 0 {
				// Lost on the way, as far as SCTP can tell.
				s.unsent.Add(1)
				rest = rest[1:]
				if errors.Is(err, net.ErrClosed) {
					break
				}
			}
		}
		for i := range batch {
			give(batch[i].Data)
			batch[i] = transport.Datagram{}
		}
	}
}

// random fills a seed.
func random() (seed [32]byte) {
	_, _ = rand.Read(seed[:]) // never fails
	return seed
}

// newTag is a verification tag that no other receiver has; s.mu is held.
func (s *Socket) newTag() uint32 {
	for {
		var b [4]byte
		_, _ = rand.Read(b[:]) // never fails
		tag := binary.BigEndian.Uint32(b[:])
		if _, taken := s.tags[tag]; tag != 0 && !taken {
			return tag
		}
	}
}
