package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"

	"ipfixsuite/config"
	"ipfixsuite/decode"
	"ipfixsuite/record"
	"ipfixsuite/sink/jsonl"
)

func decodeCommand() *cli.Command {
	return &cli.Command{
		Name:      "decode",
		Usage:     "print the records of files as JSON lines",
		UsageText: "collector decode FILE…",
		Description: `A FILE is an IPFIX file (RFC 5655), a capture (pcap, pcapng) of IPFIX or of NetFlow v9 or v5, or a
raw message or datagram. - is standard input. Files are read in order; templates of one serve the next.
What cannot be decoded is told on standard error, with its place; the rest is decoded, and the exit status is 1.

Examples:
   collector decode archive/exporter-1.example/*.ipfix
   tcpdump -w - udp port 4739 | collector decode -
   collector decode templates.dat data.dat | jq 'select(.octetDeltaCount > 1e6)'`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "elements", Usage: "enterprise elements from CSV `FILE` (pen,elementId,name,dataType,…)", EnvVars: config.Env("elements")},
			&cli.StringFlag{Name: "summary", Usage: "write one JSON object to `FILE` at the end", EnvVars: config.Env("summary")},
		},
		Action: decodeAction,
	}
}

func decodeAction(c *cli.Context) error {
	files := c.Args().Slice()
	if len(files) == 0 {
		return config.Usage("collector decode FILE…, - for standard input", "no file is named")
	}
	registry, err := config.Elements(c.String("elements"))
	if err != nil {
		return err
	}
	sink, err := jsonl.Open("-", jsonl.Config{Stdout: c.App.Writer})
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(c.Context, os.Interrupt, syscall.SIGTERM)
	defer stop()
	d := decode.New(decode.Config{
		Registry: registry,
		Emit: func(b *record.Batch) error {
			if err := ctx.Err(); err != nil {
				return err
			}
			return sink.Write(b)
		},
		Report: func(p decode.Problem) {
			fmt.Fprintf(c.App.ErrWriter, "collector: %s\n", strings.ReplaceAll(p.Error(), "\n", "; "))
		},
	})
	var errs []error
	for _, f := range files {
		if f == "-" {
			err = d.Read("-", c.App.Reader)
		} else {
			err = d.File(f)
		}
		if err != nil {
			errs = append(errs, err)
		}
		if ctx.Err() != nil {
			break
		}
	}
	errs = append(errs, d.Close(), sink.Close())
	st := d.Stats()
	errs = append(errs, config.WriteSummary(c.App.Writer, c.String("summary"), st))
	if err := errors.Join(errs...); err != nil || st.Problems == 0 {
		return err
	}
	return fmt.Errorf("%d problems, %d records decoded", st.Problems, st.Records)
}
