package sctp

import (
	"context"
	"fmt"

	"ipfixsuite/transport"
)

// A Dialer opens sessions, each on an association of its own.
type Dialer struct {
	// Connect makes the association; with DTLS it must have been asked for
	// SCTP-AUTH (Config.Auth).
	Connect func(context.Context) (Association, error)
	Config  SessionConfig
}

// Dial implements transport.Dialer.
func (d *Dialer) Dial(ctx context.Context) (transport.Session, error) {
	if err := d.Config.Validate(); err != nil {
		return nil, err
	}
	cfg := d.Config.withDefaults()
	a, err := d.Connect(ctx)
	if err != nil {
		return nil, err
	}
	if cfg.DTLS == nil {
		p := new(pump)
		s := newSession(&carrier{assoc: a}, p, cfg, plainPeer(a, cfg.Scheme))
		p.start(a, s)
		return s, nil
	}
	remote := a.RemoteAddr()
	h, e, err := secure(ctx, a, cfg.DTLS, true)
	if err != nil {
		return nil, fmt.Errorf("dtls handshake with %v: %w", remote, err)
	}
	if !partial(a) {
		cfg.Lifetime = 0
	}
	s := newSession(h.c, h.pump, cfg, securePeer(a, cfg.Scheme, e))
	h.handOver(s)
	return s, nil
}
