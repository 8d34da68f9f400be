package dccp

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"ipfixsuite/transport/dccp/carrier"
	"ipfixsuite/transport/dccp/ccid"
)

// RFC 4340, Section 11.6: a reader that is too slow for what comes says so
// before its socket overflows. Whatever the sender may have under way stands in
// the socket's buffer whenever a message is taken from it, and yet none is lost.
func TestRFC4340_11_6_SlowReceiver(t *testing.T) {
	const messages = 30_000
	var client atomic.Pointer[Conn]
	var sent atomic.Bool
	most := within(t).Done()
	receive := func(*Conn, []byte) {
		c := client.Load()
		for c != nil && !sent.Load() {
			select {
			case <-most: // no hang, but a failure
				return
			default:
			}
			if s := c.Stats().Sender; s.Flight >= s.Window {
				return
			}
			runtime.Gosched()
		}
	}
	l, to := listenLoopback(t, ListenConfig{Config: Config{
		Receive: receive, Socket: carrier.Config{ReceiveBuffer: 1 << 20},
	}})
	c, err := Dial(within(t), to, service, Config{CCIDs: []ccid.ID{ccid.TCPLike}})
	if err != nil {
		t.Fatal(err)
	}
	client.Store(c)
	var wg sync.WaitGroup
	wg.Go(func() {
		defer sent.Store(true)
		msg := make([]byte, 100)
		for range messages {
			if _, err := c.Write(msg); err != nil {
				t.Error(err)
				return
			}
		}
	})
	wg.Wait()
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	s := c.Stats()
	if got := l.e.io.(*carrier.UDP).ReceiveBuffer() / 2; got < 1<<20 {
		// Too small for what is read at once; SO_RCVBUF is what root allows.
		t.Logf("a receive buffer of %d octets only: %d drops", got, l.e.Stats().SocketDrops)
		if s.SlowReceiverSeen == 0 {
			t.Error("nothing was told")
		}
		return
	}
	t.Logf("window %d, asked to be slow %d times, %d timeouts", s.Sender.Window, s.SlowReceiverSeen, s.Sender.Timeouts)
	// A sender whose timer runs out all the time, on a machine that stands still
	// as often, fills no buffer.
	asked := s.SlowReceiverSeen > 0 || s.Sender.Timeouts > 0
	if drops := l.e.Stats().SocketDrops; drops != 0 || s.Lost != 0 || s.Delivered != messages || !asked {
		t.Errorf("%d drops, %+v", drops, s)
	}
}
