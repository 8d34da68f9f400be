package config

import (
	"errors"
	"log/slog"
	"os"

	"github.com/urfave/cli/v2"

	"ipfixsuite/ie"
	"ipfixsuite/transport/credentials"
)

// Credentials loads what the Security flags name. On a secure endpoint they
// must name something; on a plain one they may be left out.
func Credentials(c *cli.Context, secure bool, allow []string, log *slog.Logger) (*credentials.Credentials, error) {
	cfg := credentials.Config{
		CertFile: c.String("cert"), KeyFile: c.String("key"), CAFile: c.String("ca"),
		PSKIdentity: c.String("psk-identity"), PSKFile: c.String("psk-file"),
		Allow: allow, KeyLogFile: c.String("keylog"), Log: log,
	}
	named := cfg.CertFile != "" || cfg.KeyFile != "" || cfg.CAFile != "" || cfg.PSKIdentity != "" || cfg.PSKFile != ""
	if !secure && !named {
		return nil, nil //nolint:nilnil // a plain endpoint needs none
	}
	return credentials.Load(cfg)
}

// Elements returns IANA's registry with the enterprise elements of a CSV file
// laid over it; without a file IANA's alone.
func Elements(path string) (*ie.Registry, error) {
	if path == "" {
		return ie.IANA(), nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, Usage("", "--elements: %w", err)
	}
	r := ie.NewRegistry(ie.IANA())
	return r, errors.Join(r.Load(f, path), f.Close())
}
