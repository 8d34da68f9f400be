package config

import (
	"strings"

	"github.com/urfave/cli/v2"
)

// Env is the environment variable that mirrors a flag: IPFIX_ and the flag's
// name in capitals.
func Env(flag string) []string {
	return []string{"IPFIX_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))}
}

// Common are the flags both programs have: configuration, logs, summary.
func Common() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "config", Usage: "read settings from `FILE` (TOML; keys are flag names)", EnvVars: Env("config")},
		&cli.StringFlag{Name: "log-level", Value: "info", Usage: "debug, info, warn or error", EnvVars: Env("log-level")},
		&cli.StringFlag{Name: "log-format", Value: "text", Usage: "text or json", EnvVars: Env("log-format")},
		&cli.StringFlag{Name: "summary", Usage: "write one JSON object to `FILE` at the end (- is standard output)", EnvVars: Env("summary")},
	}
}

// Security are the flags that say who we are and whom we trust.
func Security() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "cert", Usage: "our certificate chain, PEM `FILE`", EnvVars: Env("cert")},
		&cli.StringFlag{Name: "key", Usage: "its private key, PEM `FILE`", EnvVars: Env("key")},
		&cli.StringFlag{Name: "ca", Usage: "certificate authorities that we trust, PEM `FILE`", EnvVars: Env("ca")},
		&cli.StringFlag{Name: "psk-identity", Usage: "our `NAME` with a pre-shared key", EnvVars: Env("psk-identity")},
		&cli.StringFlag{Name: "psk-file", Usage: "pre-shared keys, one identity:hexkey a line, in `FILE`", EnvVars: Env("psk-file")},
		&cli.StringFlag{Name: "keylog", Usage: "write session secrets to `FILE` (NSS key log): only for debugging", EnvVars: Env("keylog")},
		&cli.BoolFlag{Name: "insecure", Usage: "allow plain transports beyond this host", EnvVars: Env("insecure")},
		&cli.IntFlag{Name: "mtu", Usage: "path MTU in `OCTETS`, IP header included (default: as the path tells)", EnvVars: Env("mtu")},
	}
}
