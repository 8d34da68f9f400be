package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"ipfixsuite/collect"
	"ipfixsuite/config"
	"ipfixsuite/transport/credentials"
	"ipfixsuite/transport/dtls"
)

// closeTimeout bounds how long sinks may take to write what they hold.
const closeTimeout = 20 * time.Second

func serveCommand() *cli.Command {
	return &cli.Command{
		Name:      "serve",
		Usage:     "receive records and write them to sinks",
		UsageText: "collector serve --listen URL… --sink SINK… [options]",
		Description: `Runs until SIGTERM or SIGINT: then what was received is written, and the exit status is 0.
SIGHUP reloads --config and the files of credentials without losing a session: --listen, --allow, --log-level,
--summary and whom we trust may change, and files of the sinks are ended. What needs a restart is told in the log.

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

// server is a collector with the settings it began with.
type server struct {
	settings
	start *cli.Context // how the settings were read
	creds *credentials.Holder
	log   *slog.Logger
	level *slog.LevelVar
}

// serverOf reads and judges everything but what is to be bound and written.
func serverOf(c *cli.Context) (*server, error) {
	log, level, err := config.NewLog(c)
	if err != nil {
		return nil, err
	}
	st, err := settingsOf(c, log)
	if err != nil {
		return nil, err
	}
	s := &server{settings: *st, start: c, creds: new(credentials.Holder), log: log, level: level}
	if _, err := s.credentials(s.creds, c, log); err != nil {
		return nil, err
	}
	return s, s.check(log)
}

func serveAction(c *cli.Context) error {
	defer config.Hold()()
	s, err := serverOf(c)
	if err != nil {
		return err
	}
	ctx, hup, stop := config.Signals(c.Context, s.log)
	defer stop()
	sum, err := s.run(ctx, hup)
	if sum != nil {
		err = errors.Join(err, config.WriteSummary(c.App.Writer, s.summary, sum))
	}
	return err
}

// run serves until ctx ends, then writes what the sinks hold.
func (s *server) run(ctx context.Context, hup <-chan struct{}) (sum *summary, err error) {
	mem, err := openMemory(s.state, s.log)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, mem.close()) }()
	// All listeners resume what any of them has made: a session may go on over
	// another transport (RFC 5238, Section 3.4).
	s.listen.DTLS.Sessions = dtls.NewSessions(0, 0)
	if mem != nil {
		s.listen.DTLS.Sessions = mem.sessions
	}
	return s.serve(ctx, hup, mem)
}

func (s *server) serve(ctx context.Context, hup <-chan struct{}, mem *memory) (*summary, error) {
	bound, err := bind(s.endpoints, s.listen)
	if err != nil {
		return nil, err
	}
	// A listener that fails ends them all, and so does a standard output that
	// nobody reads: a collector that half works would go unnoticed.
	serving, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	s.sinkCfg.stdout = newOutlet(s.sinkCfg.stdout, cancel)
	sinks, err := openSinks(s.sinks, s.sinkCfg)
	if err != nil {
		errs := []error{err}
		for _, b := range bound {
			errs = append(errs, b.Close())
		}
		return nil, errors.Join(errs...)
	}
	col := collect.New(collect.Config{
		Sinks: sinks, Names: s.sinks, Registry: s.registry, Log: s.log,
		TemplateLifetime: s.lifetime, FlushInterval: s.flush, SaveTemplates: mem != nil,
	})
	mem.keep(col)
	ls := &listeners{log: s.log, handler: col, ctx: serving, fail: cancel, gone: map[*listening]bool{}}
	ls.serve(bound)
	tell := &teller{log: s.log, collector: col, listeners: ls}
	stopTelling := config.Every(s.every, tell.tell)
	s.follow(serving, hup, ls, sinks) // until serving ends
	ls.wg.Wait()
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
