package main

import (
	"log/slog"
	"os"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"ipfixsuite/config"
	"ipfixsuite/export/fanout"
	"ipfixsuite/export/spool"
	"ipfixsuite/transport"
	"ipfixsuite/transport/credentials"
)

func collectorFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "mode", Value: "failover", Usage: "with several --to: `MODE` failover sends to the first that answers and returns to it, all sends everything to each, hash sends each flow to one", EnvVars: config.Env("mode")},
		&cli.DurationFlag{Name: "return-after", Value: 30 * time.Second, Usage: "try the collector before again `TIME` after it failed, and keep the other one at least as long; twice as long each time it fails again", EnvVars: config.Env("return-after")},
		&cli.DurationFlag{Name: "resolve-every", Value: time.Minute, Usage: "look after the lifetime (TTL) of the name of --to, every `TIME` at the latest, whether it still has the address in use; 0: only for a new session", EnvVars: config.Env("resolve-every")},
		&cli.StringFlag{Name: "spool", Usage: "keep in `DIR` what no collector takes, also over a restart (IPFIX files)", EnvVars: config.Env("spool")},
		&cli.Int64Flag{Name: "spool-max", Value: spool.DefaultMaxBytes, Usage: "at most `OCTETS` in the spool, of each collector with --mode all or hash; then the oldest go", EnvVars: config.Env("spool-max")},
		&cli.StringFlag{Name: "spool-sync", Value: "1s", Usage: "force the spool to disk: never, always, or every `TIME`", EnvVars: config.Env("spool-sync")},
		&cli.Float64Flag{Name: "spool-rate", Value: 20_000, Usage: "take at most `N` records a second back out of the spool; 0: no limit", EnvVars: config.Env("spool-rate")},
	}
}

// collectors reads --to and --mode.
func (s *settings) collectors(c *cli.Context) error {
	urls := config.Values(c, "to")
	if len(urls) == 0 {
		return config.Usage("--to dtls+udp://HOST[:PORT], for example", "--to is missing")
	}
	s.mode = c.String("mode")
	if _, err := fanout.ParseMode(s.mode); err != nil && s.mode != "failover" {
		return config.Usage("", "--mode %q: want failover, all or hash", s.mode)
	}
	for _, u := range urls {
		to, err := transport.ParseEndpoint(u)
		if err != nil {
			return &config.UsageError{Err: err}
		}
		if slices.ContainsFunc(s.to, func(o transport.Endpoint) bool { return o.String() == to.String() }) {
			return config.Usage("", "--to %s is given twice", to)
		}
		s.to = append(s.to, to)
	}
	// A session without a handshake has nothing to prove by a new one.
	s.rotate = func(to transport.Endpoint) time.Duration {
		if c.IsSet("rotate") || to.Secure() {
			return c.Duration("rotate")
		}
		return 0
	}
	return nil
}

// credentials loads the files that say who we are and whom we trust into h.
func (s *settings) credentials(h *credentials.Holder, c *cli.Context, log *slog.Logger) (changed bool, err error) {
	s.dial.Credentials = h
	return config.Credentials(h, c, slices.ContainsFunc(s.to, transport.Endpoint.Secure), nil, log)
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
