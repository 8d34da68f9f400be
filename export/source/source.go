// Package source reads what an Exporting Process exports: packets of a
// capture or an interface, which it meters, the records of IPFIX files, and
// records as JSON lines. Every source encodes its records and hands them to an
// Exporter; its own faults (a garbled record, a file that is cut off)
// are counted and logged, and cost nothing but the record.
//
// A Source runs in the goroutine that calls Run and starts no other, but for
// one that wakes a live capture when its context ends. Stats may be called
// from any goroutine.
package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"ipfixsuite/capture"
	"ipfixsuite/export"
	"ipfixsuite/ie"
	"ipfixsuite/ipfix"
	"ipfixsuite/metering"
)

// An Exporter takes the records of a Source: an export.Exporter, or what
// stands before several of them.
type Exporter interface {
	Define(scope int, specs []ipfix.FieldSpec) (*export.Template, error)
	DefineIn(domain uint32, scope int, specs []ipfix.FieldSpec) (*export.Template, error)
	FlowKeys(t *export.Template, keys uint64) error
	ReportMetering(report func() export.MeteringReport) error
	Write(ctx context.Context, t *export.Template, rec []byte) error
	Offer(t *export.Template, rec []byte) bool
}

// A Source writes records to an Exporter until it has no more or ctx ends
// (then without an error).
type Source interface {
	Run(ctx context.Context, out Exporter) error
	// Check says whether Run would find what it reads.
	Check() error
	Stats() Stats
}

// Config says how sources work. The zero value works.
type Config struct {
	Registry *ie.Registry    // names elements; nil: IANA's
	Metering metering.Config // for pcap: and iface:
	Live     capture.LiveConfig
	// ForceDomain puts all records into the Exporter's Observation Domain;
	// else those of ipfix: and json: keep the domain they name.
	ForceDomain bool
	Stdin       io.Reader // for "-"; nil: none
	// Progress is told of the counters about once a second of a long run.
	Progress func(Stats)
	Log      *slog.Logger // nil: nothing is logged
}

// Stats counts what a source did.
type Stats struct {
	Packets     uint64 // read, of a capture
	Octets      uint64 // read: of packets on the wire, of messages, of lines
	Records     uint64 // handed to the Exporter
	Skipped     uint64 // records and lines that could not be read or written
	Faults      uint64 // places where the input is garbled or ends too early
	Passes      uint64 // over a file, done
	KernelDrops uint64 // of a live capture
	Ignored     uint64 // packets not metered
}

// SpecError is a source's specification that is wrong.
type SpecError struct {
	Spec   string
	Reason string
	hint   string
}

func (e *SpecError) Error() string { return fmt.Sprintf("source %q: %s", e.Spec, e.Reason) }

// Hint tells how to put it right.
func (e *SpecError) Hint() string { return e.hint }

// Kinds are the forms of a source's specification.
const Kinds = "pcap:FILE[?loop=N&pace=max|real|PACKETS_PER_S], iface:NAME, ipfix:FILE, json:FILE or json:-"

// Parse makes a Source of its specification: one of Kinds.
func Parse(spec string, cfg Config) (Source, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Registry == nil {
		cfg.Registry = ie.IANA()
	}
	kind, rest, ok := strings.Cut(spec, ":")
	if !ok {
		return nil, &SpecError{spec, "no kind of source", "want " + Kinds}
	}
	name, query, err := cutQuery(rest)
	if err != nil {
		return nil, &SpecError{spec, err.Error(), "options look like ?loop=3&pace=real"}
	}
	if name == "" {
		return nil, &SpecError{spec, "nothing to read from is named", "want " + Kinds}
	}
	p := options{query: query}
	var s Source
	switch kind {
	case "pcap":
		s = newPcap(name, cfg, &p)
	case "iface":
		s = &iface{base: base{cfg: cfg}, name: name}
	case "ipfix":
		s = &ipfixFile{base: base{cfg: cfg}, name: name}
	case "json":
		s = &jsonLines{base: base{cfg: cfg}, name: name}
	default:
		return nil, &SpecError{spec, fmt.Sprintf("kind %q is unknown", kind), "want " + Kinds}
	}
	if err := p.done(); err != nil {
		return nil, &SpecError{spec, err.Error(), "want " + Kinds}
	}
	return s, nil
}

// cutQuery splits off options behind the last question mark; a file's name
// may hold one as long as no "=" follows it.
func cutQuery(s string) (name string, q url.Values, err error) {
	i := strings.LastIndexByte(s, '?')
	if i < 0 || !strings.Contains(s[i:], "=") {
		return s, nil, nil
	}
	q, err = url.ParseQuery(s[i+1:])
	if err != nil {
		return "", nil, fmt.Errorf("options %q cannot be read", s[i+1:])
	}
	return s[:i], q, nil
}

// options reads the options of a specification; the first fault stays.
type options struct {
	query url.Values
	err   error
}

func (o *options) get(key string) string {
	v := o.query[key]
	delete(o.query, key)
	if len(v) > 1 && o.err == nil {
		o.err = fmt.Errorf("option %s is given %d times", key, len(v))
	}
	if len(v) == 0 {
		return ""
	}
	return v[0]
}

func (o *options) uint(key string, def uint64) uint64 {
	v := o.get(key)
	if v == "" {
		return def
	}
	n, err := strconv.ParseUint(v, 10, 32)
	if err != nil && o.err == nil {
		o.err = fmt.Errorf("option %s=%s is not a number of at most 32 bits", key, v)
	}
	return n
}

func (o *options) fail(err error) {
	if o.err == nil {
		o.err = err
	}
}

func (o *options) done() error {
	for key := range o.query {
		o.fail(fmt.Errorf("option %s is unknown here", key))
	}
	return o.err
}

// base is what all sources have.
type base struct {
	cfg Config

	mu    sync.Mutex
	stats Stats
	told  time.Time // of the last Progress
}

func (b *base) Stats() Stats {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.stats
}

func (b *base) count(f func(*Stats)) {
	b.mu.Lock()
	f(&b.stats)
	b.mu.Unlock()
}

// progress tells Progress now and then.
func (b *base) progress(now time.Time) {
	if b.cfg.Progress == nil || now.Sub(b.told) < time.Second {
		return
	}
	if !b.told.IsZero() {
		b.cfg.Progress(b.Stats())
	}
	b.told = now
}

// fault counts and logs a place where the input is bad.
func (b *base) fault(what string, err error) {
	var n uint64
	b.count(func(s *Stats) { s.Faults++; n = s.Faults })
	b.sampled(n, what, err)
}

// skip counts and logs a record that is left out.
func (b *base) skip(what string, err error) {
	var n uint64
	b.count(func(s *Stats) { s.Skipped++; n = s.Skipped })
	b.sampled(n, what, err)
}

// sampled logs the first ten of a kind, then each thousandth.
func (b *base) sampled(n uint64, what string, err error) {
	if n <= 10 || n%1000 == 0 {
		b.cfg.Log.Warn(what, "error", err, "count", n)
	}
}

// empty tells of a file that can be read and has nothing to export.
func (b *base) empty(name string) {
	b.cfg.Log.Warn("there is nothing in the file: no record will be sent", "file", name)
}

// over turns the errors of an orderly end into none.
func over(ctx context.Context, err error) error {
	if err == nil || ctx.Err() != nil || errors.Is(err, export.ErrClosed) {
		return nil
	}
	return err
}

// readable says whether a file can be opened.
func readable(name string) error {
	if namedPipe(name) {
		return nil
	}
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	st, err := f.Stat()
	if err == nil && st.IsDir() {
		return &os.PathError{Op: "open", Path: name, Err: syscall.EISDIR}
	}
	return err
}
