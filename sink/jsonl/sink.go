package jsonl

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"time"

	"ipfixsuite/record"
)

const (
	// writeSize is when lines are written: a batch more, and it is done with
	// a write of 128 to 256 KiB.
	writeSize = 128 << 10
	// keepBuffer is the largest buffer that is kept after a write; lists can
	// make a batch of many times its octets.
	keepBuffer = 1 << 20

	// DefaultMaxBytes bounds one file.
	DefaultMaxBytes = 1 << 30
	// DefaultMaxAge bounds the time that a file is written to.
	DefaultMaxAge = 5 * time.Minute
)

// Config of a Sink; the zero value works.
type Config struct {
	// MaxBytes and MaxAge end a file and begin the next; 0 is DefaultMaxBytes
	// or DefaultMaxAge, negative no limit.
	MaxBytes int64
	MaxAge   time.Duration
	// Sync: Flush waits for the disk, and so does the end of a file.
	Sync bool
	// Stdout is where "-" writes to; nil is os.Stdout.
	Stdout io.Writer
	Log    *slog.Logger // nil: none
}

// Stats counts what a Sink did.
type Stats struct {
	Records        uint64 // taken by Write
	Octets         uint64 // written
	Writes         uint64 // write(2)
	Files          uint64 // finished
	FilesRecovered uint64 // left by a process that died
	RecordsCut     uint64 // did not end within their set, and are no line
	RecordsRefused uint64 // by Write, since nothing could be written
	LinesLost      uint64 // taken, and not written when the sink closed
	Errors         uint64 // writes, renames and so on that failed
	Pending        int    // octets taken and not yet written
}

// A Sink writes to one directory or stream.
type Sink struct {
	cfg Config
	dir string // "" for a stream

	mu      sync.Mutex
	encoder record.Encoder
	buf     []byte // whole lines, but for the first if a write ended within it
	out     io.Writer
	file    *file
	timer   *time.Timer // ends file when it is old
	dirty   bool        // written to since the last fsync
	stats   Stats
	closed  bool
}

// Open opens a sink: "-" is the standard output, anything else a directory,
// which is made if it is not there.
func Open(spec string, cfg Config) (*Sink, error) {
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = DefaultMaxBytes
	}
	if cfg.MaxAge == 0 {
		cfg.MaxAge = DefaultMaxAge
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Sink{cfg: cfg}
	switch spec {
	case "":
		return nil, errors.New("json sink: no directory, expected json:DIR or json:- for the standard output")
	case "-":
		s.out = cfg.Stdout
		if s.out == nil {
			s.out = os.Stdout
		}
		return s, nil
	}
	s.dir = spec
	if err := os.MkdirAll(spec, 0o700); err != nil {
		return nil, fmt.Errorf("json sink: %w", err)
	}
	n, err := recoverFiles(spec, cfg.Log)
	if err != nil {
		return nil, fmt.Errorf("json sink: %w", err)
	}
	s.stats.FilesRecovered = uint64(n)
	return s, nil
}

// Write takes the records of one data set. If it returns an error, nothing of
// the batch was taken.
func (s *Sink) Write(b *record.Batch) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return fs.ErrClosed
	}
	if len(s.buf) >= writeSize {
		if err := s.drain(); err != nil {
			s.stats.RecordsRefused += uint64(b.Records)
			return err
		}
	}
	buf, n, err := s.encoder.AppendBatch(s.buf, b)
	s.buf = buf
	s.stats.Records += uint64(n)
	if err != nil { // of the record, not of the sink
		s.stats.RecordsCut++
	}
	return nil
}

// Flush writes everything that Write took; with Sync it waits for the disk.
func (s *Sink) Flush() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return fs.ErrClosed
	}
	return s.flush()
}

func (s *Sink) flush() error {
	if err := s.drain(); err != nil {
		return err
	}
	if s.cfg.Sync && s.dirty {
		if err := s.sync(); err != nil {
			return s.failed(err)
		}
		s.dirty = false
	}
	return nil
}

// sync waits for the disk; a stream that cannot do it, such as a pipe, has
// nothing to wait for.
func (s *Sink) sync() error {
	if s.dir != "" {
		if s.file == nil { // ended since, and synced then
			return nil
		}
		return s.file.f.Sync()
	}
	if f, ok := s.out.(*os.File); ok {
		if st, err := f.Stat(); err == nil && st.Mode().IsRegular() {
			return f.Sync()
		}
	}
	return nil
}

// drain writes the buffer, and ends the file if it is large or old enough.
func (s *Sink) drain() error {
	for len(s.buf) > 0 {
		if s.dir != "" && s.file == nil {
			if err := s.begin(); err != nil {
				return s.failed(err)
			}
		}
		n, err := s.out.Write(s.buf)
		if n > 0 {
			s.wrote(n)
		}
		if err == nil && n == 0 {
			err = io.ErrShortWrite
		}
		if err != nil {
			return s.failed(err)
		}
	}
	if s.file != nil && s.file.due(s.cfg) {
		return s.end()
	}
	return nil
}

// wrote takes n octets off the buffer.
func (s *Sink) wrote(n int) {
	s.stats.Octets += uint64(n)
	s.stats.Writes++
	s.dirty = true
	if s.file != nil {
		s.file.wrote(s.buf[:n])
	}
	if n < len(s.buf) {
		s.buf = append(s.buf[:0], s.buf[n:]...)
		return
	}
	if s.buf = s.buf[:0]; cap(s.buf) > keepBuffer {
		s.buf = nil
	}
}

func (s *Sink) failed(err error) error {
	s.stats.Errors++
	return fmt.Errorf("json sink: %w", err)
}

// begin opens the next file.
func (s *Sink) begin() error {
	f, err := create(s.dir, time.Now(), s.cfg.Sync)
	if err != nil {
		return err
	}
	s.file, s.out = f, f.f
	if s.cfg.MaxAge > 0 {
		s.timer = time.AfterFunc(s.cfg.MaxAge, func() { s.old(f) })
	}
	return nil
}

// old ends a file that nobody writes to any more: it is due, but no Write or
// Flush comes to see it.
func (s *Sink) old(f *file) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.file != f {
		return
	}
	if err := s.drain(); err != nil {
		s.cfg.Log.Warn("file not finished in time", "error", err)
	}
}

// end finishes the file.
func (s *Sink) end() error {
	f := s.file
	s.file, s.out = nil, nil
	if s.timer != nil {
		s.timer.Stop()
	}
	if err := f.finish(s.cfg.Sync); err != nil {
		return s.failed(err)
	}
	s.stats.Files++
	s.dirty = false
	return nil
}

// Rotate writes what is left and finishes the file: what follows goes to
// another. A stream is only written to.
func (s *Sink) Rotate() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return fs.ErrClosed
	}
	if err := s.flush(); err != nil || s.file == nil {
		return err
	}
	return s.end()
}

// Close writes what is left and finishes the file. What cannot be written is
// counted as lost.
func (s *Sink) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	err := s.flush()
	s.closed = true
	if lost := bytes.Count(s.buf, []byte{'\n'}); lost > 0 {
		s.stats.LinesLost += uint64(lost)
		err = fmt.Errorf("%w (%d records lost)", err, lost)
	}
	if s.file != nil {
		err = errors.Join(err, s.end())
	}
	s.buf = nil
	return err
}

// Stats says what the Sink did so far.
func (s *Sink) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.stats
	st.Pending = len(s.buf)
	return st
}
