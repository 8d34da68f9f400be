//go:build linux

package dccp

import (
	"encoding/json"
	"errors"
	"io"
	"sync"
	"testing"
	"time"

	"ipfixsuite/test/harness"
	"ipfixsuite/transport"
	"ipfixsuite/transport/dccp"
)

const (
	bulkSize = 100 // octets at most: the guest's time goes into packets
	tail     = 100 // more than the kernel queues

	bulkPatience = 3 * time.Minute
)

// bulkThere sends messages to Linux; what its Ack Vectors say of each must be
// what its application got.
func bulkThere(t *testing.T, n *harness.Network, ip addresses, messages int) {
	c, k := toKernel(t, n, ip, dccp.Config{Track: true})
	c.SetDeadline(time.Now().Add(bulkPatience))
	k.SetDeadline(time.Now().Add(bulkPatience))
	before := dropped(t, n, n.A, "va")
	got := make([]bool, messages+1)
	var end error // of their reading
	var wg sync.WaitGroup
	wg.Go(func() {
		buf := make([]byte, 4096)
		for {
			n, err := k.Read(buf)
			if err != nil {
				end = err
				return
			}
			if i := number(buf[:n]); i >= 1 && i <= messages {
				got[i] = true
			} else {
				t.Errorf("they read %q", buf[:n])
			}
		}
	})
	var fates []transport.Fate
	opening := uint64(0) // changes of features
	for i := 1; i <= messages; i++ {
		if _, err := c.Write(message(i, bulkSize)); err != nil {
			t.Fatal(err)
		}
		if i == 1 {
			harness.Until(t, "the first message is there", func() bool { return c.Stats().Delivered+c.Stats().Lost == 1 })
			opening = c.Stats().FeaturesChanged
		}
		if i%100 == 0 {
			fates = c.Fates(fates)
		}
	}
	harness.Until(t, "the fate of each is known", func() bool { s := c.Stats(); return s.Delivered+s.Lost == uint64(messages) })
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	wg.Wait()
	fates = c.Fates(fates)
	said := make([]int, messages+1) // times something was said of each
	lost, wrong := 0, 0
	for _, f := range fates {
		for i := f.First; i <= f.Last; i++ {
			said[i]++
			if !f.Arrived {
				lost++
			}
			if f.Arrived != got[i] {
				wrong++
				t.Logf("message %d: told %v, came %v", i, f.Arrived, got[i])
			}
		}
	}
	for i := 1; i <= messages; i++ {
		if said[i] != 1 {
			wrong++
			t.Logf("message %d: its fate was told %d times", i, said[i])
		}
	}
	s, drops := c.Stats(), dropped(t, n, n.A, "va")-before
	t.Logf("%d of %d lost, the link dropped %d packets; features changed %d, and %d; %+v", lost, messages, drops, opening, s.FeaturesChanged-opening, s)
	if wrong > 0 {
		t.Errorf("%d fates are wrong", wrong)
	}
	// Where windows are large Linux itself drops some: packets that acknowledge one
	// of its own too long ago, since this process hears of those only when it runs.
	if drops > 0 && lost > drops || lost > messages/2 {
		t.Errorf("%d of %d are lost, the link dropped %d packets", lost, messages, drops)
	}
	whole(t, s, end, messages, opening)
}

// dropped is how many packets an interface's queue has dropped so far.
func dropped(t *testing.T, n *harness.Network, ns, dev string) (drops int) {
	t.Helper()
	var queues []struct{ Drops int }
	if err := json.Unmarshal(harness.Run(t, "ip", "netns", "exec", ns, "tc", "-s", "-j", "qdisc", "show", "dev", dev, "root"), &queues); err != nil {
		t.Fatal(err)
	}
	for _, q := range queues {
		drops += q.Drops
	}
	return drops
}

// whole judges how a connection has lived. Linux at times runs ahead of the
// Sequence Window that it has told us, by more where this process has to wait for
// a processor: such packets have to be few, Syncs have to bring both ends
// together again (RFC 4340, Section 7.5), and the connection has to end in order,
// for whoever reads at its end.
func whole(t *testing.T, s dccp.Stats, end error, messages int, opening uint64) {
	t.Helper()
	if messages >= 10_000 && s.FeaturesChanged == opening {
		t.Error("no feature has changed: the Sequence Windows follow the congestion windows")
	}
	if s.OptionErrors+s.VectorsInvalid+s.Unexpected+s.DataOverflow > 0 {
		t.Errorf("%+v", s)
	}
	if invalid := s.SequenceInvalid + s.SyncInvalid; invalid > s.PacketsReceived/2 || invalid > 0 && s.SyncsSent == 0 {
		t.Errorf("%d of %d packets out of step, %d Syncs", invalid, s.PacketsReceived, s.SyncsSent)
	}
	if !errors.Is(end, io.EOF) {
		t.Errorf("ended by %v", end)
	}
}

// bulkBack has Linux send to us.
func bulkBack(t *testing.T, n *harness.Network, ip addresses, messages int) {
	l := listen(t, n, ip.a, dccp.ListenConfig{})
	k, err := kernelDial(t, n, n.B, l.Addr().(dccp.Addr).AddrPort(), service)
	if err != nil {
		t.Fatal(err)
	}
	k.SetDeadline(time.Now().Add(bulkPatience))
	before := dropped(t, n, n.B, "vb")
	var wg sync.WaitGroup
	// Before we accept: a Linux client whose Ack was lost says no more until
	// it has data.
	wg.Go(func() {
		// Linux does not wait for its queue when it closes: what is in it at
		// the end shall be of no interest.
		for i := 1; i <= messages+tail; i++ {
			if _, err := k.Write(message(i, bulkSize)); err != nil {
				t.Error(err)
				break
			}
		}
		k.Close()
	})
	defer wg.Wait()
	c, err := l.AcceptConn()
	if err != nil {
		t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(bulkPatience))
	came, last, opening := 0, 0, uint64(0)
	var end error
	buf := make([]byte, 4096)
	for {
		n, err := c.Read(buf)
		if err != nil {
			end = err
			break
		}
		i := number(buf[:n])
		if i <= last || i > messages+tail {
			t.Errorf("message %d after %d", i, last)
		}
		if last = i; came == 0 {
			opening = c.Stats().FeaturesChanged
		}
		if i <= messages {
			came++
		}
	}
	s, drops := c.Stats(), dropped(t, n, n.B, "vb")-before
	drops += int(l.Endpoint().Stats().SocketDrops + s.SequenceInvalid + s.Stale)
	t.Logf("%d of %d lost, the link dropped %d packets; features changed %d, and %d; %+v", messages-came, messages, drops, opening, s.FeaturesChanged-opening, s)
	if messages-came > drops || came < messages/2 {
		t.Errorf("%d of %d are lost, %d packets were dropped", messages-came, messages, drops)
	}
	whole(t, s, end, messages, opening)
}
