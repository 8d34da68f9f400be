package ccidtest_test

import (
	"testing"
	"time"

	"ipfixsuite/transport/dccp/ccid"
	"ipfixsuite/transport/dccp/ccid2"
	"ipfixsuite/transport/dccp/ccid3"
	"ipfixsuite/transport/dccp/core"
	"ipfixsuite/transport/dccp/sim"
)

var both = map[string]func() ccid.CCID{"CCID 2": ccid2.New, "CCID 3": ccid3.New}

// An exporter that has a message a second knows of each before the next that
// it arrived, and nothing ever times out; the sender is free to send more.
func TestLoneMessagesAreConfirmedAtOnce(t *testing.T) {
	for name, d := range both {
		n := sim.New(1, epoch)
		a, b := connect(t, d(), epoch, 300, 2000)
		line := []sim.LinkConfig{{Rate: 10e6, Queue: 64000, Delay: 25 * time.Millisecond}}
		na, _ := n.Connect(a, b, []*sim.Link{n.Link(line[0])}, []*sim.Link{n.Link(line[0])})
		sent := uint64(0)
		n.Every(time.Second, time.Second, func() bool {
			if a.fates[1] != sent {
				t.Errorf("%s, %v: %d of %d messages confirmed before the next", name, n.Elapsed(), a.fates[1], sent)
			}
			if err := a.c.Send(n.Now(), sent, a.message); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			sent++
			na.Wake()
			return sent < 60
		})
		if err := n.Run(61 * time.Second); err != nil {
			t.Fatal(err)
		}
		s := a.c.Stats()
		if s.Delivered != 60 || s.Lost != 0 || s.Sender.Timeouts != 0 || s.Sender.Reductions != 0 {
			t.Errorf("%s: %+v", name, s)
		}
		if acks := b.c.Stats().AcksSent; acks > 75 {
			t.Errorf("%s: %d acknowledgements for 60 messages", name, acks)
		}
	}
}

// A line that is cut for minutes, in both directions or in one, does not end a
// connection and does not hold it for ever: the rate comes back.
func TestConnectionsSurviveABlackout(t *testing.T) {
	for name, d := range both {
		for _, cut := range []struct{ there, back bool }{{true, true}, {true, false}, {false, true}} {
			n := sim.New(1, epoch)
			a, b := connect(t, d(), epoch, messageSize, 2000)
			a.greedy = true
			line := sim.LinkConfig{Rate: 1e6, Queue: 10000, Delay: 20 * time.Millisecond}
			there, back := n.Link(line), n.Link(line)
			n.Connect(a, b, []*sim.Link{there}, []*sim.Link{back})
			run := func(d time.Duration) {
				if err := n.Run(d); err != nil {
					t.Fatal(err)
				}
			}
			run(10 * time.Second)
			there.SetDown(cut.there)
			back.SetDown(cut.back)
			sent := a.c.Stats().PacketsSent
			run(5 * time.Minute)
			if n := a.c.Stats().PacketsSent - sent; n > 500 {
				t.Errorf("%s, %+v: %d packets in five minutes without an answer", name, cut, n)
			}
			there.SetDown(false)
			back.SetDown(false)
			run(100 * time.Second)
			before := b.octets
			run(10 * time.Second)
			if rate := float64(b.octets-before) * 8 / 10; rate < 0.8e6 || a.c.State() != core.StateOpen {
				t.Errorf("%s, %+v: %.2f of 1 Mbit/s afterwards, %v, %+v", name, cut, rate/1e6, a.c.State(), a.c.Stats())
			}
		}
	}
}
