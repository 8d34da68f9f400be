package tcp

import (
	"context"
	"fmt"
	"sync"

	"ipfixsuite/transport/credentials"
)

// followCredentials asks new credentials about the sessions there are, each
// time that they change, and ends those that they would not let in.
func (l *listener) followCredentials(ctx context.Context) {
	for {
		changed := l.cfg.Credentials.Changed()
		l.recheck()
		select {
		case <-ctx.Done():
			return
		case <-changed: // nil: never
		}
	}
}

func (l *listener) recheck() {
	l.mu.Lock()
	all := make([]*inbound, 0, len(l.sessions))
	for s := range l.sessions {
		all = append(all, s)
	}
	l.mu.Unlock()
	// Side by side: a peer that reads nothing holds up no other's end.
	var wg sync.WaitGroup
	for _, s := range all {
		wg.Go(s.recheck) // its writes have a deadline
	}
	wg.Wait()
}

// recheck ends an established connection that the current credentials would
// not let in.
func (s *inbound) recheck() {
	c := s.conn.Load()
	if c == nil || c.tls == nil {
		return
	}
	now := s.l.cfg.Credentials.Current()
	if now == nil || now == c.by {
		return
	}
	// It may have expired since: that ends no session.
	identity, err := now.VerifyPeer(der(c.chain), credentials.PeerIsExporter, "", c.at)
	if err == nil && identity != c.Peer.Identity {
		err = fmt.Errorf("%s is let in as %s now", c.Peer.Identity, identity)
	}
	if err != nil {
		s.expel(fmt.Errorf("not let in any more: %w", err))
	}
}
