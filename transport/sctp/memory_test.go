package sctp

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"ipfixsuite/transport"
)

// memory is one end of an association without a network: messages arrive in
// order as soon as they are acknowledged, which a test may hold up; under
// SCTP-AUTH a message whose key the other end does not have waits there, as a
// retransmission would.
type memory struct {
	peer   *memory
	w      *world
	in     chan Event
	addr   netip.AddrPort
	chunks []byte // that this end demands authenticated
	pr     bool
	most   int
	room   int // one more than the messages it takes; 0: any number

	// Under world.mu.
	keys    map[uint16][]byte
	active  uint16
	sent    uint64
	acked   uint64
	flight  []flying
	end     error
	log     []sentMessage
	drained int // how often
	beats   int
	stopped bool // Shutdown was called

	over chan struct{}
	once sync.Once
}

// world is what both ends share.
type world struct {
	mu   sync.Mutex
	cond *sync.Cond
	held bool // nothing is delivered or acknowledged
}

type flying struct {
	m   Message
	key uint16
	mac []byte
}

// sentMessage is what a test sees of one.
type sentMessage struct {
	Message
	key     uint16
	drained bool // everything before it had been acknowledged
}

const memoryStreams = 8

var memoryPort atomic.Uint32

// memoryPair makes both ends. chunks are what each demands of the other.
func memoryPair(clientChunks, serverChunks []byte) (client, server *memory) {
	w := &world{}
	w.cond = sync.NewCond(&w.mu)
	port := uint16(10000 + memoryPort.Add(1)%50000)
	make1 := func(addr string, port uint16, chunks []byte) *memory {
		return &memory{
			w: w, in: make(chan Event, 1<<14), addr: netip.AddrPortFrom(netip.MustParseAddr(addr), port), chunks: chunks, pr: true,
			most: 65535, keys: map[uint16][]byte{0: nil}, over: make(chan struct{}),
		}
	}
	client, server = make1("192.0.2.1", port, clientChunks), make1("192.0.2.2", 4739, serverChunks)
	client.peer, server.peer = server, client
	return client, server
}

// hold keeps what is sent in flight until it is called off.
func (w *world) hold(on bool) {
	w.mu.Lock()
	w.held = on
	w.mu.Unlock()
}

// move delivers and acknowledges what can be; the caller has mu.
func (m *memory) move() {
	for len(m.flight) > 0 && !m.w.held {
		f := m.flight[0]
		key, ok := m.peer.keys[f.key]
		if slices.Contains(m.peer.chunks, ChunkData) && (!ok || !bytes.Equal(key, f.mac)) {
			break
		}
		m.flight = m.flight[1:]
		m.acked++
		m.peer.in <- Event{Kind: EventMessage, Message: f.m}
	}
	if m.stopped && m.end == nil && len(m.flight) == 0 && !m.w.held {
		m.peer.in <- Event{Kind: EventPeerShutdown}
		// The other end sends what it has, and nothing more.
		m.peer.move()
		m.finish(transport.ErrClosed)
		m.peer.finish(transport.ErrPeerClosed)
	}
	m.w.cond.Broadcast()
}

// finish ends one side; the caller has mu.
func (m *memory) finish(err error) {
	m.once.Do(func() {
		if errors.Is(err, transport.ErrPeerClosed) && m.stopped {
			err = transport.ErrClosed
		}
		for _, f := range m.flight {
			m.in <- Event{Kind: EventSendFailed, Message: Message{Stream: f.m.Stream, Tag: f.m.Tag}}
		}
		m.flight = nil
		m.end = err
		close(m.over)
		m.w.cond.Broadcast()
	})
}

func (m *memory) Send(ctx context.Context, batch []Message) (n int, err error) {
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	for _, msg := range batch {
		switch {
		case m.end != nil || m.stopped || m.peer.stopped:
			if m.end != nil {
				return n, m.end
			}
			return n, transport.ErrClosed
		case int(msg.Stream) >= memoryStreams:
			return n, ErrStream
		case len(msg.Data) > m.most:
			return n, transport.ErrTooLarge
		}
		if m.room == 1 {
			m.w.mu.Unlock()
			<-ctx.Done()
			m.w.mu.Lock()
			return n, context.Cause(ctx)
		}
		m.room = max(m.room-1, 0)
		m.log = append(m.log, sentMessage{Message: msg, key: m.active, drained: len(m.flight) == 0})
		msg.Data = bytes.Clone(msg.Data)
		m.log[len(m.log)-1].Data = msg.Data
		msg.Data = bytes.Clone(msg.Data)
		m.sent++
		m.flight = append(m.flight, flying{msg, m.active, m.keys[m.active]})
		m.move()
		n++
	}
	return n, nil
}

func (m *memory) Receive(ev *Event) error {
	for {
		select {
		case *ev = <-m.in:
			return nil
		default:
		}
		select {
		case *ev = <-m.in:
			return nil
		case <-m.over:
			if len(m.in) == 0 {
				return m.end
			}
		}
	}
}

func (m *memory) Drain(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { m.w.mu.Lock(); m.w.cond.Broadcast(); m.w.mu.Unlock() })
	defer stop()
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	m.drained++
	for len(m.flight) > 0 && m.end == nil && ctx.Err() == nil {
		m.move()
		if len(m.flight) > 0 {
			m.w.cond.Wait()
		}
	}
	if m.end != nil {
		return m.end
	}
	return ctx.Err()
}

func (m *memory) Acknowledged() uint64 {
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	if m.end != nil {
		return m.sent
	}
	return m.acked
}

func (m *memory) Heartbeat(context.Context) error {
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	m.beats++
	return m.end
}

func (m *memory) SetKey(id uint16, key []byte) error {
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	m.keys[id] = bytes.Clone(key)
	m.peer.move()
	return nil
}

func (m *memory) ActivateKey(id uint16) error {
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	if _, ok := m.keys[id]; !ok {
		return errors.New("no such key")
	}
	m.active = id
	return nil
}

func (m *memory) DeleteKey(id uint16) error {
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	if m.active == id {
		return errors.New("key in use")
	}
	delete(m.keys, id)
	return nil
}

func (m *memory) PeerAuthChunks() ([]byte, error) { return m.peer.chunks, nil }
func (m *memory) Streams() (out, in int)          { return memoryStreams, memoryStreams }
func (m *memory) PartialReliability() bool        { return m.pr }
func (m *memory) MaxMessage() int                 { return m.most }
func (m *memory) LocalAddr() netip.AddrPort       { return m.addr }
func (m *memory) RemoteAddr() netip.AddrPort      { return m.peer.addr }
func (m *memory) Stats() Stats                    { return Stats{} }

func (m *memory) Shutdown() error {
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	m.stopped = true
	m.move()
	return m.end
}

func (m *memory) Abort(reason string) {
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	m.finish(transport.ErrClosed)
	m.peer.finish(&LostError{Aborted: true, Reason: reason})
}

// lose ends the association as if the peer did not answer.
func (m *memory) lose() {
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	m.finish(&LostError{})
	m.peer.finish(&LostError{})
}

// inject delivers a message as if the peer had sent it.
func (m *memory) inject(msg Message) { m.in <- Event{Kind: EventMessage, Message: msg} }

// seen is what this end sent.
func (m *memory) seen() []sentMessage {
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	return slices.Clone(m.log)
}

// memoryAcceptor accepts what a test offers.
type memoryAcceptor struct {
	offered chan Association
	closed  chan struct{}
	once    sync.Once
}

func newMemoryAcceptor() *memoryAcceptor {
	return &memoryAcceptor{offered: make(chan Association, 64), closed: make(chan struct{})}
}

func (a *memoryAcceptor) Accept(ctx context.Context) (Association, error) {
	select {
	case as := <-a.offered:
		return as, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-a.closed:
		return nil, transport.ErrClosed
	}
}
func (a *memoryAcceptor) Addr() netip.AddrPort { return netip.MustParseAddrPort("192.0.2.2:4739") }
func (a *memoryAcceptor) Stats() AcceptorStats { return AcceptorStats{} }
func (a *memoryAcceptor) Close() error         { a.once.Do(func() { close(a.closed) }); return nil }
