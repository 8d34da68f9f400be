package main

import (
	"log/slog"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"ipfixsuite/collect"
	"ipfixsuite/config"
	"ipfixsuite/endpoint"
	"ipfixsuite/ie"
	"ipfixsuite/sink/jsonl"
	"ipfixsuite/transport"
	"ipfixsuite/transport/credentials"
)

func serveFlags() []cli.Flag {
	flags := []cli.Flag{
		&cli.StringSliceFlag{Name: "listen", Usage: "take sessions at `URL`; port 0: one of the system's choice", EnvVars: config.Env("listen")},
		&cli.StringSliceFlag{Name: "sink", Usage: "write records to `SINK`", EnvVars: config.Env("sink")},
		&cli.StringSliceFlag{Name: "allow", Usage: "let in exporters named like `PATTERN` only: *.pop1.example, **.example, 10.1.0.0/16", EnvVars: config.Env("allow")},
		&cli.StringFlag{Name: "elements", Usage: "enterprise elements from CSV `FILE` (pen,elementId,name,dataType,…)", EnvVars: config.Env("elements")},
		&cli.DurationFlag{Name: "template-lifetime", Usage: "forget a template not repeated for `TIME` on unreliable transports; 0: never", DefaultText: "three times its refresh", EnvVars: config.Env("template-lifetime")},
		&cli.DurationFlag{Name: "flush", Value: collect.DefaultFlushInterval, Usage: "write what sinks hold every `TIME`", EnvVars: config.Env("flush")},
		&cli.BoolFlag{Name: "sync", Usage: "wait for the disk before an exporter is told that its records are safe", EnvVars: config.Env("sync")},
		&cli.DurationFlag{Name: "rotate-files", Value: jsonl.DefaultMaxAge, Usage: "begin a new file every `TIME`; 0: never", EnvVars: config.Env("rotate-files")},
		&cli.StringFlag{Name: "state", Usage: "keep sessions that can be resumed, and templates of udp://, in `DIR`; as secret as private keys", EnvVars: config.Env("state")},
		&cli.IntFlag{Name: "receive-buffer", Usage: "ask the kernel for `OCTETS` for datagrams not yet read", DefaultText: "4 MiB", EnvVars: config.Env("receive-buffer")},
		config.MTU(),
	}
	return append(append(flags, config.Security()...), config.Common()...)
}

// live are the flags that a reload can change.
var live = append([]string{"listen", "allow", "log-level", "summary"}, config.SecurityNames()...)

// settings are what the flags of serve say.
type settings struct {
	endpoints []transport.Endpoint
	allow     []string
	listen    endpoint.Config
	sinks     []string
	sinkCfg   sinkConfig
	registry  *ie.Registry
	lifetime  time.Duration
	flush     time.Duration
	state     string // directory
	summary   string
	every     time.Duration // between lines of counters in the log
	watch     time.Duration // between looks at the credentials' files
}

// settingsOf reads the flags; the credentials are another matter.
func settingsOf(c *cli.Context, log *slog.Logger) (*settings, error) {
	if c.Args().Present() {
		return nil, config.Usage("collector "+c.Command.Name+" takes only flags", "unexpected argument %q", c.Args().First())
	}
	s := &settings{
		sinks: config.Values(c, "sink"), summary: c.String("summary"), every: c.Duration("stats-every"), watch: c.Duration("watch-files"),
		flush: c.Duration("flush"), state: c.String("state"), allow: config.Values(c, "allow"),
		sinkCfg: sinkConfig{stdout: c.App.Writer, sync: c.Bool("sync"), maxAge: config.OrNever(c.Duration("rotate-files")), log: log},
		listen: endpoint.Config{
			Insecure: c.Bool("insecure"), MTU: c.Int("mtu"), ReceiveBuffer: c.Int("receive-buffer"),
			Sockets: &endpoint.Sockets{}, Log: log,
		},
	}
	if c.IsSet("template-lifetime") {
		s.lifetime = config.OrNever(c.Duration("template-lifetime"))
	}
	urls := config.Values(c, "listen")
	if len(urls) == 0 {
		return nil, config.Usage("--listen dtls+udp://:4740, for example", "--listen is missing")
	}
	if len(s.sinks) == 0 {
		return nil, config.Usage("--sink json:- writes to standard output", "--sink is missing")
	}
	if err := config.Positive(c, "flush"); err != nil {
		return nil, err
	}
	if n := c.Int("receive-buffer"); n < 0 {
		return nil, config.Usage("", "--receive-buffer %d: want 0 (the default) or more", n)
	}
	for _, u := range urls {
		e, err := transport.ParseEndpoint(u)
		if err != nil {
			return nil, &config.UsageError{Err: err}
		}
		if e.Port != 0 && slices.ContainsFunc(s.endpoints, func(o transport.Endpoint) bool { return o.String() == e.String() }) {
			return nil, config.Usage("", "--listen %s is given twice", e)
		}
		s.endpoints = append(s.endpoints, e)
	}
	for i, sink := range s.sinks {
		if err := checkSink(sink); err != nil {
			return nil, err
		}
		if slices.Contains(s.sinks[:i], sink) {
			return nil, config.Usage("", "--sink %q is given twice", sink)
		}
	}
	if err := config.CheckSummary(s.summary); err != nil {
		return nil, err
	}
	var err error
	s.registry, err = config.Elements(c.String("elements"))
	return s, err
}

// credentials loads the files that say who we are and whom we trust into h.
func (s *settings) credentials(h *credentials.Holder, c *cli.Context, log *slog.Logger) (changed bool, err error) {
	secure := slices.ContainsFunc(s.endpoints, transport.Endpoint.Secure)
	changed, err = config.Credentials(h, c, secure, s.allow, log)
	s.listen.Credentials = h
	return changed, err
}

// check judges the endpoints, once there are credentials.
func (s *settings) check(log *slog.Logger) error {
	for _, e := range s.endpoints {
		if err := endpoint.Check(e, s.listen); err != nil {
			return &config.UsageError{Err: err}
		}
		if !e.Secure() && len(s.allow) > 0 {
			log.Warn("--allow does not apply: who sends here is not authenticated", "endpoint", e.String())
		}
	}
	return nil
}
