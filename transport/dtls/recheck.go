package dtls

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	"ipfixsuite/transport/credentials"
)

// admission is why a session's peer was let in.
type admission struct {
	identity string
	chain    [][]byte // its certificates; nil: it has a pre-shared key
	at       time.Time
	by       *credentials.Credentials
}

// stands says whether other credentials would have let the peer in then: its
// certificate may have expired since, but its authority must still be trusted,
// its key be the same and its name be allowed.
func (a *admission) stands(now *credentials.Credentials) error {
	if len(a.chain) == 0 {
		if err := now.AllowPSK(a.identity); err != nil {
			return err
		}
		was, _ := a.by.PSK(a.identity)
		if is, _ := now.PSK(a.identity); !bytes.Equal(was, is) {
			return fmt.Errorf("peer's pre-shared key %q is another now", a.identity)
		}
		return nil
	}
	identity, err := now.VerifyPeer(a.chain, credentials.PeerIsExporter, "", a.at)
	if err == nil && identity != a.identity {
		err = fmt.Errorf("%s is let in as %s now", a.identity, identity)
	}
	return err
}

// followCredentials asks new credentials about the sessions there are, each
// time that they change, until ctx ends.
func (l *listener) followCredentials(ctx context.Context) {
	for {
		changed := l.cfg.Credentials.Changed()
		if changed == nil {
			return // never
		}
		l.recheck()
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
	}
}

// recheck ends the sessions that the current credentials would not let in,
// and forgets those that could be resumed and were made with others. Reading
// goes on while they are asked.
func (l *listener) recheck() {
	now := l.cfg.Credentials.Current()
	if now == nil {
		return
	}
	l.cache.keepOnly(now.Fingerprint())
	l.mu.Lock()
	all := l.sessions()
	l.mu.Unlock()
	type verdict struct {
		by  *credentials.Credentials
		who [sha256.Size]byte
	}
	verdicts := map[verdict]error{} // sessions of one peer have one certificate
	for _, s := range all {
		a := &s.admission
		if a.by == now {
			continue
		}
		v := verdict{by: a.by, who: sha256.Sum256([]byte(a.identity))}
		if len(a.chain) > 0 {
			v.who = sha256.Sum256(a.chain[0])
		}
		err, asked := verdicts[v]
		if !asked {
			err = a.stands(now)
			verdicts[v] = err
		}
		l.mu.Lock()
		if err != nil {
			l.end(s, notLetIn(err))
		} else {
			a.by = now
		}
		l.mu.Unlock()
	}
}

func notLetIn(err error) error { return fmt.Errorf("not let in any more: %w", err) }
