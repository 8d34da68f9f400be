package main

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"log/slog"
	"math"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"ipfixsuite/config"
	"ipfixsuite/endpoint"
	"ipfixsuite/export"
	"ipfixsuite/export/source"
	"ipfixsuite/ie"
	"ipfixsuite/metering"
	"ipfixsuite/transport"
	"ipfixsuite/transport/credentials"
	"ipfixsuite/transport/dtls"
)

func runFlags() []cli.Flag {
	flags := []cli.Flag{
		&cli.StringFlag{Name: "source", Usage: "read from `SRC`", EnvVars: config.Env("source")},
		&cli.StringSliceFlag{Name: "to", Usage: "send to the collector at `URL`; again for others, see --mode", EnvVars: config.Env("to")},
		&cli.StringFlag{Name: "server-name", Usage: "the `NAME` that the collector's certificate must prove", DefaultText: "the host of --to", EnvVars: config.Env("server-name")},
		&cli.UintFlag{Name: "domain", Value: 1, Usage: "Observation Domain `ID`", EnvVars: config.Env("domain")},
		&cli.DurationFlag{Name: "active-timeout", Value: metering.DefaultActiveTimeout, Usage: "report a flow that goes on every `TIME`; 0: only when it ends", EnvVars: config.Env("active-timeout")},
		&cli.DurationFlag{Name: "idle-timeout", Value: metering.DefaultIdleTimeout, Usage: "a flow silent for `TIME` is over", EnvVars: config.Env("idle-timeout")},
		&cli.BoolFlag{Name: "biflow", Usage: "one record for both ways of a conversation (RFC 5103)", EnvVars: config.Env("biflow")},
		&cli.BoolFlag{Name: "promiscuous", Usage: "iface: take packets that are not for this host too", EnvVars: config.Env("promiscuous")},
		&cli.StringFlag{Name: "elements", Usage: "enterprise elements from CSV `FILE` (pen,elementId,name,dataType,…)", EnvVars: config.Env("elements")},
		&cli.StringFlag{Name: "sctp-streams", Usage: "on SCTP and MTA-TLS: `POLICY` single sends all on one stream, per-domain gives each Observation Domain its own, per-template each template (RFC 6526)", DefaultText: "single; for mta+tls+tcp: per-domain", EnvVars: config.Env("sctp-streams")},
		&cli.DurationFlag{Name: "template-refresh", Value: time.Minute, Usage: "repeat templates every `TIME` on unreliable transports; 0: never", EnvVars: config.Env("template-refresh")},
		&cli.Float64Flag{Name: "max-rate", Usage: "send at most `N` records a second", DefaultText: "no limit", EnvVars: config.Env("max-rate")},
		&cli.DurationFlag{Name: "heartbeat", Value: time.Second, Usage: "probe the collector every `TIME` where it answers; 0: never", EnvVars: config.Env("heartbeat")},
		&cli.DurationFlag{Name: "dead-after", Value: 3 * time.Second, Usage: "the death of a collector that answers probes is known within `TIME`", DefaultText: "--heartbeat and 2s", EnvVars: config.Env("dead-after")},
		&cli.DurationFlag{Name: "stall-after", Usage: "give up a collector that takes sessions, but confirms nothing for `TIME`: its outputs stall", DefaultText: "with another one to turn to, twice --dead-after; else 30s", EnvVars: config.Env("stall-after")},
		&cli.DurationFlag{Name: "rotate", Value: 10 * time.Minute, Usage: "replace a session by a new one, without a gap, at least every `TIME`; 0: only for a reason", DefaultText: "10m; for udp: 0", EnvVars: config.Env("rotate")},
		&cli.IntFlag{Name: "full-handshake-every", Value: 24, Usage: "each `N`-th session begins with a full handshake, others resume; 1: all, 0: only the first", EnvVars: config.Env("full-handshake-every")},
		&cli.DurationFlag{Name: "retain", Value: 3 * time.Second, Usage: "where the collector confirms nothing, what was sent in the last `TIME` is sent again on the next session; 0: nothing", EnvVars: config.Env("retain")},
		&cli.DurationFlag{Name: "give-up", Usage: "end with an error after `TIME` without a collector; 0: never", DefaultText: "30s; for iface: or with --spool never", EnvVars: config.Env("give-up")},
		config.MTU(),
	}
	flags = append(flags, collectorFlags()...)
	return append(append(flags, config.Security()...), config.Common()...)
}

// settings are what the flags of `run` and `check` say.
type settings struct {
	source  string
	to      []transport.Endpoint
	rotate  func(transport.Endpoint) time.Duration
	dial    endpoint.Config
	mode    string
	export  export.Config
	meter   metering.Config
	promisc bool
	summary string
	every   time.Duration // between lines of counters in the log
	watch   time.Duration // between looks at the credentials' files
	resolve time.Duration // and at names
	elems   *ie.Registry
	domain  bool // named by the operator
}

// settingsOf reads the flags; the credentials are another matter.
func settingsOf(c *cli.Context, log *slog.Logger) (*settings, error) {
	if c.Args().Present() {
		return nil, config.Usage("exporter "+c.Command.Name+" takes only flags; quote a URL or source that holds & or ?", "unexpected argument %q", c.Args().First())
	}
	s := &settings{
		source: c.String("source"), summary: c.String("summary"), every: c.Duration("stats-every"),
		watch: c.Duration("watch-files"), resolve: c.Duration("resolve-every"),
		promisc: c.Bool("promiscuous"), domain: c.IsSet("domain"),
		dial: endpoint.Config{
			Insecure: c.Bool("insecure"), MTU: c.Int("mtu"), DeadAfter: deadAfter(c), Log: log,
			DTLS: dtls.Config{Resume: dtls.NewClientSessions(0)},
		},
	}
	if s.source == "" {
		return nil, config.Usage("one of "+source.Kinds, "--source is missing")
	}
	if err := config.Positive(c, "idle-timeout", "dead-after", "return-after"); err != nil {
		return nil, err
	}
	if c.Duration("stall-after") < 0 {
		return nil, config.Usage("", "--stall-after %v: want a time", c.Duration("stall-after"))
	}
	if c.Uint("domain") > math.MaxUint32 {
		return nil, config.Usage("", "--domain %d: want a number of 32 bits", c.Uint("domain"))
	}
	if rate := c.Float64("max-rate"); !(rate >= 0) || math.IsInf(rate, 0) {
		return nil, config.Usage("", "--max-rate %g: want records a second, or 0 for no limit", rate)
	}
	if err := config.CheckSummary(s.summary); err != nil {
		return nil, err
	}
	var err error
	if s.elems, err = config.Elements(c.String("elements")); err != nil {
		return nil, err
	}
	if err := s.collectors(c); err != nil {
		return nil, err
	}
	s.meter = metering.Config{
		ActiveTimeout: config.OrNever(c.Duration("active-timeout")), IdleTimeout: c.Duration("idle-timeout"),
		Biflow: c.Bool("biflow"), Seed: seed(),
	}
	s.export = export.Config{
		Domain: uint32(c.Uint("domain")), Registry: s.elems, Log: log,
		MaxRate: c.Float64("max-rate"), TemplateRefresh: config.OrNever(c.Duration("template-refresh")),
		Heartbeat: config.OrNever(c.Duration("heartbeat")), DeadAfter: deadAfter(c), StallAfter: c.Duration("stall-after"),
		ReturnAfter: c.Duration("return-after"), GiveUp: giveUp(c, s.source),
		FullHandshakeEvery: c.Int("full-handshake-every"), Retain: config.OrNever(c.Duration("retain")),
		ProcessID: uint32(os.Getpid()),
	}
	if err := s.streams(c); err != nil {
		return nil, err
	}
	if err := s.spooling(c); err != nil {
		return nil, err
	}
	judged := s.export
	judged.Dialer, judged.Rotate = unmade{}, c.Duration("rotate")
	if err := errors.Join(s.meter.Validate(), judged.Validate()); err != nil {
		return nil, &config.UsageError{Err: err}
	}
	return s, nil
}

// streams reads --sctp-streams.
func (s *settings) streams(c *cli.Context) error {
	var err error
	if s.export.Streams, err = export.ParseStreams(c.String("sctp-streams")); err != nil {
		return config.Usage("", "--sctp-streams %q: want single, per-domain or per-template", c.String("sctp-streams"))
	}
	if s.export.Streams != export.StreamPerTemplate {
		return nil
	}
	for _, to := range s.to {
		// A template's id is free at once when it ends (RFC 6526, Section 4.4),
		// which only streams in order allow.
		if !strings.Contains(to.Scheme, "sctp") && to.Scheme != "mta+tls+tcp" {
			return config.Usage("per-domain and single go with every transport", "--sctp-streams per-template: %s is not over SCTP", to)
		}
	}
	return nil
}

// unmade stands for a Dialer that is made later.
type unmade struct{ transport.Dialer }

// program is the exporter with the settings it began with.
type program struct {
	settings
	start *cli.Context // how the settings were read
	creds *credentials.Holder
	to    []destination
	fleet *fleet
	log   *slog.Logger
	level *slog.LevelVar
	// status is the terminal that standard error is; nil: it is none.
	status *config.Status
}

// programOf reads and judges everything but what is to be read and sent.
func programOf(c *cli.Context) (*program, error) {
	status := config.NewStatus(c.App.ErrWriter)
	if status != nil {
		c.App.ErrWriter = status
	}
	log, level, err := config.NewLog(c)
	if err != nil {
		return nil, err
	}
	s, err := settingsOf(c, log)
	if err != nil {
		return nil, err
	}
	p := &program{settings: *s, start: c, creds: new(credentials.Holder), log: log, level: level, status: status}
	if _, err := p.credentials(p.creds, c, log); err != nil {
		return nil, err
	}
	p.to, err = destinations(&p.settings, nil)
	return p, err
}

// giveUp: who exports a file wants to know that nobody takes it; a probe on an
// interface waits for its collector for ever, and so does who has a spool.
func giveUp(c *cli.Context, src string) time.Duration {
	if c.IsSet("give-up") || strings.HasPrefix(src, "iface:") || c.String("spool") != "" {
		return c.Duration("give-up")
	}
	return 30 * time.Second
}

// deadAfter leaves a default that follows --heartbeat to the exporter.
func deadAfter(c *cli.Context) time.Duration {
	if c.IsSet("dead-after") {
		return c.Duration("dead-after")
	}
	return 0
}

// seed keys the flow table's hash against crafted traffic.
func seed() (s [2]uint64) {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return [2]uint64{binary.LittleEndian.Uint64(b[:]), binary.LittleEndian.Uint64(b[8:])}
}
