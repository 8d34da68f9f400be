package endpoint

import (
	"context"
	"net/netip"
	"time"

	"ipfixsuite/transport"
)

const (
	// attemptDelay is how long an address may take before the next is tried
	// beside it (RFC 8305, Sections 5 and 8).
	attemptDelay = 250 * time.Millisecond
	// knownDelay is the same for the address of the last success, which had
	// better be taken again: only there a session can be resumed.
	knownDelay = time.Second
	// closeTimeout bounds the farewell of a session that came too late.
	closeTimeout = 2 * time.Second
)

// interleave puts addresses of IPv6 and IPv4 in turn, beginning with the
// family of the first, so that a family that leads nowhere costs one attempt
// only (RFC 8305, Section 4). Within a family the order stays.
func interleave(addrs []netip.AddrPort) []netip.AddrPort {
	var family [2][]netip.AddrPort
	for _, a := range addrs {
		i := 0
		if a.Addr().Is4() != addrs[0].Addr().Is4() {
			i = 1
		}
		family[i] = append(family[i], a)
	}
	out := make([]netip.AddrPort, 0, len(addrs))
	for i := range addrs {
		for _, f := range family {
			if i < len(f) {
				out = append(out, f[i])
			}
		}
	}
	return out
}

// attempt is how the dial of one address ended.
type attempt struct {
	i   int
	s   transport.Session
	err error
}

// race dials n addresses in turn: the next one when the one before has failed
// or has had its time, which delay tells. The first session is the winner's,
// the other attempts are given up. Without any the errors are those of all,
// in order. Its goroutines end with the attempts, which obey ctx.
func race(ctx context.Context, n int, delay func(i int) time.Duration, dial func(ctx context.Context, i int) (transport.Session, error)) (s transport.Session, winner int, errs []error) {
	attempts, giveUp := context.WithCancel(ctx)
	ended := make(chan attempt, n)
	started, open := 0, 0
	timer := time.NewTimer(0)
	defer timer.Stop()
	begin := func() {
		i := started
		started++
		open++
		timer.Reset(delay(i))
		go func() {
			s, err := dial(attempts, i)
			ended <- attempt{i, s, err}
		}()
	}
	all := make([]error, n)
	begin()
	for open > 0 {
		next := timer.C
		if started == n || ctx.Err() != nil {
			next = nil
		}
		select {
		case <-next:
			begin()
		case a := <-ended:
			open--
			if a.err == nil {
				giveUp()
				go discard(ended, open)
				return a.s, a.i, nil
			}
			all[a.i] = a.err
			if started < n && ctx.Err() == nil {
				begin()
			}
		}
	}
	giveUp()
	for _, err := range all {
		if err != nil {
			errs = append(errs, err)
		}
	}
	return nil, 0, errs
}

// discard closes the sessions that came too late.
func discard(ended <-chan attempt, n int) {
	for range n {
		if a := <-ended; a.err == nil {
			ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
			_ = a.s.Close(ctx) // nobody needs it
			cancel()
		}
	}
}
