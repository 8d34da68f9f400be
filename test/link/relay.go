package link

import (
	"bytes"
	"container/heap"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A Direction is one of the two ways through a Relay.
type Direction int

const (
	// Up is the way from those who came to the Relay, the exporter.
	Up Direction = iota
	// Down is the way back.
	Down
)

// Config says what a Relay does to each datagram, both ways. The zero value
// passes everything at once.
type Config struct {
	// Delay is the time one way takes; Jitter the most that chance adds to
	// it, so that datagrams overtake each other.
	Delay, Jitter time.Duration
	// Loss and Duplicate are probabilities, 0 to 1.
	Loss, Duplicate float64
	// Seed decides what chance does to the n-th datagram of each way.
	Seed uint64
	// Drop says which datagrams are lost beside those. One call at a time.
	Drop func(way Direction, client netip.AddrPort, data []byte) bool
	// Record keeps a copy of everything that arrives.
	Record bool
}

// Counters of one way.
type Counters struct {
	Arrived, Lost, Duplicated uint64
	// Paused were dropped because the Relay was paused.
	Paused uint64
	// Injected came from nobody.
	Injected uint64
	// Refused could not be sent: nobody listens there.
	Refused uint64
}

// A Datagram as it arrived, with the exporter's address.
type Datagram struct {
	Way    Direction
	Client netip.AddrPort
	Data   []byte
	Lost   bool // by chance
}

// Relay stands between exporters and one collector. Each client has an own
// socket towards the collector, as behind a NAT.
type Relay struct {
	cfg   Config
	front *net.UDPConn
	to    *net.UDPAddr
	wg    sync.WaitGroup
	wake  chan struct{}
	done  chan struct{}

	mu       sync.Mutex
	rng      [2]*rand.Rand
	n        [2]Counters
	paused   bool
	closed   bool
	flows    map[netip.AddrPort]*net.UDPConn
	recorded []Datagram
	pending  queue
	order    uint64
}

// New starts a Relay on 127.0.0.1 to the address of a collector. Its
// goroutines end with Close.
func New(to string, cfg Config) (*Relay, error) {
	addr, err := net.ResolveUDPAddr("udp4", to)
	if err != nil {
		return nil, fmt.Errorf("relay: %w", err)
	}
	front, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, fmt.Errorf("relay: %w", err)
	}
	readBuffer(front, 8<<20)
	r := &Relay{
		cfg: cfg, front: front, to: addr, wake: make(chan struct{}, 1), done: make(chan struct{}),
		flows: map[netip.AddrPort]*net.UDPConn{},
	}
	for way := range r.rng {
		r.rng[way] = rand.New(rand.NewPCG(cfg.Seed, uint64(way)))
	}
	r.wg.Go(r.up)
	r.wg.Go(r.deliver)
	return r, nil
}

// readBuffer goes beyond the system's limit where privileges allow it.
func readBuffer(c *net.UDPConn, size int) {
	_ = c.SetReadBuffer(size)
	if rc, err := c.SyscallConn(); err == nil {
		_ = rc.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, size) })
	}
}

// Addr is where clients send to.
func (r *Relay) Addr() string { return r.front.LocalAddr().String() }

// Close ends the Relay; what is on its way is lost.
func (r *Relay) Close() {
	r.mu.Lock()
	if !r.closed {
		r.closed = true
		close(r.done)
		_ = r.front.Close()
		for _, back := range r.flows {
			_ = back.Close()
		}
	}
	r.mu.Unlock()
	r.wg.Wait()
}

// Pause makes the link drop everything, or ends that.
func (r *Relay) Pause(yes bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.paused = yes
}

// Counters returns what happened to one way.
func (r *Relay) Counters(way Direction) Counters {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.n[way]
}

// Recorded returns what arrived since the beginning.
func (r *Relay) Recorded() []Datagram {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Datagram(nil), r.recorded...)
}

// Clients are the addresses of all exporters' sessions.
func (r *Relay) Clients() []netip.AddrPort {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []netip.AddrPort
	for c := range r.flows {
		all = append(all, c)
	}
	return all
}

// Inject sends a datagram at once in a client's name, or the collector's to
// the client.
func (r *Relay) Inject(way Direction, client netip.AddrPort, data []byte) {
	r.mu.Lock()
	r.n[way].Injected++
	back := r.flows[client]
	r.mu.Unlock()
	r.write(parcel{way: way, client: client, back: back, data: data})
}

// up reads what clients send.
func (r *Relay) up() {
	for buf := make([]byte, 65536); ; {
		n, from, err := r.front.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // somebody's port is closed
		}
		if back := r.flow(from); back != nil {
			r.arrived(Up, from, back, buf[:n])
		}
	}
}

// flow returns a client's socket to the collector.
func (r *Relay) flow(client netip.AddrPort) *net.UDPConn {
	r.mu.Lock()
	defer r.mu.Unlock()
	if back := r.flows[client]; back != nil || r.closed {
		return back
	}
	back, err := net.DialUDP("udp4", nil, r.to)
	if err != nil {
		return nil
	}
	readBuffer(back, 1<<20)
	r.flows[client] = back
	r.wg.Go(func() { // Close ends it
		for buf := make([]byte, 65536); ; {
			n, err := back.Read(buf)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				r.arrived(Down, client, back, buf[:n])
			}
		}
	})
	return back
}

// arrived decides what becomes of a datagram.
func (r *Relay) arrived(way Direction, client netip.AddrPort, back *net.UDPConn, data []byte) {
	now := time.Now()
	p := parcel{way: way, client: client, back: back, data: bytes.Clone(data)}
	r.mu.Lock()
	defer r.mu.Unlock()
	c, rng := &r.n[way], r.rng[way]
	c.Arrived++
	// The same draws for each datagram, whatever becomes of it.
	lost, twice := rng.Float64() < r.cfg.Loss, rng.Float64() < r.cfg.Duplicate
	lost = lost || r.cfg.Drop != nil && r.cfg.Drop(way, client, data)
	if r.cfg.Record {
		r.recorded = append(r.recorded, Datagram{way, client, p.data, lost && !r.paused})
	}
	late := [2]float64{rng.Float64(), rng.Float64()}
	switch {
	case r.paused:
		c.Paused++
		return
	case lost:
		c.Lost++
		return
	}
	copies := 1
	if twice {
		c.Duplicated++
		copies = 2
	}
	for _, l := range late[:copies] {
		p.due = now.Add(r.cfg.Delay + time.Duration(l*float64(r.cfg.Jitter)))
		p.order = r.order
		r.order++
		heap.Push(&r.pending, p)
	}
	select {
	case r.wake <- struct{}{}:
	default: // it is awake
	}
}

// deliver sends what is due.
func (r *Relay) deliver() {
	timer := time.NewTimer(time.Hour)
	for {
		pause := time.Hour
		for {
			r.mu.Lock()
			var p parcel
			ready := false
			if len(r.pending) > 0 {
				if pause = time.Until(r.pending[0].due); pause <= 0 {
					p, ready = heap.Pop(&r.pending).(parcel), true
				}
			}
			r.mu.Unlock()
			if !ready {
				break
			}
			r.write(p)
			pause = time.Hour
		}
		timer.Reset(pause)
		select {
		case <-r.wake:
		case <-timer.C:
		case <-r.done:
			return
		}
	}
}

func (r *Relay) write(p parcel) {
	var err error
	switch {
	case p.way == Down:
		_, err = r.front.WriteToUDPAddrPort(p.data, p.client)
	case p.back == nil:
		return
	default:
		if _, err = p.back.Write(p.data); err != nil {
			// The error may be about an earlier datagram.
			_, err = p.back.Write(p.data)
		}
	}
	if err != nil {
		r.mu.Lock()
		r.n[p.way].Refused++
		r.mu.Unlock()
	}
}

// parcel is a datagram on its way.
type parcel struct {
	way    Direction
	client netip.AddrPort
	back   *net.UDPConn
	data   []byte
	due    time.Time
	order  uint64 // of those due at the same time
}

// queue is a heap, by due.
type queue []parcel

func (q queue) Len() int { return len(q) }
func (q queue) Less(i, j int) bool {
	if q[i].due.Equal(q[j].due) {
		return q[i].order < q[j].order
	}
	return q[i].due.Before(q[j].due)
}
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)   { *q = append(*q, x.(parcel)) }
func (q *queue) Pop() any {
	last := len(*q) - 1
	p := (*q)[last]
	(*q)[last] = parcel{}
	*q = (*q)[:last]
	return p
}
