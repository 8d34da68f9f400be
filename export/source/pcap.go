package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"ipfixsuite/capture"
)

// pcap meters the packets of a capture file, once or several times. Each
// pass is shifted in time so that it follows the one before, and begins with
// an empty flow table: N passes make N times the records of one.
type pcap struct {
	base
	name string
	loop uint64  // passes; 0: without end
	real bool    // as fast as it was captured
	rate float64 // packets a second; 0: as fast as possible
}

func newPcap(name string, cfg Config, o *options) *pcap {
	s := &pcap{base: base{cfg: cfg}, name: name, loop: o.uint("loop", 1)}
	switch v := o.get("pace"); v {
	case "", "max":
	case "real":
		s.real = true
	default:
		r, err := strconv.ParseFloat(v, 64)
		if err != nil || !(r > 0) || r > 1e9 {
			o.fail(fmt.Errorf("option pace=%s is neither max, real nor a number of packets a second", v))
		}
		s.rate = r
	}
	if name == "-" && s.loop != 1 {
		o.fail(errors.New("the standard input cannot be read more than once"))
	}
	return s
}

func (s *pcap) Check() error {
	if s.name == "-" {
		return nil
	}
	if err := readable(s.name); err != nil || namedPipe(s.name) {
		return err
	}
	f, err := capture.OpenFile(s.name)
	if err != nil {
		return err
	}
	if _, err := f.Next(); errors.Is(err, io.EOF) {
		s.empty(s.name)
	}
	return f.Close()
}

func (s *pcap) open(ctx context.Context) (capture.Source, func() error, error) {
	if s.name == "-" && s.cfg.Stdin != nil {
		r, err := capture.NewReader(newPipe(ctx.Done(), s.cfg.Stdin))
		return r, func() error { return nil }, err
	}
	if namedPipe(s.name) {
		f, err := openPipe(ctx, s.name)
		if err != nil {
			return nil, nil, err
		}
		r, err := capture.NewReader(f)
		return r, f.Close, err
	}
	f, err := capture.OpenFile(s.name)
	if err != nil {
		return nil, nil, err
	}
	return f, f.Close, nil
}

// Run meters the file. A file that is cut off or garbled is metered up to
// there.
func (s *pcap) Run(ctx context.Context, out Exporter) error {
	m, err := newMeter(ctx, &s.base, out, true)
	if err != nil {
		return err
	}
	pc := pacer{real: s.real, rate: s.rate}
	var shift int64
	for pass := uint64(0); s.loop == 0 || pass < s.loop; pass++ {
		next, err := s.pass(ctx, m, &pc, shift)
		m.m.Flush()
		m.share(next)
		if err == nil {
			err = m.err
		}
		if err != nil || ctx.Err() != nil {
			return over(ctx, err)
		}
		s.count(func(st *Stats) { st.Passes++ })
		shift = next
		if s.Stats().Packets == 0 {
			return nil // nothing to repeat
		}
	}
	return nil
}

// pass meters the file once, with its times shifted by shift nanoseconds. It
// returns the shift of the pass after it.
func (s *pcap) pass(ctx context.Context, m *meter, pc *pacer, shift int64) (int64, error) {
	src, closeFile, err := s.open(ctx)
	if err != nil {
		return 0, err
	}
	defer func() { _ = closeFile() }()
	var first, last int64
	var n int64
	next := func() int64 {
		// The gap to the next pass is the mean one between packets.
		span := last - first
		return shift + span + max(span/max(n-1, 1), int64(time.Microsecond))
	}
	for {
		p, err := src.Next()
		if err != nil {
			if !errors.Is(err, io.EOF) {
				if n == 0 && m.packets == 0 && s.Stats().Passes == 0 {
					return 0, err
				}
				s.fault("capture file cut off or garbled: metered up to there", err)
			}
			return next(), nil
		}
		if n == 0 {
			first, last = p.Time, p.Time
		}
		n++
		last = max(last, p.Time)
		if err := pc.wait(ctx, p.Time+shift, m); err != nil {
			return next(), err
		}
		if err := m.packet(p.Time+shift, &p); err != nil {
			return next(), err
		}
		if n%shareEvery == 0 && ctx.Err() != nil {
			return next(), ctx.Err()
		}
	}
}

// A pacer holds packets back until it is their time.
type pacer struct {
	real bool
	rate float64

	begin time.Time
	first int64 // time of the first packet
	n     float64
}

// maxNap is how long a pacer sleeps without moving the meter's clock on.
const maxNap = 250 * time.Millisecond

// wait returns when the packet of time ns is due.
func (p *pacer) wait(ctx context.Context, ns int64, m *meter) error {
	if !p.real && p.rate == 0 {
		return nil
	}
	if p.begin.IsZero() {
		p.begin, p.first = time.Now(), ns
	}
	due := p.begin
	if p.real {
		due = due.Add(time.Duration(ns - p.first))
	} else {
		due = due.Add(time.Duration(p.n / p.rate * float64(time.Second)))
		p.n++
	}
	for {
		d := time.Until(due)
		if d < time.Millisecond { // packets close together go in one go
			return m.err
		}
		nap := time.NewTimer(min(d, maxNap))
		select {
		case <-nap.C:
		case <-ctx.Done():
			nap.Stop()
			return ctx.Err()
		}
		if p.real && d > maxNap {
			m.m.Advance(p.first + int64(time.Since(p.begin)))
		}
		m.share(ns)
	}
}
