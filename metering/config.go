package metering

import (
	"errors"
	"fmt"
	"time"
)

// Defaults of Config.
const (
	DefaultActiveTimeout = 60 * time.Second
	DefaultIdleTimeout   = 15 * time.Second
	DefaultEndTimeout    = time.Second
	DefaultMaxFlows      = 1 << 18
	// DefaultFragmentTimeout is less than the 60 s a host waits for
	// fragments (RFC 8200, Section 4.5), since identifications come round.
	DefaultFragmentTimeout = 30 * time.Second
)

// Config is what a Meter is told. The zero value works.
type Config struct {
	// ActiveTimeout is how long a flow may last before a record of it is
	// made while it goes on; negative: no limit. Zero: 60 s.
	ActiveTimeout time.Duration
	// IdleTimeout is how long a flow may be silent before it is over.
	// Zero: 15 s; it cannot be disabled.
	IdleTimeout time.Duration
	// EndTimeout takes the place of IdleTimeout after FIN both ways or a
	// RST, so that the last acknowledgements still belong to the flow.
	// Zero: 1 s; negative: as IdleTimeout.
	EndTimeout time.Duration
	// Biflow makes one record of both ways of a conversation (RFC 5103).
	Biflow bool
	// MaxFlows bounds the table; the flow that would time out first makes
	// room, counted in Stats.Evicted. A flow takes about 145 octets.
	// Zero: 262144.
	MaxFlows int
	// Seed keys the hash table, so that nobody can send packets whose flows
	// collide. It should be random; it changes no record.
	Seed [2]uint64
}

// Validate joins all faults.
func (c Config) Validate() error {
	var errs []error
	if c.IdleTimeout < 0 {
		errs = append(errs, fmt.Errorf("idle timeout %v: cannot be negative", c.IdleTimeout))
	}
	if c.MaxFlows < 0 || c.MaxFlows > 1<<30 {
		errs = append(errs, fmt.Errorf("flow limit %d: not between 1 and 2^30", c.MaxFlows))
	}
	return errors.Join(errs...)
}

// forever is a timeout that never comes; half of the range, so that sums of
// times stay within 64 bits.
const forever = int64(1) << 61

func (c Config) withDefaults() Config {
	pick := func(d *time.Duration, zero, negative time.Duration) {
		switch {
		case *d == 0:
			*d = zero
		case *d < 0:
			*d = negative
		}
	}
	pick(&c.ActiveTimeout, DefaultActiveTimeout, time.Duration(forever))
	pick(&c.IdleTimeout, DefaultIdleTimeout, DefaultIdleTimeout)
	pick(&c.EndTimeout, DefaultEndTimeout, c.IdleTimeout)
	c.EndTimeout = min(c.EndTimeout, c.IdleTimeout)
	if c.MaxFlows <= 0 {
		c.MaxFlows = DefaultMaxFlows
	}
	return c
}
