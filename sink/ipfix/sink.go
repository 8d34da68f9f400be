package ipfix

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"time"

	"ipfixsuite/ipfixfile"
	"ipfixsuite/record"
)

const (
	// DefaultMaxOpen bounds the files that are open at a time, and with them
	// memory: 64 to 256 KiB each.
	DefaultMaxOpen = 256
	// DefaultMaxTemplates bounds the templates of one file; one more starts
	// the next file.
	DefaultMaxTemplates = 8192

	// keepEvery is how often files are looked at for their age.
	keepEvery = time.Second
)

// Config of a Sink; the zero value works.
type Config struct {
	// MaxBytes and MaxAge end a file and begin the next; 0 is the default of
	// package ipfixfile, negative no limit (one file a series: RFC 5655,
	// Section 7.3.3).
	MaxBytes int64
	MaxAge   time.Duration
	// Sync: Flush waits for the disk.
	Sync bool
	// MaxOpen is how many exporters' files are open at a time; the one not
	// written to for longest is ended for another. 0: DefaultMaxOpen.
	MaxOpen int
	// MaxTemplates of one file; 0: DefaultMaxTemplates.
	MaxTemplates int
	Log          *slog.Logger     // nil: none
	Now          func() time.Time // nil: time.Now
}

// Stats counts what a Sink did.
type Stats struct {
	Records, Messages, Octets uint64
	Files                     uint64 // finished
	FilesRecovered            uint64 // left by a process that died
	Open                      int    // exporters with an open series
	SeriesEvicted             uint64 // ended for want of room
	TemplatesRenumbered       uint64 // the exporter's id stood for something else in the file
	TemplatesMissing          uint64 // records spoke of a template nobody knew
	RecordsRefused            uint64 // the disk was full
	MessagesLost              uint64 // the disk stayed full until the end
}

// A Sink writes to one directory.
type Sink struct {
	cfg Config
	dir string

	mu     sync.Mutex
	series map[string]*series
	last   *series
	clock  uint64 // counts uses
	stats  Stats
	ended  ipfixfile.Stats // of series that are closed
	closed bool

	stop chan struct{}
	wg   sync.WaitGroup // of keep
}

// Open makes the directory ready and finishes files that a process before
// left behind.
func Open(dir string, cfg Config) (*Sink, error) {
	if cfg.MaxOpen <= 0 {
		cfg.MaxOpen = DefaultMaxOpen
	}
	if cfg.MaxTemplates <= 0 {
		cfg.MaxTemplates = DefaultMaxTemplates
	}
	cfg.MaxTemplates = min(cfg.MaxTemplates, 1<<15) // ids never run out
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("ipfix sink: %w", err)
	}
	s := &Sink{cfg: cfg, dir: dir, series: map[string]*series{}, stop: make(chan struct{})}
	recovered, err := ipfixfile.Recover(dir)
	if err != nil {
		return nil, fmt.Errorf("ipfix sink: %w", err)
	}
	for _, r := range recovered {
		if r.Error != nil {
			cfg.Log.Warn("file not recovered", "file", r.Part, "error", r.Error)
			continue
		}
		s.stats.FilesRecovered++
		cfg.Log.Info("file recovered", "file", r.Name, "octets", r.Size, "torn", r.Torn)
	}
	if cfg.MaxAge >= 0 {
		s.wg.Go(s.keep)
	}
	return s, nil
}

// keep ends files that are old although nobody writes to them; Close ends it.
func (s *Sink) keep() {
	t := time.NewTicker(keepEvery)
	defer t.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-t.C:
		}
		s.mu.Lock()
		for _, q := range s.series {
			if !q.w.Old() {
				continue
			}
			if err := s.flush(q); err != nil {
				s.cfg.Log.Warn("file not ended", "exporter", q.exporter, "error", err)
			}
		}
		s.mu.Unlock()
	}
}

// WriteControl takes the options data that describes the export: an archive
// keeps all.
func (s *Sink) WriteControl(b *record.Batch) error { return s.Write(b) }

// Write takes one data set. After an error nothing of it is kept.
func (s *Sink) Write(b *record.Batch) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return fs.ErrClosed
	}
	q := s.last
	if q == nil || q.exporter != b.Exporter {
		var err error
		if q, err = s.find(b.Exporter); err != nil {
			s.stats.RecordsRefused += uint64(b.Records)
			return fmt.Errorf("ipfix sink: %w", err)
		}
		s.last = q
	}
	s.clock++
	q.used = s.clock
	if err := q.write(b); err != nil {
		s.stats.RecordsRefused += uint64(b.Records)
		return fmt.Errorf("ipfix sink: %w", err)
	}
	s.stats.Records += uint64(b.Records)
	return nil
}

func (s *Sink) find(exporter string) (*series, error) {
	if q := s.series[exporter]; q != nil {
		return q, nil
	}
	if len(s.series) >= s.cfg.MaxOpen {
		var oldest *series
		for _, q := range s.series {
			if oldest == nil || q.used < oldest.used {
				oldest = q
			}
		}
		s.stats.SeriesEvicted++
		if err := s.end(oldest); err != nil {
			s.cfg.Log.Warn("file not ended in order", "exporter", oldest.exporter, "error", err)
		}
	}
	w, err := ipfixfile.NewWriter(ipfixfile.Config{
		Dir: s.dir, Prefix: ipfixfile.SafeName(exporter),
		MaxBytes: s.cfg.MaxBytes, MaxAge: s.cfg.MaxAge, Sync: s.cfg.Sync, Now: s.cfg.Now,
	})
	if err != nil {
		return nil, err
	}
	q := &series{sink: s, exporter: exporter, w: w}
	s.series[exporter] = q
	return q, nil
}

// end closes a series and forgets it.
func (s *Sink) end(q *series) error {
	delete(s.series, q.exporter)
	if s.last == q {
		s.last = nil
	}
	err := errors.Join(q.finish(), q.w.Close())
	add(&s.ended, q.w.Stats())
	return err
}

// Flush hands everything written to the system, and to the disk with Sync.
// What fails is tried again by the next call.
func (s *Sink) Flush() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, q := range s.series {
		if err := s.flush(q); err != nil {
			errs = append(errs, fmt.Errorf("ipfix sink: %w", err))
		}
	}
	return errors.Join(errs...)
}

// flush writes a series out, and forgets it if its file was old and ended.
func (s *Sink) flush(q *series) error {
	if err := errors.Join(q.finish(), q.w.Flush()); err != nil {
		return err
	}
	if q.w.Idle() {
		return s.end(q)
	}
	return nil
}

// Rotate ends all files: what follows goes to others.
func (s *Sink) Rotate() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return fs.ErrClosed
	}
	var errs []error
	for _, q := range s.series {
		err := errors.Join(q.finish(), q.w.Rotate())
		if err == nil {
			err = s.end(q)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("ipfix sink: %w", err))
		}
	}
	return errors.Join(errs...)
}

// Close ends all files.
func (s *Sink) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	close(s.stop)
	s.mu.Unlock()
	s.wg.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, q := range s.series {
		if err := s.end(q); err != nil {
			errs = append(errs, fmt.Errorf("ipfix sink: %w", err))
		}
	}
	return errors.Join(errs...)
}

// Stats tells what has been done so far.
func (s *Sink) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	files := s.ended
	for _, q := range s.series {
		add(&files, q.w.Stats())
	}
	st := s.stats
	st.Messages, st.Octets, st.Files, st.MessagesLost = files.Messages, files.Octets, files.Files, files.MessagesLost
	st.Open = len(s.series)
	return st
}

func add(sum *ipfixfile.Stats, o ipfixfile.Stats) {
	sum.Messages += o.Messages
	sum.Octets += o.Octets
	sum.Files += o.Files
	sum.MessagesLost += o.MessagesLost
}
