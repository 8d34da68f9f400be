package core

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"ipfixsuite/transport/dccp/ccid"
	"ipfixsuite/transport/dccp/ccid2"
	"ipfixsuite/transport/dccp/ccid3"
	"ipfixsuite/transport/dccp/sim"
	"ipfixsuite/transport/dccp/wire"
)

// attacker knows addresses and ports. The blind one guesses numbers; the other
// also hears everything, and says it again later.
type attacker struct {
	rnd    *rand.Rand
	heard  [][]byte // of one direction
	old    int      // how many of them have surely arrived
	replay bool
	sent   int
}

// hear keeps packets of one direction.
func (a *attacker) hear(_ time.Time, b []byte) bool {
	if a.replay && len(a.heard) < 2000 {
		a.heard = append(a.heard, bytes.Clone(b))
	}
	return true
}

// packet is the next one of the attack.
func (a *attacker) packet(ports Ports) []byte {
	a.sent++
	if a.replay && a.old > 0 {
		return bytes.Clone(a.heard[a.rnd.IntN(a.old)])
	}
	p := wire.Packet{
		SrcPort: ports.Remote, DstPort: ports.Local, Type: wire.Type(a.rnd.IntN(11)), Service: service,
		Seq: wire.MakeSeq(a.rnd.Uint64()), Ack: wire.MakeSeq(a.rnd.Uint64()), Code: wire.ResetCode(a.rnd.IntN(13)),
		Data: []byte("forged and more than 9 octets"),
	}
	p.Short = p.Type.MayBeShort() && a.rnd.IntN(2) == 0
	p.Options = make([]byte, a.rnd.IntN(40))
	for i := range p.Options {
		p.Options[i] = byte(a.rnd.Uint32())
	}
	b, _ := p.AppendBinary(nil)
	return b
}

// Forged Resets, packets out of window, options of any form and old packets
// said again do not touch a living connection: each message arrives, once, and
// it ends in order.
func TestAttackers(t *testing.T) {
	for seed := range uint64(20) {
		for _, replay := range []bool{false, true} {
			n := sim.New(seed, start)
			rnd := rand.New(rand.NewPCG(seed, 5))
			d := []ccid.CCID{ccid2.New(), ccid3.New()}[seed%2]
			end := func(name string) *simEnd {
				e := &simEnd{seed: seed, name: name, cfg: Config{CCIDs: []ccid.CCID{d}}, arrived: map[uint64]bool{},
					wired: map[uint64]bool{}, came: map[wire.Seq]bool{}, size: func() int { return 200 }, toSend: 150}
				e.refuse = func() bool { return false }
				e.fates = make([]EventKind, e.toSend)
				return e
			}
			a, b := end("client"), end("server")
			a.peer, b.peer = b, a
			a.tuple, b.tuple = Tuple{LocalPort: 40000, RemotePort: 5001}, Tuple{LocalPort: 5001, RemotePort: 40000}
			a.listener, _ = NewListener(ListenerConfig{Rand: testRand(seed + 1)})
			b.listener, _ = NewListener(ListenerConfig{Config: b.cfg, Services: []wire.ServiceCode{service}, Rand: testRand(seed)})
			a.c = NewClient(n.Now(), a.cfg, Ports{Local: 40000, Remote: 5001, Service: service}, wire.MakeSeq(rnd.Uint64()))
			links := []*sim.Link{n.Link(sim.LinkConfig{Delay: 20 * time.Millisecond}), n.Link(sim.LinkConfig{Delay: 20 * time.Millisecond})}
			a.node, b.node = n.Connect(a, b, links[:1], links[1:])

			at := [2]*attacker{{rnd: rnd, replay: replay}, {rnd: rnd, replay: replay}}
			links[0].Filter, links[1].Filter = at[0].hear, at[1].hear
			// From when both are open: a Request said again to a listener is a
			// new connection by right.
			n.Every(200*time.Millisecond, 500*time.Microsecond, func() bool {
				if a.closed || b.closed || b.c == nil {
					return false
				}
				for i, e := range []*simEnd{b, a} {
					p := at[i].packet(e.c.Ports())
					e.Receive(n.Now(), sim.Packet{Data: p})
					e.node.Wake()
				}
				return true
			})
			n.Every(100*time.Millisecond, 100*time.Millisecond, func() bool {
				for _, x := range at {
					k := len(x.heard)
					n.At(n.Elapsed()+100*time.Millisecond, func() { x.old = k })
				}
				// It closes when everything has come.
				if len(a.arrived) == 150 && len(b.arrived) == 150 && !a.closes {
					a.closes = true
					a.application(n.Now())
					a.node.Wake()
				}
				return !a.closed
			})
			if err := n.Run(20 * time.Minute); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			name := fmt.Sprintf("seed %d, replay %v", seed, replay)
			for _, e := range []*simEnd{a, b} {
				for _, f := range e.faults {
					t.Errorf("%s: %s", name, f)
				}
				if e.c.State() != StateClosed || !e.c.Err().Clean() || len(e.arrived) != 150 {
					t.Errorf("%s: %s is %v (%v) with %d messages", name, e.name, e.c.State(), e.c.Err(), len(e.arrived))
				}
				for id, k := range e.fates {
					if k != EventDelivered {
						t.Errorf("%s: %s's message %d is %v", name, e.name, id, k)
						break
					}
				}
				st := e.c.Stats()
				if st.SequenceInvalid+st.SyncInvalid+st.Duplicates+st.Stale+st.ShortInvalid+st.Unexpected < uint64(at[0].sent)/4 {
					t.Errorf("%s: %s counted too little of %d: %+v", name, e.name, at[0].sent, st)
				}
				if limit := 8*uint64(n.Elapsed()/time.Second) + 20; st.SyncsSent > limit {
					t.Errorf("%s: %d Syncs", name, st.SyncsSent)
				}
			}
			if at[0].sent < 100 {
				t.Errorf("%s: an attack of %d packets", name, at[0].sent)
			}
		}
	}
}
