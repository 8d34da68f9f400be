package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"ipfixsuite/config"
	"ipfixsuite/export"
	"ipfixsuite/export/source"
)

// closeTimeout bounds the drain at the end: flush, final statistics, the last
// probe, close_notify.
const closeTimeout = 20 * time.Second

func runCommand() *cli.Command {
	return &cli.Command{
		Name:      "run",
		Usage:     "read a source and send its records to a collector",
		UsageText: "exporter run --source SRC --to URL [options]",
		Description: `SRC is one of
   pcap:FILE[?loop=N&pace=max|real|PACKETS_PER_S]   meter a packet capture (pcap, pcapng; - is stdin)
   iface:NAME                                       meter an interface (needs CAP_NET_RAW)
   ipfix:FILE                                       records of an IPFIX file (RFC 5655)
   json:FILE, json:-                                one record a line, IANA names

Examples:
   exporter run --source iface:eth0 --to dtls+udp://collector.example:4740 \
       --cert exporter-1.pem --key exporter-1-key.pem --ca ca.pem
   exporter run --source 'pcap:day.pcapng?pace=real' --to udp://127.0.0.1:4739
   exporter run --source json:- --to dtls+udp://[2001:db8::1] --psk-identity exporter-1 --psk-file psk.txt`,
		Flags:  runFlags(),
		Action: runAction,
	}
}

func runAction(c *cli.Context) error {
	s, err := settingsOf(c)
	if err != nil {
		return err
	}
	src, err := source.Parse(s.source, s.sourceConfig(c.App.Reader))
	if err != nil {
		return &config.UsageError{Err: err}
	}
	if err := src.Check(); err != nil {
		return err
	}
	exp, err := s.exporter()
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(c.Context, os.Interrupt, syscall.SIGTERM)
	defer stop()
	err = pump(ctx, exp, src, s.log)
	if serr := config.WriteSummary(c.App.Writer, s.summary, exp.Summary()); serr != nil {
		err = errors.Join(err, serr)
	}
	return err
}

// pump runs the source until it ends or ctx does, then drains the exporter.
// The exporter itself outlives ctx: what was read is still sent.
func pump(ctx context.Context, exp *export.Exporter, src source.Source, log *slog.Logger) error {
	running, abort := context.WithCancel(context.WithoutCancel(ctx))
	defer abort()
	ended := make(chan error, 1)
	go func() { ended <- exp.Run(running) }() // ends with Close, or by abort

	read, stopRead := context.WithCancel(ctx)
	defer stopRead()
	finished := make(chan error, 1)
	go func() { finished <- src.Run(read, exp) }() // ends with the source or stopRead

	var err error
	select {
	case err = <-finished:
	case err = <-ended: // gave up: the source must not wait for room for ever
		stopRead()
		<-finished
		return err
	}
	if ctx.Err() != nil {
		log.Info("stopping: sending what was read")
	}
	cctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	err = errors.Join(err, exp.Close(cctx))
	err = errors.Join(err, <-ended)
	report(log, exp, src)
	if n := exp.Summary().RecordsDropped; n > 0 && err == nil {
		err = fmt.Errorf("%d records were dropped", n)
	}
	return err
}

func report(log *slog.Logger, exp *export.Exporter, src source.Source) {
	s, in := exp.Summary(), src.Stats()
	log.Info("done", "packets", in.Packets, "records_exported", s.RecordsExported, "records_sent", s.RecordsSent,
		"records_dropped", s.RecordsDropped, "messages_sent", s.MessagesSent, "skipped", in.Skipped, "kernel_drops", in.KernelDrops)
}
