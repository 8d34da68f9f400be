package userspace

import (
	"fmt"
	"sync/atomic"
	"testing"

	"ipfixsuite/transport/sctp"
	"ipfixsuite/transport/sctp/shim"
	"ipfixsuite/transport/sctp/wire"
)

// A peer that sends as much as its window lets it, in packets as full as its
// messages make them, loses nothing in front of pion, however slow that is.
func TestInbox_HoldsTheWindow(t *testing.T) {
	const window, packet = 1 << 20, 1472
	for _, size := range []int{16, 100, 245, 512, 739, 900, 1025, 1400, 1444} {
		q := inbox{}
		var all atomic.Int64
		q.init(inboxLimit(window), &usage{total: &all})
		chunk := wire.DataHeaderLen + wire.Padded(size)
		bundled := (packet - wire.HeaderLen) / chunk
		p := make([]byte, wire.HeaderLen+bundled*chunk)
		count := 0
		for user := 0; user < window; user += bundled * size {
			if !q.put(append(take(len(p)), p...)) {
				t.Fatalf("messages of %d octets: no room after %d packets, %d of %d octets", size, count, user, window)
			}
			count++
		}
		for range count {
			b, _ := q.get()
			give(b)
		}
		if n := all.Load(); n != 0 {
			t.Errorf("messages of %d octets: %d still accounted for", size, n)
		}
	}
}

// A stream of messages over a path that loses nothing is not held up by drops
// of our own making.
func TestAssociation_DropsNothing(t *testing.T) {
	for _, size := range []int{512, 900} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			var cfg Config
			cfg.MTU = 1500
			s, c := pair(t, cfg, cfg)
			const messages = 6000
			batch := make([]sctp.Message, 0, 64)
			for i := 0; i < messages; i += len(batch) {
				batch = batch[:0]
				for j := range min(cap(batch), messages-i) {
					batch = append(batch, sctp.Message{Data: numbered(i+j, size)})
				}
				c.send(t, batch...)
			}
			for range messages {
				s.next(t, sctp.EventMessage)
			}
			for _, e := range []*end{s, c} {
				// A machine that is too busy to acknowledge in time sees things twice.
				all := e.Association.(*association).s.Dropped()
				if n := all[shim.DropQueue.String()]; n != 0 {
					t.Errorf("%d packets dropped: %v", n, all)
				}
			}
		})
	}
}
