package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"ipfixsuite/collect"
	"ipfixsuite/config"
	"ipfixsuite/sink/ipfix"
	"ipfixsuite/sink/jsonl"
)

const sinkKinds = "json:-, json:DIR or ipfix:DIR"

type sinkConfig struct {
	stdout io.Writer
	sync   bool
	maxAge time.Duration
	log    *slog.Logger
}

// checkSink says whether a --sink can be meant so.
func checkSink(spec string) error {
	kind, rest, _ := strings.Cut(spec, ":")
	switch {
	case kind != "json" && kind != "ipfix":
		return config.Usage("want "+sinkKinds, "--sink %q: kind %q is unknown", spec, kind)
	case rest == "":
		return config.Usage("want "+sinkKinds, "--sink %q: no directory is named", spec)
	case kind == "ipfix" && rest == "-":
		return config.Usage("want "+sinkKinds, "--sink %q: IPFIX files need a directory", spec)
	}
	return nil
}

// writableSink says whether files can be made where a sink writes.
func writableSink(spec string) error {
	_, dir, _ := strings.Cut(spec, ":")
	if dir == "-" {
		return nil
	}
	return writableDir(dir)
}

// writableDir says whether files can be made in a directory, or in the one
// that would hold it.
func writableDir(dir string) error {
	for at := dir; ; at = filepath.Dir(at) {
		info, err := os.Stat(at)
		switch {
		case err == nil && !info.IsDir():
			err = fmt.Errorf("%s is not a directory", at)
		case err == nil:
			err = config.Writable(at)
		case errors.Is(err, fs.ErrNotExist) && filepath.Dir(at) != at:
			continue
		}
		return err
	}
}

func sinkError(spec string, err error) error {
	if err == nil {
		return nil
	}
	return config.FileError("--sink "+spec, err)
}

// openSinks is the one switch from a --sink to what it names.
func openSinks(specs []string, cfg sinkConfig) ([]collect.Sink, error) {
	var sinks []collect.Sink
	for _, spec := range specs {
		s, err := openSink(spec, cfg)
		if err != nil {
			errs := []error{sinkError(spec, err)}
			for _, s := range sinks {
				errs = append(errs, s.Close())
			}
			return nil, errors.Join(errs...)
		}
		sinks = append(sinks, s)
	}
	return sinks, nil
}

func openSink(spec string, cfg sinkConfig) (collect.Sink, error) {
	if err := writableSink(spec); err != nil { // else it would be found out with the first record
		return nil, err
	}
	kind, where, _ := strings.Cut(spec, ":")
	switch kind {
	case "json":
		return jsonl.Open(where, jsonl.Config{Stdout: cfg.stdout, Sync: cfg.sync, MaxAge: cfg.maxAge, Log: cfg.log})
	case "ipfix":
		return ipfix.Open(where, ipfix.Config{Sync: cfg.sync, MaxAge: cfg.maxAge, Log: cfg.log})
	}
	return nil, checkSink(spec)
}

// An outlet is the standard output of a collector. When nobody reads it any
// more the collector ends in order, instead of by SIGPIPE and unseen.
type outlet struct {
	io.Writer
	end func(error)
}

func newOutlet(w io.Writer, end func(error)) *outlet {
	signal.Ignore(syscall.SIGPIPE)
	return &outlet{w, end}
}

func (o *outlet) Write(b []byte) (int, error) {
	n, err := o.Writer.Write(b)
	if errors.Is(err, syscall.EPIPE) {
		o.end(config.WithHint("the program behind the pipe has ended", errors.New("--sink json:-: nobody reads standard output any more")))
	}
	return n, err
}
