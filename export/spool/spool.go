package spool

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"ipfixsuite/ipfix"
)

var (
	// ErrLocked says that another Spool, of this process or another, has
	// the directory.
	ErrLocked = errors.New("in use by another process")
	// ErrClosed is returned after Close.
	ErrClosed = errors.New("spool closed")
	// ErrTemplate marks a message with data that no Template was given for.
	ErrTemplate = errors.New("no template for a data set")
)

// A Spool is a directory of segments.
type Spool struct {
	dir string
	cfg Config

	mu       sync.Mutex
	lockFile *os.File
	cursor   *cursor
	segments []*segment // in order; the last one may be under way
	bytes    int64      // in all of them
	gone     []*segment // dropped while handed out and not marked
	serial   uint64     // the highest ever used
	earlier  uint64     // the highest of earlier runs
	w        *writer    // nil: the next Append begins a segment
	failing  bool       // the last write failed
	stats    Stats
	closed   bool

	corruptEarlier uint64 // of stats.RecordsCorrupt, of earlier runs

	at      Position // behind what Next handed out last
	rd      *reader  // nil: at the next Next
	readBuf []byte
	spare   []byte // what scratch returns

	buf, pack []byte // of Append
	news      []*ipfix.Template

	stop chan struct{} // ends the goroutine of SyncInterval
	wg   sync.WaitGroup
}

// Open opens the spool in dir, which is made when missing (0700), and
// recovers what an earlier process left there.
func Open(dir string, cfg Config) (*Spool, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg.setDefaults()
	s := &Spool{dir: dir, cfg: cfg, readBuf: make([]byte, readBuffer), stop: make(chan struct{})}
	if err := s.open(); err != nil {
		if s.cursor != nil {
			_ = s.cursor.f.Close()
		}
		if s.lockFile != nil {
			_ = s.lockFile.Close()
		}
		return nil, fmt.Errorf("spool %s: %w", dir, err)
	}
	if cfg.Sync == SyncInterval {
		s.wg.Go(s.syncNowAndThen) // Close stops it
	}
	return s, nil
}

func (s *Spool) open() error {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	var err error
	s.lockFile, err = os.OpenFile(filepath.Join(s.dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	if lock(s.lockFile) != nil {
		return ErrLocked
	}
	if s.cursor, err = openCursor(filepath.Join(s.dir, "cursor")); err != nil {
		return err
	}
	if err := s.list(); err != nil {
		return err
	}
	for _, g := range s.segments {
		s.bytes += g.size
	}
	s.at = s.cursor.pos
	s.serial = max(s.serial, s.at.serial)
	s.earlier = s.serial
	// Segments before the cursor are delivered: their removal was cut short.
	for len(s.segments) > 0 && s.segments[0].serial < s.at.serial {
		s.remove(s.segments[0])
	}
	if len(s.segments) > 0 && s.segments[0].serial == s.at.serial {
		g := s.segments[0]
		if s.at.offset >= g.size {
			s.remove(g)
		} else {
			g.acked = min(s.at.records, g.records)
			g.handed = g.acked
		}
	}
	for _, g := range s.segments {
		s.stats.RecordsRecovered += g.records - g.acked
	}
	if n := s.stats.RecordsRecovered; n > 0 {
		s.cfg.Log.Info("spool holds records of an earlier run", "records", n, "segments", len(s.segments))
	}
	if s.cfg.Sync != SyncNever {
		return syncDir(s.dir)
	}
	return nil
}

// scratch is a buffer for reading aside from Next.
func (s *Spool) scratch() []byte {
	if s.spare == nil {
		s.spare = make([]byte, readBuffer)
	}
	return s.spare
}

// remove deletes the oldest segment.
func (s *Spool) remove(g *segment) {
	if s.rd != nil && s.rd.seg == g {
		s.rd.close()
		s.rd = nil
	}
	if s.w != nil && s.w.seg == g {
		_ = s.w.f.Close()
		s.w = nil
	}
	if err := os.Remove(g.path); err != nil {
		s.cfg.Log.Warn("spool segment not removed", "segment", g.path, "error", err)
	}
	s.bytes -= g.size
	s.segments = s.segments[1:]
}

// Stats tells what has been done so far.
func (s *Spool) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.stats
	for _, g := range s.segments {
		st.RecordsPending += g.records - g.acked - g.void
	}
	st.BytesPending = s.bytes
	for _, g := range s.gone {
		st.RecordsPending += g.handed - g.acked
	}
	st.Segments = len(s.segments)
	return st
}

// Unread is the number of records that Next has yet to hand out.
func (s *Spool) Unread() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return 0
	}
	var n uint64
	for _, g := range s.segments {
		n += g.unread()
	}
	return n
}

// Sync forces everything appended to the disk.
func (s *Spool) Sync() error {
	s.mu.Lock()
	w := s.w
	if s.closed || w == nil || !w.dirty {
		s.mu.Unlock()
		return nil
	}
	w.dirty = false
	s.mu.Unlock()
	// Append goes on meanwhile. Who finishes the segment syncs it himself.
	err := w.f.Sync()
	if err == nil || errors.Is(err, os.ErrClosed) {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.syncFailed(err)
	return err
}

func (s *Spool) syncFailed(err error) {
	s.stats.SyncErrors++
	if n := s.stats.SyncErrors; n <= 10 || n%1000 == 0 {
		s.cfg.Log.Warn("spool not forced to disk", "dir", s.dir, "error", err, "count", n)
	}
}

func (s *Spool) syncNowAndThen() {
	tick := time.NewTicker(s.cfg.SyncEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			_ = s.Sync() // counted and logged there
		case <-s.stop:
			return
		}
	}
}

// Close finishes the segment under way and gives the directory free. What is
// pending stays for the next Open.
func (s *Spool) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	err := s.finish()
	if s.rd != nil {
		s.rd.close()
		s.rd = nil
	}
	if s.cfg.Sync != SyncNever {
		err = errors.Join(err, s.cursor.f.Sync(), syncDir(s.dir))
	}
	err = errors.Join(err, s.cursor.f.Close(), s.lockFile.Close())
	s.mu.Unlock()
	close(s.stop)
	s.wg.Wait()
	if err != nil {
		return fmt.Errorf("spool %s: %w", s.dir, err)
	}
	return nil
}
