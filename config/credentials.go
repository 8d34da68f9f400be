package config

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"ipfixsuite/ie"
	"ipfixsuite/transport/credentials"
)

// Credentials loads what the Security flags name into h, at the start and
// again, and reports whether that differs from what was there. On a secure
// endpoint they must name something; on a plain one they may be left out.
func Credentials(h *credentials.Holder, c *cli.Context, secure bool, allow []string, log *slog.Logger) (changed bool, err error) {
	cfg := credentials.Config{
		CertFile: c.String("cert"), KeyFile: c.String("key"), CAFile: c.String("ca"),
		PSKIdentity: c.String("psk-identity"), PSKFile: c.String("psk-file"),
		Allow: allow, ServerName: c.String("server-name"), KeyLogFile: c.String("keylog"), Log: log,
	}
	named := cfg.CertFile != "" || cfg.KeyFile != "" || cfg.CAFile != "" || cfg.PSKIdentity != "" || cfg.PSKFile != ""
	if !secure && !named {
		return false, nil // a plain endpoint needs none
	}
	changed, err = h.Reload(cfg)
	if e, ok := errors.AsType[*credentials.Error](err); ok && (e.Subject == "credentials" || strings.HasPrefix(e.Subject, "--")) {
		return false, &UsageError{Err: err} // a flag is missing or wrong, no file
	}
	return changed, err
}

// Elements returns IANA's registry with the enterprise elements of a CSV file
// laid over it; without a file IANA's alone.
func Elements(path string) (*ie.Registry, error) {
	if path == "" {
		return ie.IANA(), nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, FileError("--elements "+path, err)
	}
	defer f.Close()
	r := ie.NewRegistry(ie.IANA())
	if err := r.Load(f, path); err != nil {
		return nil, fmt.Errorf("--elements %w", err)
	}
	return r, nil
}
