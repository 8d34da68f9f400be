package config

import (
	"strings"
	"time"

	"github.com/urfave/cli/v2"
)

// Headings of the flags in the help.
const (
	securityHeading = "Who we are, and whom we trust:"
	commonHeading   = "Settings, log and counters:"
)

const envPrefix = "IPFIX_"

// Env is the environment variable that mirrors a flag: IPFIX_ and the flag's
// name in capitals.
func Env(flag string) []string {
	return []string{envPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))}
}

// Common are the flags both programs have: configuration, logs, counters.
func Common() []cli.Flag {
	in := commonHeading
	return []cli.Flag{
		&cli.StringFlag{Category: in, Name: "config", Usage: "read settings from `FILE` (TOML; keys are flag names)", EnvVars: Env("config")},
		&cli.StringFlag{Category: in, Name: "log-level", Value: "info", DefaultText: "info", Usage: "`LEVEL` is debug, info, warn or error", EnvVars: Env("log-level")},
		&cli.StringFlag{Category: in, Name: "log-format", Value: "text", DefaultText: "text", Usage: "`FORMAT` is text or json", EnvVars: Env("log-format")},
		&cli.DurationFlag{Category: in, Name: "stats-every", Value: time.Minute, Usage: "log a line of counters every `TIME` in which something happened; 0: never", EnvVars: Env("stats-every")},
		&cli.StringFlag{Category: in, Name: "summary", Usage: "write one JSON object to `FILE` at the end (- is standard output)", EnvVars: Env("summary")},
	}
}

// Security are the flags that say who we are and whom we trust.
func Security() []cli.Flag {
	in := securityHeading
	return []cli.Flag{
		&cli.StringFlag{Category: in, Name: "cert", Usage: "our certificate and its chain, PEM `FILE`", EnvVars: Env("cert")},
		&cli.StringFlag{Category: in, Name: "key", Usage: "its private key, PEM `FILE`", DefaultText: "in the file of --cert", EnvVars: Env("key")},
		&cli.StringFlag{Category: in, Name: "ca", Usage: "the authorities that vouch for peers, PEM `FILE`", EnvVars: Env("ca")},
		&cli.StringFlag{Category: in, Name: "psk-identity", Usage: "our `NAME` with a pre-shared key", DefaultText: "the only one in --psk-file", EnvVars: Env("psk-identity")},
		&cli.StringFlag{Category: in, Name: "psk-file", Usage: "pre-shared keys, IDENTITY:HEXKEY a line, in `FILE`", EnvVars: Env("psk-file")},
		&cli.DurationFlag{Category: in, Name: "watch-files", Value: 30 * time.Second, Usage: "look every `TIME` whether these files were renewed; 0: only with SIGHUP", EnvVars: Env("watch-files")},
		&cli.StringFlag{Category: in, Name: "keylog", Usage: "write session secrets to `FILE` (NSS key log): only for debugging", EnvVars: Env("keylog")},
		&cli.BoolFlag{Category: in, Name: "insecure", Usage: "allow plain transports beyond this host", EnvVars: Env("insecure")},
	}
}

// MTU is a flag of both programs.
func MTU() cli.Flag {
	return &cli.IntFlag{Name: "mtu", Usage: "largest IP packet to send, in `OCTETS`", DefaultText: "what the path takes", EnvVars: Env("mtu")}
}
