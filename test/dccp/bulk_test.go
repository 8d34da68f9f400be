//go:build linux

package dccp

import (
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
)

// bulkThere sends messages to Linux; what its Ack Vectors say of each must be
// what its application got.
func bulkThere(t *testing.T, n *harness.Network, ip addresses, messages int) {
	l := kernelListen(t, n, ip.b)
	c, err := dial(t, n, l.AddrPort(), service, dccp.Config{Track: true})
	if err != nil {
		t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(40 * time.Second))
	k := accept(t, l)
	k.SetDeadline(time.Now().Add(40 * time.Second))
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
	for i := 1; i <= messages; i++ {
		if _, err := c.Write(message(i, bulkSize)); err != nil {
			t.Fatal(err)
		}
		if i%100 == 0 {
			fates = c.Fates(fates)
		}
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	wg.Wait()
	fates = c.Fates(fates)
	said := make([]int, messages+1) // times something was said of each
	arrived, lost, wrong := 0, 0, 0
	for _, f := range fates {
		for i := f.First; i <= f.Last; i++ {
			said[i]++
			if f.Arrived {
				arrived++
			} else {
				lost++
			}
			if f.Arrived != got[i] {
				wrong++
				t.Logf("message %d: told %v, came %v", i, f.Arrived, got[i])
			}
		}
	}
	twice, came := 0, 0
	for i := 1; i <= messages; i++ {
		if said[i] > 1 {
			twice++
		}
		if got[i] {
			came++
		}
	}
	s := c.Stats()
	t.Logf("%d came; arrived %d, lost %d, unknown %d; features changed %d; %+v", came, arrived, lost, messages-arrived-lost, s.FeaturesChanged, s)
	if wrong > 0 || twice > 0 {
		t.Errorf("%d fates are wrong, %d told twice", wrong, twice)
	}
	if came < messages*8/10 || messages-arrived-lost > messages/20 {
		t.Errorf("%d of %d came, nothing is known of %d", came, messages, messages-arrived-lost)
	}
	whole(t, s, end, messages)
}

// whole judges how a connection has lived. Linux at times runs ahead of the
// Sequence Window that it has told us, by more where this process has to wait for
// a processor: such packets have to be few, Syncs have to bring both ends
// together again (RFC 4340, Section 7.5), and the connection has to end in order,
// for whoever reads at its end.
func whole(t *testing.T, s dccp.Stats, end error, messages int) {
	t.Helper()
	// The handshake takes a dozen.
	if messages >= 10_000 && s.FeaturesChanged < 18 {
		t.Errorf("%d changes of features: Linux negotiates all the time", s.FeaturesChanged)
	}
	if s.OptionErrors+s.VectorsInvalid+s.Unexpected+s.DataOverflow > 0 {
		t.Errorf("%+v", s)
	}
	if invalid := s.SequenceInvalid + s.SyncInvalid; invalid > s.PacketsReceived/10 || invalid > 0 && s.SyncsSent == 0 {
		t.Errorf("%d of %d packets out of step, %d Syncs", invalid, s.PacketsReceived, s.SyncsSent)
	}
	if !errors.Is(end, io.EOF) {
		t.Errorf("ended by %v", end)
	}
}

// bulkBack has Linux send to us.
func bulkBack(t *testing.T, n *harness.Network, ip addresses, messages int) {
	l := listen(t, n, ip.a, dccp.ListenConfig{})
	k, err := kernelDial(t, n, l.Addr().(dccp.Addr), service)
	if err != nil {
		t.Fatal(err)
	}
	k.SetDeadline(time.Now().Add(40 * time.Second))
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
	c.SetDeadline(time.Now().Add(40 * time.Second))
	came, last := 0, 0
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
		if last = i; i <= messages {
			came++
		}
	}
	s := c.Stats()
	t.Logf("%d came; features changed %d; %+v", came, s.FeaturesChanged, s)
	if came < messages*8/10 {
		t.Errorf("%d of %d came", came, messages)
	}
	whole(t, s, end, messages)
}
