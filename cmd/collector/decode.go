package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"

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
		UsageText: "collector decode [options] FILE…",
		Description: `A FILE is an IPFIX file (RFC 5655), a capture (pcap, pcapng) of IPFIX or of NetFlow v9 or v5, or a
raw message or datagram. - is standard input. Files are read in order; templates of one serve the next.
What cannot be decoded is told on standard error, with its place; the rest is decoded, and the exit status is 1.
A line is a JSON object: @exporter, @domain, @template, @exportTime and the elements by their IANA names.

Examples:
   collector decode archive/exporter-1.example-*.ipfix
   tcpdump -w - udp port 4739 | collector decode -
   collector decode templates.dat data.dat | jq 'select(.octetDeltaCount > 1e6)'`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "elements", Usage: "enterprise elements from CSV `FILE` (pen,elementId,name,dataType,…)", EnvVars: config.Env("elements")},
			&cli.StringFlag{Name: "summary", Usage: "write one JSON object of counters to `FILE` at the end (- is standard output)", EnvVars: config.Env("summary")},
		},
		Action: decodeAction,
	}
}

func decodeAction(c *cli.Context) error {
	files := c.Args().Slice()
	if len(files) == 0 {
		return config.Usage("collector decode FILE…, - for standard input", "no file is named")
	}
	for _, f := range files {
		if strings.HasPrefix(f, "--") {
			return config.Usage("options stand before the files; a file of that name is ./"+f, "%s stands behind the arguments", f)
		}
	}
	if err := config.CheckSummary(c.String("summary")); err != nil {
		return err
	}
	registry, err := config.Elements(c.String("elements"))
	if err != nil {
		return err
	}
	sink, err := jsonl.Open("-", jsonl.Config{Stdout: c.App.Writer})
	if err != nil {
		return err
	}
	ctx, _, stop := config.Signals(c.Context, nil)
	defer stop()
	// Lines of a capture that is still being made are shown as they come.
	defer config.Every(time.Second, func() { _ = sink.Flush() })() // its error comes again with Close
	d := decode.New(decode.Config{
		Registry: registry,
		Emit: func(b *record.Batch) error {
			if ctx.Err() != nil {
				return errInterrupted
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
			err = d.Read("-", interruptible(ctx, c.App.Reader))
		} else if err = d.File(f); err != nil {
			if pe, ok := errors.AsType[*fs.PathError](err); ok {
				err = config.FileError(f, pe)
			}
		}
		if err != nil {
			errs = append(errs, err)
		}
		if ctx.Err() != nil {
			errs = append(errs, errInterrupted)
			break
		}
	}
	errs = append(errs, d.Close(), sink.Close())
	st := d.Stats()
	errs = append(errs, config.WriteSummary(c.App.Writer, c.String("summary"), st))
	if st.Problems > 0 {
		errs = append(errs, fmt.Errorf("problems: %d, records decoded: %d", st.Problems, st.Records))
	}
	return errors.Join(errs...)
}

var errInterrupted = errors.New("interrupted")

// interruptible is in until ctx ends: what waits in a read of a terminal or a
// pipe cannot be woken otherwise.
func interruptible(ctx context.Context, in io.Reader) io.Reader {
	r, w := io.Pipe()
	context.AfterFunc(ctx, func() { w.CloseWithError(io.EOF) })
	go func() { // ends with in, or with the process
		_, err := io.Copy(w, in)
		w.CloseWithError(err)
	}()
	return r
}
