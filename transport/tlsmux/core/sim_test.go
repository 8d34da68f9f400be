package core

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"

	"ipfixsuite/transport/tlsmux/wire"
)

// end is one side of a simulated session, and what its application knows.
type end struct {
	c       *Conn
	in      []byte // what has arrived and is not used yet
	streams map[*Channel]*stream
	order   []*Channel // of streams
	opening int        // channels still to be opened
	rng     *rand.Rand
}

// stream is a channel at one end.
type stream struct {
	out     int // octets still to be written
	close   bool
	stalled bool // nothing that comes is ever freed
	unfreed uint32
	closed  bool
}

func (e *end) begin(ch *Channel) {
	e.order = append(e.order, ch)
	e.streams[ch] = &stream{out: e.rng.IntN(20000), close: e.rng.IntN(2) == 0, stalled: e.rng.IntN(12) == 0}
}

// window holds what one end may send against what the other has granted: data
// that is on its way counts as sent, Acknowledgments that are do not yet.
func window(from, to *end, arrived map[wire.ChannelID]*flow) error {
	for id, ch := range from.c.channels {
		peer := to.c.channels[id]
		if peer == nil || ch.state != open || peer.state != open {
			continue
		}
		way := ch.sent
		if f := arrived[id]; f != nil {
			way -= f.got
		}
		if way > ch.sent || uint64(ch.window)+way > uint64(peer.granted) || peer.granted > to.c.cfg.Window {
			return fmt.Errorf("channel %v: a window of %d, %d octets under way, %d granted of %d", id, ch.window, way, peer.granted, to.c.cfg.Window)
		}
	}
	return nil
}

// flow is what is known of a channel's data in one direction: octet i is a
// function of i.
type flow struct{ sent, got uint64 }

func octet(id wire.ChannelID, i uint64) byte { return byte(i*131 + i>>8*7 + uint64(id)) }

func addr(s string) wire.Address { return wire.Address{Host: []byte(s), Port: 4740} }

// simulate runs two ends over a stream that is cut anywhere, with writes,
// frees and closes at random, until nothing more can happen.
func simulate(seed uint64) error {
	rng := rand.New(rand.NewPCG(seed, 4740))
	cfg := Config{Window: 1 + uint32(rng.IntN(5000)), MaxPacket: 1 + uint32(rng.IntN(2000)), SendBuffer: 1 + rng.IntN(4000), MaxChannels: 1 + rng.IntN(6), MaxAsked: 1 + rng.IntN(3)}
	var ends [2]*end
	for i := range ends {
		cfg.Client = i == 0
		ends[i] = &end{c: New(cfg), streams: map[*Channel]*stream{}, opening: rng.IntN(6), rng: rng}
	}
	flows := [2]map[wire.ChannelID]*flow{{}, {}} // by receiving end
	var wire01 [2][]byte                         // on the way to each end
	for step := 0; ; step++ {
		if step > 500_000 {
			return fmt.Errorf("no end in sight")
		}
		busy := false
		for i, e := range ends {
			acted, err := e.act(flows[1-i])
			if err != nil {
				return fmt.Errorf("end %d: %w", i, err)
			}
			busy = busy || acted
			if e.c.Pending() && rng.IntN(3) > 0 {
				busy = true
				wire01[1-i] = e.c.Output(wire01[1-i], len(wire01[1-i])+20+rng.IntN(3000))
			}
			if n := len(wire01[i]); n > 0 {
				busy = true
				k := 1 + rng.IntN(n)
				e.in = append(e.in, wire01[i][:k]...)
				wire01[i] = wire01[i][k:]
			}
			if err := e.digest(flows[i]); err != nil {
				return fmt.Errorf("end %d: %w", i, err)
			}
			if e.c.Pending() {
				busy = true
			}
			if err := window(e, ends[1-i], flows[1-i]); err != nil {
				return fmt.Errorf("end %d: %w", i, err)
			}
		}
		if !busy {
			break
		}
	}
	for i, e := range ends {
		if e.opening > 0 {
			return fmt.Errorf("end %d could not ask for all channels", i)
		}
		for ch, s := range e.streams {
			peer := ends[1-i].c.channels[ch.id]
			if peer != nil && peer.state == open && ch.state == open && ch.window != peer.granted {
				return fmt.Errorf("end %d: channel %v has a window of %d at the end, %d granted", i, ch.id, ch.window, peer.granted)
			}
			if !s.closed && s.out > 0 && (ch.window > 0 || !stalled(ends, ch.id)) {
				return fmt.Errorf("end %d: channel %v (state %d, window %d) is stuck with %d octets to write", i, ch.id, ch.state, ch.window, s.out)
			}
		}
		if e.c.stats.Violations > 0 || e.c.stats.Stray > 0 || e.c.stats.Unknown > 0 || e.c.tainted {
			return fmt.Errorf("end %d: %+v", i, e.c.stats)
		}
		if len(e.c.asking) > 0 || len(e.c.pending) > 0 || e.c.asked != 0 {
			return fmt.Errorf("end %d: requests are left", i)
		}
		for id, f := range flows[i] {
			peer := ends[1-i].c.channels[id]
			here := ends[i].c.channels[id]
			if peer != nil && peer.state == open && here != nil && here.state == open && f.got != f.sent && (peer.window > 0 || !stalled(ends, id)) {
				return fmt.Errorf("channel %v to end %d: %d of %d octets arrived", id, i, f.got, f.sent)
			}
		}
	}
	return nil
}

// stalled tells whether nobody reads at one end of a channel: nothing more may
// come through there, and the other end cannot be finished.
func stalled(ends [2]*end, id wire.ChannelID) bool {
	for _, e := range ends {
		if s := e.streams[e.c.channels[id]]; s != nil && s.stalled {
			return true
		}
	}
	return false
}

// act is what the application does by itself.
func (e *end) act(to map[wire.ChannelID]*flow) (busy bool, err error) {
	if e.opening > 0 && e.rng.IntN(4) == 0 {
		e.opening--
		busy = true
		ch, err := e.c.Open(addr("a"), addr("b"))
		if err != nil {
			return busy, err
		}
		e.begin(ch)
	}
	for _, ch := range e.order {
		s := e.streams[ch]
		switch {
		case s.closed:
		case s.out > 0 && ch.state == open && ch.Room() > 0:
			busy = true
			b := make([]byte, 1+e.rng.IntN(min(s.out, 3000)))
			f := to[ch.id]
			if f == nil {
				f = &flow{}
				to[ch.id] = f
			}
			for i := range b {
				b[i] = octet(ch.id, f.sent+uint64(i))
			}
			n := ch.Write(b)
			f.sent += uint64(n)
			s.out -= n
		case s.out == 0 && s.close && ch.state == open && (e.rng.IntN(50) == 0 || ch.Acknowledged() == ch.Written()):
			busy = true
			if e.rng.IntN(2) == 0 {
				ch.Finish()
			} else {
				ch.Close()
			}
			s.closed = true
		}
		if s.stalled {
			continue
		}
		if !s.closed && e.rng.IntN(40) == 0 {
			ch.SetMaxPacket(1 + uint32(e.rng.IntN(3000)))
		}
		if s.unfreed > 0 && e.rng.IntN(3) == 0 {
			busy = true
			n := 1 + uint32(e.rng.IntN(int(s.unfreed)))
			ch.Free(n)
			s.unfreed -= n
		}
		if s.unfreed > 0 {
			busy = true
		}
		if ch.state != open {
			s.unfreed = 0
		}
	}
	return busy || e.opening > 0, nil
}

// digest receives what has come.
func (e *end) digest(from map[wire.ChannelID]*flow) error {
	for len(e.in) > 0 {
		n, err := e.c.Receive(e.in)
		if err != nil {
			return err
		}
		progress := n > 0
		for {
			ev, ok := e.c.Event()
			if !ok {
				break
			}
			progress = true
			if err := e.happen(ev, from); err != nil {
				return err
			}
		}
		e.in = e.in[n:]
		if !progress {
			break
		}
	}
	return nil
}

func (e *end) happen(ev Event, from map[wire.ChannelID]*flow) error {
	ch := ev.Channel
	switch ev.Kind {
	case Asked:
		if string(ev.Source.Host) != "a" || ev.Destination.Port != 4740 {
			return fmt.Errorf("asked for %s:%d", ev.Source.Host, ev.Destination.Port)
		}
		if e.rng.IntN(5) == 0 {
			e.c.Reject(ch, "no")
			return nil
		}
		e.begin(ch)
		return e.c.Accept(ch)
	case Refused:
		e.streams[ch].closed = true
	case Closed:
		if len(ev.Text) > 0 {
			return fmt.Errorf("channel %v failed: %s", ch.id, ev.Text)
		}
		e.streams[ch].closed = true
		e.streams[ch].unfreed = 0
	case Arrived:
		f := from[ch.id]
		if f == nil || f.got+uint64(len(ev.Data)) > f.sent {
			return fmt.Errorf("channel %v: data that nobody sent", ch.id)
		}
		for i, b := range ev.Data {
			if b != octet(ch.id, f.got+uint64(i)) {
				return fmt.Errorf("channel %v: octet %d is another", ch.id, f.got+uint64(i))
			}
		}
		f.got += uint64(len(ev.Data))
		e.streams[ch].unfreed += uint32(len(ev.Data))
	case Opened, Room:
	}
	return nil
}

// Any interleaving and segmentation, maximums that change, channels that stall
// and close: no octet lost, twice, or out of order within its channel, no window
// below zero, no deadlock.
func TestSimulation(t *testing.T) {
	seeds := 4000
	if raced {
		seeds = 200 // it is slow then
	}
	if s := os.Getenv("TLSMUX_SEEDS"); s != "" {
		seeds, _ = strconv.Atoi(s)
	}
	begin := uint64(1)
	if s := os.Getenv("TLSMUX_SEED"); s != "" {
		begin, _ = strconv.ParseUint(s, 10, 64)
		seeds = 1
	}
	for seed := begin; seed < begin+uint64(seeds); seed++ {
		if err := simulate(seed); err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
	}
}

// A channel with a window that the peer never grows stops none of the others,
// and these share what the session carries.
func TestFairness(t *testing.T) {
	const channels, rounds = 8, 2000
	a, b := New(Config{Client: true}), New(Config{})
	var chs []*Channel
	got := map[*Channel]int{}
	byPeer := map[*Channel]*Channel{}
	exchange := func() {
		out := a.Output(nil, 64<<10)
		for len(out) > 0 {
			n, err := b.Receive(out)
			if err != nil {
				t.Fatal(err)
			}
			out = out[n:]
			for ev, ok := b.Event(); ok; ev, ok = b.Event() {
				switch ev.Kind {
				case Asked:
					if err := b.Accept(ev.Channel); err != nil {
						t.Fatal(err)
					}
				case Arrived:
					for _, ch := range chs {
						if ch.id == ev.Channel.id {
							byPeer[ch] = ev.Channel
							got[ch] += len(ev.Data)
							if ch != chs[0] { // the stalled one
								ev.Channel.Free(uint32(len(ev.Data)))
							}
						}
					}
				default:
				}
			}
		}
		back := b.Output(nil, 64<<10)
		for len(back) > 0 {
			n, err := a.Receive(back)
			if err != nil {
				t.Fatal(err)
			}
			back = back[n:]
			for _, ok := a.Event(); ok; _, ok = a.Event() {
			}
		}
	}
	for range channels {
		ch, err := a.Open(addr("a"), addr("b"))
		if err != nil {
			t.Fatal(err)
		}
		chs = append(chs, ch)
	}
	exchange()
	block := make([]byte, 100_000)
	for range rounds {
		for _, ch := range chs {
			ch.Write(block)
		}
		exchange()
	}
	if got[chs[0]] != DefaultWindow {
		t.Errorf("the stalled channel got %d octets, its window is %d", got[chs[0]], DefaultWindow)
	}
	least, most := got[chs[1]], got[chs[1]]
	for _, ch := range chs[1:] {
		least, most = min(least, got[ch]), max(most, got[ch])
	}
	if float64(most) > 1.02*float64(least) || least < rounds*4000 {
		t.Errorf("of the others each got %d to %d octets", least, most)
	}
	t.Logf("7 channels beside a stalled one: %d to %d octets each", least, most)
}

func TestAllocations(t *testing.T) {
	a, b := New(Config{Client: true}), New(Config{})
	ch, err := a.Open(addr("a"), addr("b"))
	if err != nil {
		t.Fatal(err)
	}
	var there, back []byte
	block := make([]byte, 1400)
	round := func() {
		ch.Write(block)
		for _, d := range []struct {
			from, to *Conn
			buf      *[]byte
		}{{a, b, &there}, {b, a, &back}} {
			*d.buf = d.from.Output((*d.buf)[:0], 64<<10)
			for rest := *d.buf; len(rest) > 0; {
				n, err := d.to.Receive(rest)
				if err != nil {
					t.Fatal(err)
				}
				rest = rest[n:]
				for ev, ok := d.to.Event(); ok; ev, ok = d.to.Event() {
					switch ev.Kind {
					case Asked:
						_ = b.Accept(ev.Channel)
					case Arrived:
						ev.Channel.Free(uint32(len(ev.Data)))
					default:
					}
				}
			}
		}
	}
	for range 100 {
		round()
	}
	if n := testing.AllocsPerRun(1000, round); n != 0 {
		t.Errorf("%v allocations a message", n)
	}
	if ch.Acknowledged() < 1000*1400 {
		t.Errorf("only %d octets acknowledged", ch.Acknowledged())
	}
}

// What a hostile peer sends costs it its channel, or the session, and never
// more than is bounded.
func FuzzReceive(f *testing.F) {
	seed := New(Config{})
	_, _ = seed.Open(addr("a"), addr("b"))
	open := seed.Output(nil, 1<<16)
	f.Add(open)
	f.Add(binary.BigEndian.AppendUint32(append(open[:len(open):len(open)], byte(wire.Data), 0, 0, 0, 9), 1<<16|1))
	f.Fuzz(func(t *testing.T, in []byte) {
		c := New(Config{MaxChannels: 4, MaxAsked: 2})
		ours, _ := c.Open(addr("a"), addr("b"))
		var chs []*Channel
		for len(in) > 0 {
			n, err := c.Receive(in)
			if err != nil {
				return
			}
			progress := n > 0
			for ev, ok := c.Event(); ok; ev, ok = c.Event() {
				progress = true
				switch ev.Kind {
				case Asked:
					if len(chs)%3 == 2 {
						c.Reject(ev.Channel, "no")
					} else if err := c.Accept(ev.Channel); err != nil {
						t.Fatal(err)
					}
					chs = append(chs, ev.Channel)
				case Arrived:
					if len(ev.Data)%2 == 0 {
						ev.Channel.Free(uint32(len(ev.Data)))
					}
					ev.Channel.Write(ev.Data)
				case Opened:
					ours.Write([]byte("x"))
				default:
				}
			}
			in = in[n:]
			if !progress {
				if !c.Blocked() {
					return
				}
			}
			_ = c.Output(nil, 1<<16)
			if c.peers > 4 || c.asked > 2 || len(c.channels) > 64 {
				t.Fatalf("%d channels of the peer, %d asked for, %d in all", c.peers, c.asked, len(c.channels))
			}
		}
	})
}
