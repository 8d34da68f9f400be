package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"ipfixsuite/config"
	"ipfixsuite/export/source"
	"ipfixsuite/transport"
)

// closeTimeout bounds the drain after a signal: flush, final statistics, the
// last probe, close_notify.
const closeTimeout = 20 * time.Second

func runCommand() *cli.Command {
	return &cli.Command{
		Name:      "run",
		Usage:     "read a source and send its records to a collector",
		UsageText: "exporter run --source SRC --to URL [options]",
		Description: `Ends when the source does, or in order with SIGTERM or SIGINT; the exit status is 0 if every record was sent.
SIGHUP reloads --config and the files of credentials and replaces all sessions without a gap: --to, --server-name, --rotate,
--full-handshake-every, --max-rate, --log-level, --summary and who we are may change. What needs a restart is told in the log.

SRC is one of
   pcap:FILE[?loop=N&pace=max|real|PACKETS_PER_S]   meter a packet capture (pcap, pcapng; - is stdin); loop=0: for ever
   iface:NAME                                       meter an interface (needs CAP_NET_RAW)
   ipfix:FILE                                       records of an IPFIX file (RFC 5655)
   json:FILE, json:-                                one record a line, IANA names, as the collector's json: sink writes them

Examples:
   exporter run --source iface:eth0 --to dtls+udp://collector.example:4740 \
       --cert exporter-1.pem --key exporter-1-key.pem --ca ca.pem
   exporter run --source 'pcap:day.pcapng?pace=real' --to udp://127.0.0.1:4739
   exporter run --source json:- --to 'dtls+udp://[2001:db8::1]' --psk-identity exporter-1 --psk-file psk.txt
   exporter run --config /etc/ipfix/exporter.toml --summary -`,
		Flags:  runFlags(),
		Action: runAction,
	}
}

func runAction(c *cli.Context) error {
	defer config.Hold()()
	p, err := programOf(c)
	if err != nil {
		return err
	}
	src, err := p.open(c.App.Reader)
	if err != nil {
		return err
	}
	if p.fleet, err = newFleet(&p.settings, p.to, p.log); err != nil {
		return err
	}
	ctx, hup, stop := config.Signals(c.Context, p.log)
	defer stop()
	err = p.run(ctx, hup, src)
	return errors.Join(err, config.WriteSummary(c.App.Writer, p.summary, p.fleet.Summary()))
}

// run exports, and follows SIGHUP, the credentials' files and the names of the
// collectors as long as it does.
func (s *program) run(ctx context.Context, hup <-chan struct{}, src source.Source) error {
	following, unfollow := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { // ends with following
		config.Follow(following, hup, config.Following{
			Reload: func() { s.reload(following) }, Credentials: s.creds, Watch: s.watch, Renewed: s.renewed,
			Every: min(s.resolve, nameTick), Look: func() { s.fleet.follow(following) },
		}, s.log)
	})
	defer wg.Wait()
	defer unfollow()
	return s.pump(ctx, s.fleet, src)
}

// pump runs the source until it ends or ctx does, then drains the exporter.
// The exporter itself outlives ctx: what was read is still sent.
func (s *program) pump(ctx context.Context, exp sender, src source.Source) error {
	s.log.Info("exporting", "source", s.source, "to", s.fleet.String())
	tell := &teller{log: s.log, exporter: exp, source: src}
	defer tell.done()
	defer config.Every(s.every, tell.tell)()

	running, abort := context.WithCancel(context.WithoutCancel(ctx))
	defer abort()
	ended := make(chan error, 1)
	go func() { ended <- exp.Run(running) }() // ends with Close, or by abort

	read, stopRead := context.WithCancel(ctx)
	defer stopRead()
	finished := make(chan error, 1)
	go func() { finished <- src.Run(read, exp) }() // ends with the source or stopRead

	var err error
	defer s.silence()
	select {
	case err = <-finished:
		err = s.sourceError(err)
		s.silence()
		s.fleet.settle(ctx)
	case err = <-ended: // gave up: the source must not wait for room for ever
		stopRead()
		return errors.Join(s.exportError(err, exp), s.sourceError(<-finished))
	}
	closing, cancel := drainTime(ctx)
	defer cancel()
	if cerr := exp.Close(closing); cerr != nil {
		return errors.Join(err, s.exportError(cerr, exp)) // it is what Run returns
	}
	err = errors.Join(err, s.exportError(<-ended, exp))
	if err == nil && ctx.Err() == nil {
		err = s.shortfall(exp, src)
	}
	return err
}

// silence takes the progress off the terminal.
func (s *program) silence() {
	if s.status != nil {
		s.status.Show("")
	}
}

// exportError names the collector, and what to look at if it never answered.
func (s *program) exportError(err error, exp sender) error {
	if err == nil {
		return nil
	}
	if to := toString(s.to); len(s.to) == 1 && !strings.Contains(err.Error(), to) {
		err = fmt.Errorf("--to %s: %w", to, err)
	}
	if transport.Hint(err) == "" && exp.Summary().SessionsOpened == 0 {
		err = config.WithHint("does a collector listen there, does a firewall let both ways through, and do both ends trust each other?", err)
	}
	return err
}

// drainTime is how long the exporter may take to send what was read: as long
// as it has a collector, unless somebody wants the process to end.
func drainTime(ctx context.Context) (context.Context, context.CancelFunc) {
	drain, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { // ends with the drain
		timer := time.NewTimer(closeTimeout)
		defer timer.Stop()
		select {
		case <-timer.C:
			cancel()
		case <-drain.Done():
		}
	})
	return drain, func() { stop(); cancel() }
}

// shortfall says what of a source that came to its end was not exported.
func (s *program) shortfall(exp sender, src source.Source) error {
	in, dropped := src.Stats(), exp.Summary().RecordsDropped
	var errs []error
	if in.Faults > 0 {
		errs = append(errs, fmt.Errorf("garbled or cut off at %d places", in.Faults))
	}
	if in.Skipped > 0 {
		errs = append(errs, fmt.Errorf("records skipped: %d", in.Skipped))
	}
	if dropped > 0 {
		errs = append(errs, fmt.Errorf("%d records dropped", dropped))
	}
	if len(errs) == 0 {
		return nil
	}
	return config.WithHint("the log above says where; all else was sent",
		fmt.Errorf("--source %s: %w", s.source, errors.Join(errs...)))
}
