package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"ipfixsuite/config"
	"ipfixsuite/endpoint"
	"ipfixsuite/export"
	"ipfixsuite/export/fanout"
	"ipfixsuite/export/source"
	"ipfixsuite/export/spool"
	"ipfixsuite/ipfixfile"
	"ipfixsuite/transport"
	"ipfixsuite/transport/credentials"
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

func collectorFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "mode", Value: "failover", Usage: "with several --to: `MODE` failover sends to the first that answers and returns to it, all sends everything to each, hash sends each flow to one", EnvVars: config.Env("mode")},
		&cli.StringFlag{Name: "spool", Usage: "keep in `DIR` what no collector takes, also over a restart (IPFIX files)", EnvVars: config.Env("spool")},
		&cli.Int64Flag{Name: "spool-max", Value: spool.DefaultMaxBytes, Usage: "at most `OCTETS` in the spool, of each collector with --mode all or hash; then the oldest go", EnvVars: config.Env("spool-max")},
		&cli.StringFlag{Name: "spool-sync", Value: "1s", Usage: "force the spool to disk: never, always, or every `TIME`", EnvVars: config.Env("spool-sync")},
		&cli.Float64Flag{Name: "spool-rate", Value: 20_000, Usage: "take at most `N` records a second back out of the spool; 0: no limit", EnvVars: config.Env("spool-rate")},
	}
}

// collectors reads --to, --mode and --spool.
func (s *settings) collectors(c *cli.Context) error {
	urls := config.Values(c, "to")
	if len(urls) == 0 {
		return config.Usage("--to dtls+udp://HOST[:PORT], for example", "--to is missing")
	}
	s.mode = c.String("mode")
	if _, err := fanout.ParseMode(s.mode); err != nil && s.mode != "failover" {
		return config.Usage("", "--mode %q: want failover, all or hash", s.mode)
	}
	secure := false
	for _, u := range urls {
		to, err := transport.ParseEndpoint(u)
		if err != nil {
			return &config.UsageError{Err: err}
		}
		if slices.ContainsFunc(s.to, func(o transport.Endpoint) bool { return o.String() == to.String() }) {
			return config.Usage("", "--to %s is given twice", to)
		}
		s.to = append(s.to, to)
		secure = secure || to.Secure()
	}
	creds := new(credentials.Holder)
	if _, err := config.Credentials(creds, c, secure, nil, s.log); err != nil {
		return err
	}
	for _, to := range s.to {
		d, err := endpoint.Dialer(to, endpoint.Config{
			Credentials: creds, Insecure: c.Bool("insecure"), MTU: c.Int("mtu"), DeadAfter: c.Duration("dead-after"), Log: s.log,
		})
		if err != nil {
			return &config.UsageError{Err: err} // nothing was looked up or opened yet
		}
		s.dialers = append(s.dialers, d)
	}
	return nil
}

// spooling reads the flags of the spool into the exporter's configuration.
func (s *settings) spooling(c *cli.Context) error {
	policy, every, err := spool.ParseSync(c.String("spool-sync"))
	if err != nil {
		return config.Usage("", "--spool-sync %q: want never, always or a time such as 500ms", c.String("spool-sync"))
	}
	s.export.SpoolDir = c.String("spool")
	s.export.Spool = spool.Config{MaxBytes: c.Int64("spool-max"), Sync: policy, SyncEvery: every}
	s.export.SpoolRate = c.Float64("spool-rate")
	if s.export.SpoolRate == 0 {
		s.export.SpoolRate = -1
	}
	if s.export.SpoolDir == "" {
		return nil
	}
	if info, err := os.Stat(s.export.SpoolDir); err == nil && !info.IsDir() {
		return config.Usage("name a directory", "--spool %s: is a file", s.export.SpoolDir)
	}
	return nil
}

// toString names the collectors for people.
func (s *settings) toString() string {
	var names []string
	for _, to := range s.to {
		names = append(names, to.String())
	}
	return strings.Join(names, ", ")
}

// exporter makes what sends.
func (s *settings) exporter(c *cli.Context) (sender, error) {
	mode, err := fanout.ParseMode(s.mode)
	if err != nil || len(s.to) == 1 {
		cfg := s.export
		cfg.Dialer, cfg.Fallback = s.dialers[0], s.dialers[1:]
		cfg.Rotate = rotate(c, s.to...)
		e, err := export.New(cfg)
		if err != nil {
			return nil, spoolError(err)
		}
		return e, nil
	}
	var list []fanout.Collector
	for i, to := range s.to {
		cfg := s.export
		cfg.Dialer = s.dialers[i]
		cfg.Rotate = rotate(c, to)
		cfg.Log = s.log.With("collector", to.String())
		if cfg.SpoolDir != "" {
			cfg.SpoolDir = filepath.Join(cfg.SpoolDir, ipfixfile.SafeName(to.String()))
		}
		e, err := export.New(cfg)
		if err != nil {
			now, cancel := context.WithCancel(context.Background())
			cancel()
			for _, o := range list {
				err = errors.Join(err, o.Exporter.Close(now)) // it has nothing yet, or has it in its spool
			}
			return nil, spoolError(err)
		}
		list = append(list, fanout.Collector{Name: to.String(), Exporter: e})
	}
	return fanout.New(fanout.Config{Mode: mode, Log: s.log}, list)
}

// spoolError says what to do about a spool that cannot be opened.
func spoolError(err error) error {
	if errors.Is(err, spool.ErrLocked) {
		return config.WithHint("each exporter needs a --spool directory of its own", fmt.Errorf("--spool: %w", err))
	}
	return err
}

// rotate: a session without a handshake has nothing to prove by a new one.
func rotate(c *cli.Context, list ...transport.Endpoint) time.Duration {
	if c.IsSet("rotate") || slices.ContainsFunc(list, transport.Endpoint.Secure) {
		return c.Duration("rotate")
	}
	return 0
}
