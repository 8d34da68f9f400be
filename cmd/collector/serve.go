package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"syscall"
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

// closeTimeout bounds how long sinks may take to write what they hold.
const closeTimeout = 20 * time.Second

func serveCommand() *cli.Command {
	return &cli.Command{
		Name:      "serve",
		Usage:     "receive records and write them to sinks",
		UsageText: "collector serve --listen URL… --sink SINK… [options]",
		Description: `Runs until SIGTERM or SIGINT: then what was received is written, and the exit status is 0.

SINK is one of
   json:-       one JSON object a line on standard output
   json:DIR     the same, in files
   ipfix:DIR    IPFIX files (RFC 5655), one series for each exporter

Examples:
   collector pki init pki && collector pki issue pki collector.example
   collector serve --listen dtls+udp://:4740 --sink json:flows \
       --cert pki/collector.example.pem --key pki/collector.example-key.pem --ca pki/ca.pem --allow '*.example'
   collector serve --listen udp://127.0.0.1 --listen 'udp://[::1]' --sink json:- --sink ipfix:archive
   collector serve --config /etc/ipfix/collector.toml`,
		Flags:  serveFlags(),
		Action: serveAction,
	}
}

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

// server is what the flags of serve say.
type server struct {
	endpoints []transport.Endpoint
	listen    endpoint.Config
	sinks     []string
	sinkCfg   sinkConfig
	registry  *ie.Registry
	lifetime  time.Duration
	flush     time.Duration
	state     string // directory
	summary   string
	every     time.Duration // between lines of counters in the log
	log       *slog.Logger
}

func serverOf(c *cli.Context) (*server, error) {
	if c.Args().Present() {
		return nil, config.Usage("collector "+c.Command.Name+" takes only flags", "unexpected argument %q", c.Args().First())
	}
	log, err := config.Logger(c.App.ErrWriter, c.String("log-level"), c.String("log-format"))
	if err != nil {
		return nil, err
	}
	s := &server{
		sinks: config.Values(c, "sink"), summary: c.String("summary"), every: c.Duration("stats-every"), log: log,
		flush: c.Duration("flush"), state: c.String("state"),
		sinkCfg: sinkConfig{stdout: c.App.Writer, sync: c.Bool("sync"), maxAge: config.OrNever(c.Duration("rotate-files")), log: log},
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
	secure := false
	for _, u := range urls {
		e, err := transport.ParseEndpoint(u)
		if err != nil {
			return nil, &config.UsageError{Err: err}
		}
		secure = secure || e.Secure()
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
	if s.registry, err = config.Elements(c.String("elements")); err != nil {
		return nil, err
	}
	creds := new(credentials.Holder)
	if _, err := config.Credentials(creds, c, secure, config.Values(c, "allow"), log); err != nil {
		return nil, err
	}
	s.listen = endpoint.Config{
		Credentials: creds, Insecure: c.Bool("insecure"), MTU: c.Int("mtu"),
		ReceiveBuffer: c.Int("receive-buffer"), Log: log,
	}
	for _, e := range s.endpoints {
		if err := endpoint.Check(e, s.listen); err != nil {
			return nil, &config.UsageError{Err: err}
		}
		if !e.Secure() && len(config.Values(c, "allow")) > 0 {
			log.Warn("--allow does not apply: who sends here is not authenticated", "endpoint", e.String())
		}
	}
	return s, nil
}

func serveAction(c *cli.Context) error {
	s, err := serverOf(c)
	if err != nil {
		return err
	}
	ctx, stop := config.Signals(c.Context, s.log)
	defer stop()
	sum, err := s.run(ctx)
	if sum != nil {
		err = errors.Join(err, config.WriteSummary(c.App.Writer, s.summary, sum))
	}
	return err
}

// run serves until ctx ends, then writes what the sinks hold.
func (s *server) run(ctx context.Context) (sum *summary, err error) {
	mem, err := openMemory(s.state, s.log)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, mem.close()) }()
	if mem != nil {
		s.listen.DTLS.Sessions = mem.sessions
	}
	return s.serve(ctx, mem)
}

func (s *server) serve(ctx context.Context, mem *memory) (*summary, error) {
	listeners, err := s.bind()
	if err != nil {
		return nil, err
	}
	// One listener that fails ends them all, and so does a standard output
	// that nobody reads: a collector that half works would go unnoticed.
	serving, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	s.sinkCfg.stdout = newOutlet(s.sinkCfg.stdout, cancel)
	sinks, err := openSinks(s.sinks, s.sinkCfg)
	if err != nil {
		return nil, errors.Join(err, closeAll(listeners))
	}
	col := collect.New(collect.Config{
		Sinks: sinks, Names: s.sinks, Registry: s.registry, Log: s.log,
		TemplateLifetime: s.lifetime, FlushInterval: s.flush, SaveTemplates: mem != nil,
	})
	mem.keep(col)
	var wg sync.WaitGroup
	for i, l := range listeners {
		s.log.Info("listening", "addr", l.Addr().String(), "endpoint", s.endpoints[i].String())
		wg.Go(func() { // ends with serving
			if err := l.Serve(serving, col); err != nil && serving.Err() == nil {
				cancel(fmt.Errorf("--listen %s: %w", s.endpoints[i], err))
			}
		})
	}
	tell := &teller{log: s.log, collector: col, listeners: listeners, endpoints: s.endpoints}
	stopTelling := config.Every(s.every, tell.tell)
	wg.Wait()
	stopTelling()
	if ctx.Err() == nil {
		err = context.Cause(serving)
	}
	closing, done := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer done()
	err = errors.Join(err, col.Close(closing))
	sum := tell.summary()
	if err == nil && sum.RecordsUnwritten > 0 {
		err = fmt.Errorf("%d records were received and not written; the log above says why", sum.RecordsUnwritten)
	}
	for i, l := range listeners {
		st := l.Stats()
		s.log.Info("closed", "endpoint", s.endpoints[i].String(), "sessions", st.SessionsOpened, "refused", st.SessionsRefused,
			"handshakes_failed", st.HandshakesFailed, "socket_drops", st.SocketDrops, "dropped", reasons(st.Dropped))
	}
	s.log.Info("done", "records_received", sum.RecordsReceived, "records_written", sum.RecordsWritten,
		"records_lost", sum.RecordsLost, "records_undecodable", sum.RecordsUndecodable, "messages_malformed", sum.MessagesMalformed)
	return sum, err
}

// reasons shows what was dropped, and why; what never happened is left out.
func reasons(dropped map[string]uint64) string {
	var all []string
	for _, why := range slices.Sorted(maps.Keys(dropped)) {
		if n := dropped[why]; n > 0 {
			all = append(all, fmt.Sprintf("%s:%d", why, n))
		}
	}
	return strings.Join(all, " ")
}

func (s *server) bind() ([]transport.Listener, error) {
	var listeners []transport.Listener
	for _, e := range s.endpoints {
		l, err := endpoint.Listen(e, s.listen)
		if err != nil {
			return nil, errors.Join(bindError(err), closeAll(listeners))
		}
		listeners = append(listeners, l)
	}
	return listeners, nil
}

// bindError adds the way out that the system's error has.
func bindError(err error) error {
	err = fmt.Errorf("--listen %w", err)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return config.WithHint("another process listens there; ss -lunp shows which", err)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return config.WithHint("this host has no such address; leave the host out for all of them", err)
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return config.WithHint("ports below 1024 need the capability CAP_NET_BIND_SERVICE", err)
	}
	return err
}

func closeAll(listeners []transport.Listener) error {
	var errs []error
	for _, l := range listeners {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}
