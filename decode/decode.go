package decode

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"syscall"

	"ipfixsuite/capture"
	"ipfixsuite/ie"
	"ipfixsuite/ipfix"
	"ipfixsuite/ipfixfile"
	"ipfixsuite/netflow"
	"ipfixsuite/record"
	"ipfixsuite/templates"
)

const (
	// MaxSessions bounds how many exporters a Decoder tells apart: sources in
	// a capture may be forged.
	MaxSessions = 1 << 16
	// maxDatagram is the largest payload of UDP, and so of a file that holds
	// one.
	maxDatagram = 65535
	// held is what may wait for its template in one NetFlow session.
	held = 256 << 10
)

// Config of a Decoder.
type Config struct {
	Registry *ie.Registry // nil: IANA's
	// Emit takes each data set; it is valid during the call. An error ends
	// decoding.
	Emit func(b *record.Batch) error
	// Report takes what is wrong in the files; nil: it is only counted.
	Report func(p Problem)
}

// A Problem is something in a file that could not be decoded.
type Problem struct {
	File   string
	Packet uint64 // of a capture, counted from 1; else 0
	Offset int64  // of the message in the file; -1 where Packet tells, or not known
	Err    error  // with the octet within the message, if it is about one
}

func (p Problem) Error() string {
	switch {
	case p.Packet > 0:
		return fmt.Sprintf("%s: packet %d: %v", p.File, p.Packet, p.Err)
	case p.Offset >= 0:
		return fmt.Sprintf("%s: offset %d: %v", p.File, p.Offset, p.Err)
	}
	return fmt.Sprintf("%s: %v", p.File, p.Err)
}

func (p Problem) Unwrap() error { return p.Err }

// Stats counts what a Decoder has met.
type Stats struct {
	Files     uint64 `json:"files"`
	Packets   uint64 `json:"packets"`  // in captures
	Foreign   uint64 `json:"foreign"`  // of those, not of IPFIX or NetFlow, or without payload
	Messages  uint64 `json:"messages"` // IPFIX messages and NetFlow datagrams
	Malformed uint64 `json:"malformed"`
	Templates uint64 `json:"templates"`
	DataSets  uint64 `json:"dataSets"`
	Records   uint64 `json:"records"`
	// SetsWaiting never got their template; of those in NetFlow too.
	SetsWaiting uint64 `json:"setsWaiting"`
	SetsDropped uint64 `json:"setsDropped"` // not even kept
	Sessions    uint64 `json:"sessions"`
	Problems    uint64 `json:"problems"`
}

// A Decoder decodes files.
type Decoder struct {
	cfg      Config
	budget   *templates.Budget
	sessions map[flow]*session
	last     *session
	batch    record.Batch
	meta     record.Meta
	stats    Stats
	err      error // of Emit
	at       Problem
	frags    fragments
	streams  streams
	chunks   associations
}

// A flow is what sessions are told apart by; the zero flow is that of files.
type flow struct {
	src, dst netip.AddrPort
	proto    uint8
}

// New returns a Decoder without any template.
func New(cfg Config) *Decoder {
	if cfg.Registry == nil {
		cfg.Registry = ie.IANA()
	}
	if cfg.Report == nil {
		cfg.Report = func(Problem) {}
	}
	return &Decoder{cfg: cfg, budget: templates.NewBudget(templates.Limits{}), sessions: map[flow]*session{}}
}

// Stats tells what has been met so far.
func (d *Decoder) Stats() Stats { return d.stats }

// File decodes one file; "-" is the standard input. The error is that of
// opening or reading the file, or Emit's.
func (d *Decoder) File(path string) error {
	if path == "-" {
		return d.Read("stdin", os.Stdin)
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if st, err := f.Stat(); err == nil && st.IsDir() {
		return &fs.PathError{Op: "read", Path: path, Err: syscall.EISDIR}
	}
	return d.Read(path, f)
}

// Read decodes what src holds; name stands in problems, and its last part for
// the exporter of what is no capture.
func (d *Decoder) Read(name string, src io.Reader) error {
	if d.err != nil {
		return d.err
	}
	d.stats.Files++
	d.at = Problem{File: name, Offset: -1}
	unpacked, err := ipfixfile.Unpack(src)
	if err != nil {
		d.problem(err)
		return nil
	}
	br := bufio.NewReaderSize(unpacked, 64<<10)
	magic, err := br.Peek(4)
	switch {
	case len(magic) == 0 && (err == nil || errors.Is(err, io.EOF)):
		d.problem(errors.New("empty file"))
		return nil
	case err != nil && !errors.Is(err, io.EOF):
		return fmt.Errorf("%s: %w", name, err)
	case isCapture(magic):
		err = d.capture(br)
	case netflow.Version(magic) != 0:
		err = d.datagrams(br)
	default:
		err = d.messages(br, len(magic) >= 2 && magic[0] == 0 && magic[1] == ipfix.Version)
	}
	if err != nil && !errors.Is(err, d.err) {
		err = fmt.Errorf("%s: %w", name, err)
	}
	return errors.Join(d.err, err)
}

func isCapture(magic []byte) bool {
	switch string(magic) {
	case "\xa1\xb2\xc3\xd4", "\xd4\xc3\xb2\xa1", "\xa1\xb2\x3c\x4d", "\x4d\x3c\xb2\xa1", "\xa1\xb2\xcd\x34", "\x34\xcd\xb2\xa1", "\x0a\x0d\x0d\x0a":
		return true
	}
	return false
}

// messages decodes an IPFIX File. One that does not start like one is tried
// as well: its first octets may be garbled.
func (d *Decoder) messages(src io.Reader, known bool) error {
	r := ipfixfile.NewReader(src)
	s := d.session(flow{}, filepath.Base(d.at.File), true)
	var unknown error
	for d.err == nil {
		msg, err := r.Next()
		var bad *ipfixfile.FormatError
		switch {
		case errors.Is(err, io.EOF):
			if unknown != nil {
				d.at.Offset = -1
				d.problem(errors.New("neither an IPFIX file nor a capture nor NetFlow"))
			}
			return nil
		case errors.As(err, &bad):
			if !known {
				known, unknown = true, bad
				continue
			}
			d.at.Offset = -1
			d.stats.Malformed++
			d.problem(bad)
		case err != nil:
			return err
		default:
			if unknown != nil {
				d.stats.Malformed++
				d.problem(unknown)
				unknown = nil
			}
			d.at.Offset = r.Offset()
			s.message(d, msg, 0, nil)
		}
	}
	return nil
}

// datagrams decodes a file that is one NetFlow datagram, or several of version
// 5, which tells its length.
func (d *Decoder) datagrams(src io.Reader) error {
	b, err := io.ReadAll(io.LimitReader(src, maxDatagram<<4))
	if err != nil {
		return err
	}
	s := d.session(flow{}, filepath.Base(d.at.File), true)
	for offset := 0; d.err == nil && len(b) > 0; {
		n := len(b)
		if first := netflow.LengthV5(b); first > 0 && netflow.LengthV5(b[first:]) > 0 {
			n = first
		}
		if n > maxDatagram {
			d.problem(fmt.Errorf("%d octets are no datagram", n))
			return nil
		}
		d.at.Offset = int64(offset)
		s.netflow(d, b[:n])
		b, offset = b[n:], offset+n
	}
	return nil
}

func (d *Decoder) capture(src io.Reader) error {
	r, err := capture.NewReader(src)
	if err != nil {
		d.problem(err)
		return nil
	}
	for d.err == nil {
		p, err := r.Next()
		var bad *capture.ParseError
		switch {
		case errors.Is(err, io.EOF):
			d.at.Packet = 0
			return nil
		case errors.As(err, &bad):
			d.at.Packet = 0
			d.problem(bad)
			return nil
		case err != nil:
			return err
		}
		d.stats.Packets++
		d.at.Packet++
		d.packet(&p)
	}
	return nil
}

// Close reports what still waits for its template.
func (d *Decoder) Close() error {
	d.at = Problem{Offset: -1}
	for _, s := range d.sessions {
		s.close(d)
	}
	clear(d.sessions)
	d.last = nil
	return d.err
}

// session finds or begins the session of a flow; nil: there are too many.
func (d *Decoder) session(f flow, exporter string, reliable bool) *session {
	if s := d.last; s != nil && s.flow == f {
		s.exporter = exporter
		return s
	}
	s := d.sessions[f]
	if s == nil {
		if len(d.sessions) >= MaxSessions {
			d.problem(errors.New("too many exporters"))
			return nil
		}
		d.stats.Sessions++
		s = &session{flow: f, id: d.stats.Sessions, reliable: reliable}
		d.sessions[f] = s
	}
	s.exporter = exporter
	d.last = s
	return s
}

// problem reports an error where d.at says; a joined one as several.
func (d *Decoder) problem(err error) {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range joined.Unwrap() {
			d.problem(e)
		}
		return
	}
	d.stats.Problems++
	p := d.at
	p.Err = err
	d.cfg.Report(p)
}

// emit hands a data set on.
func (d *Decoder) emit(s *session, domain, exportTime uint32, b record.Batch) {
	if d.err != nil {
		return
	}
	d.stats.DataSets++
	d.stats.Records += uint64(b.Records)
	d.meta = record.Meta{Exporter: s.exporter, Session: s.id, Domain: domain, ExportTime: exportTime}
	d.batch = b
	d.batch.Meta = &d.meta
	d.err = d.cfg.Emit(&d.batch)
}
