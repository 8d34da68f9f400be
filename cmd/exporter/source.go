package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"

	"ipfixsuite/capture"
	"ipfixsuite/config"
	"ipfixsuite/export/source"
)

// open makes the source and sees that what it reads is there.
func (s *program) open(stdin io.Reader) (source.Source, error) {
	cfg := source.Config{Registry: s.elems, Metering: s.meter, ForceDomain: s.domain, Stdin: stdin, Log: s.log, Progress: s.progress()}
	cfg.Live.Promiscuous = s.promisc
	src, err := source.Parse(s.source, cfg)
	if err != nil {
		if e, ok := errors.AsType[*source.SpecError](err); ok {
			return nil, config.Usage(e.Hint(), "--source %q: %s", e.Spec, e.Reason)
		}
		return nil, &config.UsageError{Err: err}
	}
	return src, s.sourceError(src.Check())
}

// progress tells a person at a terminal how far a long work has come.
func (s *program) progress() func(source.Stats) {
	if s.status == nil || strings.HasPrefix(s.source, "iface:") { // that has no end
		return nil
	}
	began := time.Now()
	return func(st source.Stats) {
		packets := ""
		if st.Packets > 0 {
			packets = fmt.Sprintf("%d packets, ", st.Packets)
		}
		s.status.Show(fmt.Sprintf("%s%d records read in %v from %s", packets, st.Records, time.Since(began).Round(time.Second), s.source))
	}
}

// sourceError words what a source could not do, with the way out.
func (s *program) sourceError(err error) error {
	if err == nil {
		return nil
	}
	what := "--source " + s.source
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return config.FileError(what, pe)
	}
	if errors.Is(err, capture.ErrNoCapability) {
		return config.WithHint("run as root, or once: sudo setcap cap_net_raw+ep $(command -v exporter)",
			fmt.Errorf("%s: this process lacks the capability CAP_NET_RAW", what))
	}
	err = fmt.Errorf("%s: %w", what, err)
	if errors.Is(err, capture.ErrFormat) {
		return config.WithHint("pcap: takes pcap and pcapng files, ipfix: IPFIX files (RFC 5655), json: JSON lines", err)
	}
	return err
}
