package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"ipfixsuite/config"
	"ipfixsuite/endpoint"
	"ipfixsuite/export"
	"ipfixsuite/export/fanout"
	"ipfixsuite/export/source"
	"ipfixsuite/export/spool"
	"ipfixsuite/ipfixfile"
	"ipfixsuite/rotation"
	"ipfixsuite/transport"
)

const (
	// leaveTimeout bounds how long a collector that is removed may take to
	// confirm what it was sent.
	leaveTimeout = 10 * time.Second
	// nameTick is how often it is seen whether it is time to look at a name.
	nameTick = 5 * time.Second
	// resolveTimeout bounds one look at a name.
	resolveTimeout = 10 * time.Second
)

// A sender is what a source writes to: one exporter, or several behind a
// fan-out.
type sender interface {
	source.Exporter
	Run(ctx context.Context) error
	Close(ctx context.Context) error
	Stats() export.Stats
	Summary() export.Summary
}

// destination is a collector, with the dialer that remembers its sessions.
type destination struct {
	transport.Endpoint
	dialer transport.Dialer
	rotate time.Duration
}

// fleet is the collectors and what sends to them.
type fleet struct {
	sender
	single *export.Exporter // --mode failover
	fan    *fanout.Fanout   // the others
	base   export.Config    // of each exporter, without what differs
	to     []destination
	every  time.Duration // to look at names at the latest
	log    *slog.Logger
}

// newFleet makes what sends.
func newFleet(s *settings, to []destination, log *slog.Logger) (*fleet, error) {
	f := &fleet{base: s.export, to: to, every: s.resolve, log: log}
	mode, err := fanout.ParseMode(s.mode)
	if err != nil {
		cfg := f.base
		cfg.Rotate = longest(to)
		dialers := dialers(to)
		cfg.Dialer, cfg.Fallback = dialers[0], dialers[1:]
		if f.single, err = export.New(cfg); err != nil {
			return nil, spoolError(err)
		}
		f.sender = f.single
		return f, f.tellLeftovers()
	}
	list, err := f.collectors(to, nil)
	if err != nil {
		return nil, err
	}
	f.fan, err = fanout.New(fanout.Config{Mode: mode, Log: log}, list)
	f.sender = f.fan
	if err == nil {
		err = f.inherit(mode)
	}
	return f, err
}

// collectors makes an exporter for each destination that is not known.
func (f *fleet) collectors(to []destination, known []destination) ([]fanout.Collector, error) {
	var list []fanout.Collector
	for _, d := range to {
		c := fanout.Collector{Name: d.String()}
		if !slices.ContainsFunc(known, func(o destination) bool { return o.String() == c.Name }) {
			cfg := f.base
			cfg.Dialer, cfg.Rotate = d.dialer, d.rotate
			cfg.Log = f.log.With("to", c.Name)
			if cfg.SpoolDir != "" {
				cfg.SpoolDir = filepath.Join(cfg.SpoolDir, ipfixfile.SafeName(c.Name))
			}
			e, err := export.New(cfg)
			if err != nil {
				now, cancel := context.WithCancel(context.Background())
				cancel()
				for _, o := range list {
					if o.Exporter != nil {
						err = errors.Join(err, o.Exporter.Close(now)) // it has nothing yet, or has it in its spool
					}
				}
				return nil, spoolError(err)
			}
			c.Exporter = e
		}
		list = append(list, c)
	}
	return list, nil
}

// change makes others the collectors and their sessions new ones, for the
// given cause. What to and s say of sessions holds from then on.
func (f *fleet) change(ctx context.Context, s *settings, to []destination, cause rotation.Cause) error {
	f.base.FullHandshakeEvery, f.base.MaxRate = s.export.FullHandshakeEvery, s.export.MaxRate
	if f.single != nil {
		f.to = to
		return f.single.Change(ctx, f.settings(longest(to), dialers(to)...), cause)
	}
	list, err := f.collectors(to, f.to)
	if err != nil {
		return err
	}
	stay := f.to
	if err := f.fan.Change(list, leaveTimeout); err != nil {
		return err
	}
	f.to = to
	var errs []error
	f.fan.Each(func(name string, e *export.Exporter) {
		i := slices.IndexFunc(to, func(d destination) bool { return d.String() == name })
		why := cause
		if !slices.ContainsFunc(stay, func(d destination) bool { return d.String() == name }) {
			why = rotation.None // it begins
		}
		errs = append(errs, e.Change(ctx, f.settings(to[i].rotate, to[i].dialer), why))
	})
	return errors.Join(errs...)
}

func (f *fleet) settings(rotate time.Duration, list ...transport.Dialer) export.Settings {
	return export.Settings{Collectors: list, Rotate: rotate, FullHandshakeEvery: f.base.FullHandshakeEvery, MaxRate: f.base.MaxRate}
}

// rotate replaces the sessions of secure transports, or of all.
func (f *fleet) rotate(cause rotation.Cause, secure bool) {
	f.each(func(e *export.Exporter, to []destination) {
		if !secure || slices.ContainsFunc(to, func(d destination) bool { return d.Secure() }) {
			e.Rotate(cause)
		}
	})
}

// each calls do for each exporter with its destinations.
func (f *fleet) each(do func(e *export.Exporter, to []destination)) {
	if f.single != nil {
		do(f.single, f.to)
		return
	}
	f.fan.Each(func(name string, e *export.Exporter) {
		i := slices.IndexFunc(f.to, func(d destination) bool { return d.String() == name })
		do(e, f.to[i:i+1])
	})
}

// follow resolves the names again whose time has come, and replaces the sessions
// whose address is no longer among those of its name.
func (f *fleet) follow(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	f.each(func(e *export.Exporter, to []destination) {
		remote, ok := e.Remote()
		if !ok {
			return // the next session resolves the name anyway
		}
		for _, d := range to {
			name, ok := d.dialer.(interface {
				Due(every time.Duration) bool
				Moved(ctx context.Context, remote netip.AddrPort) (bool, error)
			})
			if !ok || !name.Due(f.every) {
				continue
			}
			moved, err := name.Moved(ctx, remote)
			if err != nil && ctx.Err() == nil {
				f.log.Warn("name not resolved again: the session stays where it is", "collector", d.String(), "error", err)
			}
			if moved {
				f.log.Info("name leads elsewhere now", "collector", d.String(), "was", remote)
				e.Rotate(rotation.Path)
				return
			}
		}
	})
}

// settle waits until what former collectors left has been handed on.
func (f *fleet) settle(ctx context.Context) {
	if f.fan != nil {
		f.fan.Settle(ctx)
	}
}

// String names the collectors for people.
func (f *fleet) String() string { return toString(f.to) }

func toString(to []destination) string {
	var names []string
	for _, d := range to {
		names = append(names, d.String())
	}
	return strings.Join(names, ", ")
}

func dialers(to []destination) []transport.Dialer {
	var list []transport.Dialer
	for _, d := range to {
		list = append(list, d.dialer)
	}
	return list
}

// longest is the period of sessions that go to one of several.
func longest(to []destination) time.Duration {
	var most time.Duration
	for _, d := range to {
		most = max(most, d.rotate)
	}
	return most
}

// destinations makes a dialer for each endpoint, or takes the one that there
// is.
func destinations(s *settings, known []destination) ([]destination, error) {
	var list []destination
	for _, to := range s.to {
		d := destination{Endpoint: to, rotate: s.rotate(to)}
		if i := slices.IndexFunc(known, func(o destination) bool { return o.String() == to.String() }); i >= 0 {
			d.dialer = known[i].dialer
		} else {
			var err error
			if d.dialer, err = endpoint.Dialer(to, s.dial); err != nil {
				return nil, &config.UsageError{Err: err} // nothing was looked up or opened yet
			}
		}
		list = append(list, d)
	}
	return list, nil
}

// spoolError says what to do about a spool that cannot be opened.
func spoolError(err error) error {
	if errors.Is(err, spool.ErrLocked) {
		return config.WithHint("each exporter needs a --spool directory of its own", fmt.Errorf("--spool: %w", err))
	}
	return err
}
