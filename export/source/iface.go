package source

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"ipfixsuite/capture"
	"ipfixsuite/export"
)

// tick is how often flows are looked after on an interface without traffic.
const tick = 500 * time.Millisecond

// iface meters the packets of a network interface until it is stopped. What
// the Exporter has no room for is dropped and counted: traffic does not wait.
type iface struct {
	base
	name string
}

func (s *iface) Check() error {
	r, err := capture.Live(s.name, capture.LiveConfig{RingSize: 1})
	if err != nil {
		return err
	}
	return r.Close()
}

func (s *iface) Run(ctx context.Context, out *export.Exporter) error {
	r, err := capture.Live(s.name, s.cfg.Live)
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }()
	m, err := newMeter(ctx, &s.base, out, false)
	if err != nil {
		return err
	}
	m.drops = func() uint64 { return r.Stats().Drops }
	var now int64
	for ctx.Err() == nil {
		// A tick is also how long the end of ctx goes unnoticed.
		if err := r.SetReadDeadline(time.Now().Add(tick)); err != nil {
			return fmt.Errorf("interface %s: %w", s.name, err)
		}
		if now, err = s.untilDeadline(m, r); err != nil {
			break
		}
		m.m.Advance(now)
		m.share(now)
	}
	m.m.Flush()
	m.share(now)
	return over(ctx, err)
}

// untilDeadline meters what comes until the deadline of r, or a share's worth
// of packets, and returns the time then.
func (s *iface) untilDeadline(m *meter, r *capture.Ring) (int64, error) {
	for n := 1; ; n++ {
		p, err := r.Next()
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return time.Now().UnixNano(), nil
		case err != nil:
			return time.Now().UnixNano(), fmt.Errorf("interface %s: %w", s.name, err)
		}
		if err := m.packet(p.Time, &p); err != nil {
			return p.Time, err
		}
		if n == shareEvery {
			return p.Time, nil // traffic may come without a pause
		}
	}
}
