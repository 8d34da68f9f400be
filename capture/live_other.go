//go:build !linux

package capture

import (
	"errors"
	"fmt"
	"time"
)

// Ring is a live capture; only Linux has it.
type Ring struct{}

// Live tells that this system has no live capture.
func Live(name string, _ LiveConfig) (*Ring, error) {
	if _, err := findInterface(name); err != nil {
		return nil, err
	}
	return nil, fmt.Errorf("interface %q: live capture: %w (it needs Linux)", name, errors.ErrUnsupported)
}

// Next returns errors.ErrUnsupported.
func (*Ring) Next() (Packet, error) { return Packet{}, errors.ErrUnsupported }

// SetReadDeadline returns errors.ErrUnsupported.
func (*Ring) SetReadDeadline(time.Time) error { return errors.ErrUnsupported }

// Interface is of no meaning here.
func (*Ring) Interface() (uint32, string) { return 0, "" }

// Stats are zero.
func (*Ring) Stats() Stats { return Stats{} }

// Close does nothing.
func (*Ring) Close() error { return nil }
