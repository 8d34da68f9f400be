package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"ipfixsuite/export"
	"ipfixsuite/ipfix"
	"ipfixsuite/ipfixfile"
)

// maxTemplates bounds the Templates that are known of a file at one time.
const maxTemplates = 1 << 16

// ipfixFile exports the records of an IPFIX File (RFC 5655) once more, as
// they are: their Templates get ids of the Exporter's, and whatever names a
// Template within a record is brought along. Times that are told relative to
// the Export Time of the original message become absolute, so that they stay
// what they were. Records about single messages of the file (messageScope,
// such as checksums) are left out: those messages are not sent.
type ipfixFile struct {
	base
	name string
}

func (s *ipfixFile) Check() error {
	if err := readable(s.name); err != nil || namedPipe(s.name) {
		return err
	}
	r, err := ipfixfile.Open(s.name)
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }()
	if _, err = r.Next(); errors.Is(err, io.EOF) {
		s.empty(s.name)
		return nil
	}
	if fe, ok := errors.AsType[*ipfixfile.FormatError](err); ok {
		return fmt.Errorf("%s: %w; want an IPFIX File (RFC 5655)", s.name, fe)
	}
	return err
}

// Run exports the file. What is garbled is counted and passed over.
func (s *ipfixFile) Run(ctx context.Context, out Exporter) error {
	r, err := s.open(ctx)
	if err != nil {
		return over(ctx, err)
	}
	defer func() { _ = r.Close() }()
	f := fileReader{s: s, out: out, domains: make(map[uint32]map[uint16]*mapped)}
	for ctx.Err() == nil {
		msg, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if fe, ok := errors.AsType[*ipfixfile.FormatError](err); ok {
			s.fault("octets skipped", fmt.Errorf("%s: %w", s.name, fe))
			continue
		}
		if err != nil {
			return over(ctx, fmt.Errorf("read %s: %w", s.name, err))
		}
		if err := f.message(ctx, msg, r.Offset()); err != nil {
			return over(ctx, err)
		}
		s.count(func(st *Stats) {
			st.Octets += uint64(len(msg))
			st.Records += f.records
		})
		f.records = 0
		s.progress(time.Now())
	}
	s.count(func(st *Stats) { st.Passes++; st.Records += f.records })
	return nil
}

func (s *ipfixFile) open(ctx context.Context) (*messages, error) {
	if !namedPipe(s.name) {
		r, err := ipfixfile.Open(s.name)
		if err != nil {
			return nil, err
		}
		return &messages{r, r.Close}, nil
	}
	f, err := openPipe(ctx, s.name)
	if err != nil {
		return nil, err
	}
	in, err := ipfixfile.Unpack(f)
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("%s: %w", s.name, err)
	}
	return &messages{ipfixfile.NewReader(in), f.Close}, nil
}

// messages are those of a file or pipe.
type messages struct {
	*ipfixfile.Reader
	end func() error
}

func (m *messages) Close() error { return m.end() }

// fileReader maps the Templates of a file to those of the Exporter.
type fileReader struct {
	s       *ipfixFile
	out     Exporter
	domains map[uint32]map[uint16]*mapped
	known   int // Templates in all domains
	records uint64
	rec     []byte
}

// message exports the records of one message. Its error is the Exporter's.
func (f *fileReader) message(ctx context.Context, msg []byte, offset int64) error {
	h, err := ipfix.ParseHeader(msg)
	if err != nil {
		f.fault(offset, err)
		return nil
	}
	d := f.domains[h.Domain]
	if d == nil {
		d = make(map[uint16]*mapped)
		f.domains[h.Domain] = d
	}
	for set, err := range ipfix.Sets(msg) {
		switch {
		case err != nil:
			f.fault(offset, err)
		case set.ID < ipfix.MinDataSetID:
			f.templates(d, h.Domain, set, offset)
		default:
			if err := f.data(ctx, d, &h, set, offset); err != nil {
				return err
			}
		}
	}
	return nil
}

func (f *fileReader) fault(offset int64, err error) {
	f.s.fault("part of a message skipped", fmt.Errorf("%s: message at octet %d: %w", f.s.name, offset, err))
}

// templates takes what a (Options) Template Set defines and withdraws. The
// Exporter keeps withdrawn Templates: others of the same shape may be theirs.
func (f *fileReader) templates(d map[uint16]*mapped, domain uint32, set ipfix.Set, offset int64) {
	for tr, err := range ipfix.ParseTemplates(set.ID, set.Body) {
		if err != nil {
			f.fault(offset, ipfix.At(err, set.BodyOffset()))
			return
		}
		switch {
		case tr.WithdrawsAll():
			for id, m := range d {
				if (m.in.Scope > 0) == (set.ID == ipfix.OptionsTemplateSetID) {
					delete(d, id)
					f.known--
				}
			}
		case tr.Withdrawal():
			if d[tr.ID] != nil {
				delete(d, tr.ID)
				f.known--
			}
		default:
			f.define(d, domain, &tr, offset)
		}
	}
}

func (f *fileReader) define(d map[uint16]*mapped, domain uint32, tr *ipfix.TemplateRecord, offset int64) {
	old := d[tr.ID]
	if old != nil && old.in.Matches(tr.Scope, tr.Fields) {
		return
	}
	if old == nil && f.known == maxTemplates {
		f.fault(offset, fmt.Errorf("template %d: the file has more than %d", tr.ID, maxTemplates))
		return
	}
	in, err := ipfix.NewTemplate(tr.ID, tr.Scope, tr.Fields, f.s.cfg.Registry)
	if err != nil {
		f.fault(offset, err)
		return
	}
	m := newMapped(in)
	if !m.skip {
		if f.s.cfg.ForceDomain {
			m.out, err = f.out.Define(in.Scope, m.specs)
		} else {
			m.out, err = f.out.DefineIn(domain, in.Scope, m.specs)
		}
		if err != nil {
			f.fault(offset, err)
			return
		}
	}
	if old == nil {
		f.known++
	}
	d[tr.ID] = m
}

// data exports the records of a Data Set.
func (f *fileReader) data(ctx context.Context, d map[uint16]*mapped, h *ipfix.Header, set ipfix.Set, offset int64) error {
	m := d[set.ID]
	if m == nil {
		f.s.skip("data set skipped", fmt.Errorf("%s: message at octet %d: no template %d in domain %d", f.s.name, offset, set.ID, h.Domain))
		return nil
	}
	if m.skip {
		return nil
	}
	w := rewriter{known: d, registry: f.s.cfg.Registry, exportTime: h.ExportTime}
	var r ipfix.Records
	r.Reset(m.in, set.Body)
	for r.Next() {
		rec := r.Raw()
		if m.rewrites() {
			var err error
			if f.rec, err = w.record(f.rec[:0], m, &r, 0); err != nil {
				f.s.skip("record skipped", fmt.Errorf("%s: message at octet %d: %w", f.s.name, offset, err))
				continue
			}
			rec = f.rec
		}
		if err := f.out.Write(ctx, m.out, rec); err != nil {
			if errors.Is(err, export.ErrTooLarge) {
				f.s.skip("record skipped", fmt.Errorf("%s: message at octet %d: %w", f.s.name, offset, err))
				continue
			}
			return err
		}
		f.records++
	}
	if err := r.Err(); err != nil {
		f.s.skip("rest of a data set skipped", fmt.Errorf("%s: message at octet %d: %w", f.s.name, offset, ipfix.At(err, set.BodyOffset())))
	}
	return nil
}
