package ccidtest_test

import (
	"testing"
	"time"

	"ipfixsuite/transport/dccp/sim"
)

// RFC 4340, Section 7.5.2: a Sequence Window is about five times what goes in a
// round trip, acknowledgements counted as well: on a path that holds thousands
// of packets and loses none, each message is valid when it comes, though the
// receiver has sent thousands of acknowledgements meanwhile.
func TestRFC4340_7_5_2_AcknowledgementsCount(t *testing.T) {
	for name, d := range both {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := sim.New(1, epoch)
			a, b := connect(t, d(), epoch, messageSize, 2000)
			a.greedy = true
			// What stands in a large buffer makes the round trip long.
			line := sim.LinkConfig{Rate: 400e6, Queue: 20e6, Delay: 10 * time.Millisecond}
			n.Connect(a, b, []*sim.Link{n.Link(line)}, []*sim.Link{n.Link(line)})
			if err := n.Run(700 * time.Millisecond); err != nil {
				t.Fatal(err)
			}
			a.greedy = false
			if err := n.Run(700 * time.Millisecond); err != nil {
				t.Fatal(err)
			}
			sent, got := a.c.Stats(), b.c.Stats()
			t.Logf("%d messages, %d acknowledgements, window %d", sent.DataSent, got.AcksSent, sent.Sender.Window)
			if got.SequenceInvalid+got.SyncInvalid != 0 || got.DataReceived != sent.DataSent || sent.Delivered != sent.DataSent {
				t.Errorf("sent %+v\ngot %+v", sent, got)
			}
		})
	}
}
