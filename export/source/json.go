package source

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"ipfixsuite/export"
	"ipfixsuite/ipfix"
	"ipfixsuite/record"
)

// maxLine bounds a line; what is longer could not be a record of a message.
const maxLine = 1 << 20

// jsonLines exports records that stand as JSON objects one a line; the keys
// make the Template. All go into the Exporter's own Observation Domain: keys
// that begin with @ say where a record came from, not where it goes.
type jsonLines struct {
	base
	name string
}

func (s *jsonLines) Check() error {
	if s.name == "-" {
		return nil
	}
	if err := readable(s.name); err != nil {
		return err
	}
	if st, err := os.Stat(s.name); err == nil && st.Mode().IsRegular() && st.Size() == 0 {
		s.empty(s.name)
	}
	return nil
}

func (s *jsonLines) Run(ctx context.Context, out Exporter) error {
	var in io.Reader
	if s.name == "-" {
		if s.cfg.Stdin == nil {
			return errors.New("source json:-: there is no standard input")
		}
		in = newPipe(ctx.Done(), s.cfg.Stdin)
	} else {
		f, err := s.open(ctx)
		if err != nil {
			return over(ctx, err)
		}
		defer func() { _ = f.Close() }()
		in = f
	}
	p := record.Parser{
		Registry: s.cfg.Registry,
		Define: func(scope int, specs []ipfix.FieldSpec) (*ipfix.Template, error) {
			t, err := out.Define(scope, specs)
			if err != nil {
				return nil, err
			}
			return t.Template, nil
		},
	}
	r := bufio.NewReaderSize(in, maxLine)
	for line := 1; ctx.Err() == nil; line++ {
		text, err := r.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			s.skip("line skipped", fmt.Errorf("line %d: longer than %d octets", line, maxLine))
			if err = discardLine(r); err == nil {
				continue
			}
			text = nil
		}
		if text = bytes.TrimSpace(text); len(text) > 0 {
			if werr := s.line(ctx, out, &p, text, line); werr != nil {
				return over(ctx, werr)
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return over(ctx, fmt.Errorf("read %s: %w", s.name, err))
		}
	}
	return nil
}

func (s *jsonLines) open(ctx context.Context) (io.ReadCloser, error) {
	if namedPipe(s.name) {
		return openPipe(ctx, s.name)
	}
	f, err := os.Open(s.name)
	if err != nil {
		return nil, err
	}
	return cancellable(ctx, f), nil
}

// line exports one record. Its error is that of the Exporter.
func (s *jsonLines) line(ctx context.Context, out Exporter, p *record.Parser, text []byte, n int) error {
	s.count(func(st *Stats) { st.Octets += uint64(len(text)) + 1 })
	rec, err := p.Parse(text)
	if err != nil {
		s.skip("line skipped", fmt.Errorf("%s: line %d: %w", s.name, n, err))
		return nil
	}
	t, err := out.Define(rec.Scope, rec.Specs)
	if err != nil {
		s.skip("line skipped", fmt.Errorf("%s: line %d: %w", s.name, n, err))
		return nil
	}
	if err := out.Write(ctx, t, rec.Data); err != nil {
		if errors.Is(err, export.ErrTooLarge) {
			s.skip("line skipped", fmt.Errorf("%s: line %d: %w", s.name, n, err))
			return nil
		}
		return err
	}
	s.count(func(st *Stats) { st.Records++ })
	if n%256 == 0 {
		s.progress(time.Now())
	}
	return nil
}

func discardLine(r *bufio.Reader) error {
	for {
		_, err := r.ReadSlice('\n')
		if !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
	}
}
