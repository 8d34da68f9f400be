package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"ipfixsuite/collect"
	"ipfixsuite/config"
	"ipfixsuite/endpoint"
	"ipfixsuite/ie"
	"ipfixsuite/transport"
)

// closeTimeout bounds how long sinks may take to write what they hold.
const closeTimeout = 20 * time.Second

func serveCommand() *cli.Command {
	return &cli.Command{
		Name:      "serve",
		Usage:     "receive records and write them to sinks",
		UsageText: "collector serve --listen URL… --sink SINK… [options]",
		Description: `SINK is one of
   json:-       one JSON object a line on standard output
   json:DIR     the same, in files
   ipfix:DIR    IPFIX files (RFC 5655), one series for each exporter

Examples:
   collector pki init pki && collector pki issue pki collector.example
   collector serve --listen dtls+udp://:4740 --sink json:flows \
       --cert pki/collector.example.pem --key pki/collector.example-key.pem --ca pki/ca.pem --allow '*.example'
   collector serve --listen udp://127.0.0.1:4739 --listen 'udp://[::1]:4739' --sink json:- --sink ipfix:archive`,
		Flags:  serveFlags(),
		Action: serveAction,
	}
}

func serveFlags() []cli.Flag {
	flags := []cli.Flag{
		&cli.StringSliceFlag{Name: "listen", Usage: "take sessions at `URL`", EnvVars: config.Env("listen")},
		&cli.StringSliceFlag{Name: "sink", Usage: "write records to `SINK`", EnvVars: config.Env("sink")},
		&cli.StringSliceFlag{Name: "allow", Usage: "let in exporters named like `PATTERN` only", EnvVars: config.Env("allow")},
		&cli.StringFlag{Name: "elements", Usage: "enterprise elements from CSV `FILE` (pen,elementId,name,dataType,…)", EnvVars: config.Env("elements")},
		&cli.DurationFlag{Name: "template-lifetime", Usage: "forget a template not repeated for `TIME` on unreliable transports (default: three times its refresh)", EnvVars: config.Env("template-lifetime")},
		&cli.DurationFlag{Name: "flush", Value: time.Second, Usage: "write what sinks hold every `TIME`", EnvVars: config.Env("flush")},
		&cli.BoolFlag{Name: "sync", Usage: "wait for the disk before an exporter is told that its records are safe", EnvVars: config.Env("sync")},
		&cli.DurationFlag{Name: "rotate-files", Usage: "begin a new file every `TIME`", EnvVars: config.Env("rotate-files")},
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
	summary   string
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
		sinks: c.StringSlice("sink"), summary: c.String("summary"), log: log,
		lifetime: c.Duration("template-lifetime"), flush: c.Duration("flush"),
		sinkCfg: sinkConfig{stdout: c.App.Writer, sync: c.Bool("sync"), maxAge: c.Duration("rotate-files"), log: log},
	}
	if len(c.StringSlice("listen")) == 0 {
		return nil, config.Usage("--listen dtls+udp://:4740, for example", "--listen is missing")
	}
	if len(s.sinks) == 0 {
		return nil, config.Usage("--sink json:- writes to standard output", "--sink is missing")
	}
	secure := false
	for _, u := range c.StringSlice("listen") {
		e, err := transport.ParseEndpoint(u)
		if err != nil {
			return nil, &config.UsageError{Err: err}
		}
		secure = secure || e.Secure()
		s.endpoints = append(s.endpoints, e)
	}
	for _, sink := range s.sinks {
		if err := checkSink(sink); err != nil {
			return nil, err
		}
	}
	if s.registry, err = config.Elements(c.String("elements")); err != nil {
		return nil, err
	}
	creds, err := config.Credentials(c, secure, c.StringSlice("allow"), log)
	if err != nil {
		return nil, err
	}
	s.listen = endpoint.Config{Credentials: creds, Insecure: c.Bool("insecure"), MTU: c.Int("mtu"), Log: log}
	return s, nil
}

func serveAction(c *cli.Context) error {
	s, err := serverOf(c)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(c.Context, os.Interrupt, syscall.SIGTERM)
	defer stop()
	sum, err := s.run(ctx)
	if sum != nil {
		err = errors.Join(err, config.WriteSummary(c.App.Writer, s.summary, sum))
	}
	return err
}

// run serves until ctx ends, then writes what the sinks hold.
func (s *server) run(ctx context.Context) (*collect.Summary, error) {
	listeners, err := s.bind()
	if err != nil {
		return nil, err
	}
	sinks, err := openSinks(s.sinks, s.sinkCfg)
	if err != nil {
		return nil, errors.Join(err, closeAll(listeners))
	}
	col := collect.New(collect.Config{
		Sinks: sinks, Registry: s.registry, Log: s.log,
		TemplateLifetime: s.lifetime, FlushInterval: s.flush,
	})
	for i, l := range listeners {
		s.log.Info("listening", "addr", l.Addr().String(), "endpoint", s.endpoints[i].String())
	}

	// One listener that fails ends them all: a collector that half listens
	// would go unnoticed.
	serving, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	for i, l := range listeners {
		wg.Go(func() { // ends with ctx
			if err := l.Serve(serving, col); err != nil && ctx.Err() == nil {
				cancel(fmt.Errorf("%s: %w", s.endpoints[i], err))
			}
		})
	}
	wg.Wait()
	err = nil
	if ctx.Err() == nil {
		err = context.Cause(serving)
	}
	cctx, done := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer done()
	err = errors.Join(err, col.Close(cctx))

	st := col.Stats()
	ls := make([]transport.ListenerStats, len(listeners))
	for i, l := range listeners {
		ls[i] = l.Stats()
		s.log.Info("closed", "endpoint", s.endpoints[i].String(), "sessions", ls[i].SessionsOpened,
			"refused", ls[i].SessionsRefused, "handshakes_failed", ls[i].HandshakesFailed, "socket_drops", ls[i].SocketDrops, "dropped", ls[i].Dropped)
	}
	sum := st.Summary(ls...)
	sum.CPUSeconds = cpuSeconds()
	s.log.Info("done", "records_received", sum.RecordsReceived, "records_written", sum.RecordsWritten,
		"records_lost", sum.RecordsLost, "records_undecodable", sum.RecordsUndecodable, "messages_malformed", sum.MessagesMalformed)
	return &sum, err
}

func (s *server) bind() ([]transport.Listener, error) {
	var listeners []transport.Listener
	for _, e := range s.endpoints {
		l, err := endpoint.Listen(e, s.listen)
		if err != nil {
			return nil, errors.Join(err, closeAll(listeners))
		}
		listeners = append(listeners, l)
	}
	return listeners, nil
}

func closeAll(listeners []transport.Listener) error {
	var errs []error
	for _, l := range listeners {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}

// cpuSeconds is what this process has used, user and system.
func cpuSeconds() float64 {
	var r syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &r) != nil {
		return 0
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano()).Seconds()
}
