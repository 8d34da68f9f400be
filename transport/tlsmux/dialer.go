package tlsmux

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"ipfixsuite/transport"
	"ipfixsuite/transport/tcp"
	"ipfixsuite/transport/tlsmux/core"
	"ipfixsuite/transport/tlsmux/wire"
)

const (
	// streams is how many channels a session offers: one for each Observation
	// Domain that an Exporting Process has at most.
	streams = 1024
	// window is what is granted for a collector's use of a channel: nothing
	// comes back on it.
	window = 1 << 16
	// sendBuffer has room for some messages of the greatest length.
	sendBuffer = 4 * (maxMessage + 1)
	// patience is how long Send waits for room.
	patience = 100 * time.Millisecond
	// signEvery is how often a sign of life is asked for while a channel stands
	// still: sooner than anybody becomes suspicious.
	signEvery = 150 * time.Millisecond
	// maxMessage is what the length in a message's header can say.
	maxMessage = 65535
)

// Dialer opens sessions with a channel for each stream. A collector without
// MTA-TLS gets plain TLS.
type Dialer struct {
	// TCP dials, with Credentials; its NextProtos are filled in.
	TCP *tcp.Dialer

	once sync.Once
}

// Forget makes the next session begin with a full handshake.
func (d *Dialer) Forget() { d.TCP.Forget() }

// Dial implements transport.Dialer.
func (d *Dialer) Dial(ctx context.Context) (transport.Session, error) {
	d.once.Do(func() { d.TCP.Config.NextProtos = []string{Protocol} })
	c, err := d.TCP.Connect(ctx)
	if err != nil {
		return nil, err
	}
	if c.Protocol != Protocol {
		return d.TCP.Session(ctx, c)
	}
	s := &session{
		peer: c.Peer, to: Address(c.Peer.Remote), conn: c, done: make(chan struct{}), freed: make(chan struct{}, 1),
		fallen: make(chan struct{}, 1), renewed: make(map[int]*renewal),
		mux: Client(c, Config{Core: core.Config{Window: window, SendBuffer: sendBuffer}, Tainted: d.Forget, Takes: func(wire.Address, wire.Address) error {
			return errors.New("an exporter takes no channels")
		}}),
	}
	// By its name a collector is known behind a translated address as well.
	if c.Peer.Identity != "" {
		s.to.Host = []byte(c.Peer.Identity)
	}
	// The first channel shows that the collector serves us; a TLS 1.3 peer's
	// refusal of our certificate comes here as well.
	first, err := s.mux.Open(ctx, Address(c.Peer.Local), s.to)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("mta-tls with %v: %w", c.Peer.Remote, err), s.mux.Close())
	}
	s.adopt(0, first)
	s.wg.Go(s.watch) // ended by the Mux's end
	return s, nil
}

// session is an exporter's end.
type session struct {
	peer transport.Peer
	to   wire.Address // of all channels
	conn *tcp.Conn
	mux  *Mux

	mu       sync.Mutex // of what makes them
	channels [streams]atomic.Pointer[Channel]
	renewed  map[int]*renewal // under mu
	fell     atomic.Bool      // Fell has something to tell
	fallen   chan struct{}    // the same to watch
	freed    chan struct{}

	messages, octets, probes, answers atomic.Uint64

	ending  sync.Once
	closing atomic.Bool // by Close
	wg      sync.WaitGroup
	done    chan struct{}
	err     error // read after done
}

// watch sees the session's end: that of TLS, or of its last channel.
func (s *session) watch() {
	for {
		select {
		case <-s.mux.Done():
			s.end(s.mux.Err())
			return
		case <-s.fallen:
			if err := s.allFell(); err != nil && !s.closing.Load() {
				s.end(err)
			}
		}
	}
}

func (s *session) end(err error) {
	s.ending.Do(func() {
		if s.closing.Load() && errors.Is(err, transport.ErrPeerClosed) {
			err = nil // it answers our own end
		}
		s.err = err
		close(s.done)
		s.wg.Go(func() { _ = s.mux.Close() }) // ends with the Mux's goroutines
	})
}

// channel is that of a stream, opened when it is used first.
func (s *session) channel(stream uint16) (*Channel, error) {
	i := int(stream) % streams
	if ch := s.channels[i].Load(); ch != nil {
		return ch, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.channels[i].Load() == nil {
		if s.rests(i) {
			return nil, transport.ErrBusy
		}
		ch, err := s.mux.open(Address(s.peer.Local), s.to)
		if err != nil {
			return nil, err
		}
		s.adopt(i, ch)
	}
	return s.channels[i].Load(), nil
}

// opened are the channels there are.
func (s *session) opened(yield func(*Channel) bool) {
	for i := range s.channels {
		if ch := s.channels[i].Load(); ch != nil && !yield(ch) {
			return
		}
	}
}

// adopt makes a channel that of a stream.
func (s *session) adopt(i int, ch *Channel) {
	s.channels[i].Store(ch)
	ch.tells(s.free, s.falls)
}

// Send implements transport.Session. A channel that has no room keeps what
// comes after its message waiting, though not the messages of other calls; once
// it has been waited for in vain the next Send says so at once.
func (s *session) Send(ctx context.Context, batch []transport.Outgoing) (n int, err error) {
	var timer <-chan time.Time
	for n < len(batch) {
		o := &batch[n]
		if len(o.Data) > maxMessage {
			return n, transport.ErrTooLarge
		}
		ch, err := s.channel(o.Stream)
		if errors.Is(err, transport.ErrBusy) {
			return n, err
		}
		if err != nil {
			return n, s.failed(err)
		}
		ok, change, err := ch.putWhole(o.Data)
		if err != nil && s.allFell() == nil {
			return n, transport.ErrBusy // until Renew
		}
		if err != nil {
			return n, s.failed(err)
		}
		if ok {
			n++
			s.messages.Add(1)
			s.octets.Add(uint64(len(o.Data)))
			continue
		}
		if change == nil {
			return n, transport.ErrBusy
		}
		if timer == nil {
			timer = time.After(patience)
		}
		select {
		case <-change:
		case <-timer:
			ch.stalled()
			return n, transport.ErrBusy
		case <-ctx.Done():
			return n, ctx.Err()
		}
	}
	return n, nil
}

// failed is the session's end because of one of its channels.
func (s *session) failed(err error) error {
	s.end(ended(err))
	<-s.done
	if s.err != nil {
		return s.err
	}
	return transport.ErrClosed
}

// ended makes the end of a channel one of a session.
func ended(err error) error {
	if errors.Is(err, io.EOF) {
		return transport.ErrPeerClosed
	}
	return err
}

// Probe implements transport.Session. Behind all that was sent before it asks
// for a channel that nobody gives, which shows that the collector's process
// answers, and has it acknowledge what it has written (spec.md, D11, D14).
func (s *session) Probe(ctx context.Context) error {
	s.probes.Add(1)
	type due struct {
		ch *Channel
		at uint64
	}
	var dues []due
	for ch := range s.opened {
		dues = append(dues, due{ch, ch.written()})
	}
	all := func(count func(*core.Channel) uint64) error {
		for _, d := range dues {
			err := s.await(ctx, func(ctx context.Context) error { return d.ch.until(ctx, d.at, count) })
			if err != nil && (ctx.Err() != nil || d.ch.failed() == nil || s.allFell() != nil) {
				return err
			}
		}
		return nil
	}
	if err := all((*core.Channel).Sent); err != nil {
		return err
	}
	if err := s.sign(ctx); err != nil {
		return err
	}
	if err := all((*core.Channel).Acknowledged); err != nil {
		return err
	}
	s.answers.Add(1)
	return nil
}

// await waits for one channel, and asks for signs of life meanwhile: a channel
// that stands still is not the session's end.
func (s *session) await(ctx context.Context, ready func(context.Context) error) error {
	for {
		step, cancel := context.WithTimeout(ctx, signEvery)
		err := ready(step)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
			return err
		}
		if err := s.sign(ctx); err != nil {
			return err
		}
	}
}

// sign asks for a sign of life.
func (s *session) sign(ctx context.Context) error {
	to := s.to
	to.Port = probePort
	ch, err := s.mux.Open(ctx, Address(s.peer.Local), to)
	if err == nil {
		_ = ch.Close() // a peer that gives it is alive as well
		return nil
	}
	if _, refused := errors.AsType[*RefusedError](err); refused {
		return nil
	}
	return err
}

// MaxMessage implements transport.Session.
func (s *session) MaxMessage() int { return maxMessage }

// Properties implements transport.Session.
func (s *session) Properties() transport.Properties { return properties }

var properties = transport.Properties{
	Secure: true, Reliable: true, Ordered: true, Stream: true, Streams: streams, Channels: true, Confirms: transport.ConfirmProcess,
}

// Peer implements transport.Session.
func (s *session) Peer() transport.Peer { return s.peer }

// Done implements transport.Session.
func (s *session) Done() <-chan struct{} { return s.done }

// Err implements transport.Session.
func (s *session) Err() error {
	select {
	case <-s.done:
		return s.err
	default:
		return nil
	}
}

// Close implements transport.Session: it waits until everything is
// acknowledged, no longer than ctx, closes the channels and ends TLS.
func (s *session) Close(ctx context.Context) error {
	select {
	case <-s.done:
	default:
		s.closing.Store(true)
		_ = s.Probe(ctx) // what is not acknowledged then is lost with the session
		for ch := range s.opened {
			_ = ch.Close()
		}
		s.mux.farewell(ctx, s.conn)
	}
	s.end(nil)
	s.wg.Wait()
	return nil
}

// Stats implements transport.Session.
func (s *session) Stats() transport.SessionStats {
	return transport.SessionStats{
		MessagesSent: s.messages.Load(), BytesSent: s.octets.Load(), ProbesSent: s.probes.Load(), ProbesAnswered: s.answers.Load(),
		Heard: s.mux.heard.Load(),
	}
}
