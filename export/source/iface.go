package source

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"ipfixsuite/capture"
)

const (
	// tick is how often flows are looked after on an interface without
	// traffic.
	tick = 500 * time.Millisecond
	// drainPause is how long the kernel is waited for at the end: longer than
	// it holds packets back.
	drainPause = 200 * time.Millisecond
)

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

func (s *iface) Run(ctx context.Context, out Exporter) error {
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
	s.cfg.Log.Info("metering", "interface", s.name)
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
	if err == nil {
		now, err = s.drain(m, r)
	}
	m.m.Flush()
	m.share(now)
	return over(ctx, err)
}

// drain meters what the ring holds when the end comes: no packet from before
// it is missing in the last flow records.
func (s *iface) drain(m *meter, r *capture.Ring) (int64, error) {
	end := time.Now()
	if err := r.SetReadDeadline(end.Add(drainPause)); err != nil {
		return end.UnixNano(), fmt.Errorf("interface %s: %w", s.name, err)
	}
	for {
		p, err := r.Next()
		if err != nil || p.Time > end.UnixNano() {
			return end.UnixNano(), nil
		}
		if err := m.packet(p.Time, &p); err != nil {
			return p.Time, err
		}
	}
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
