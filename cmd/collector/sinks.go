package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
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

// openSinks is the one switch from a --sink to what it names.
func openSinks(specs []string, cfg sinkConfig) ([]collect.Sink, error) {
	var sinks []collect.Sink
	for _, spec := range specs {
		s, err := openSink(spec, cfg)
		if err != nil {
			errs := []error{fmt.Errorf("sink %s: %w", spec, err)}
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
	kind, where, _ := strings.Cut(spec, ":")
	switch kind {
	case "json":
		return jsonl.Open(where, jsonl.Config{Stdout: cfg.stdout, Sync: cfg.sync, MaxAge: cfg.maxAge, Log: cfg.log})
	case "ipfix":
		return ipfix.Open(where, ipfix.Config{Sync: cfg.sync, MaxAge: cfg.maxAge, Log: cfg.log})
	}
	return nil, checkSink(spec)
}
