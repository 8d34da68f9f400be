package ipfixfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

const (
	// Suffix ends the name of a finished file.
	Suffix = ".ipfix"
	// PartSuffix is added to it while the file is under way.
	PartSuffix = ".part"

	// smallBuffer is what a Writer starts with: room for one message of any
	// length, so that many quiet series stay cheap.
	smallBuffer = 64 << 10
	// DefaultBuffer is what it grows to when written to faster than that.
	DefaultBuffer = 256 << 10
	// DefaultMaxBytes bounds the size of one file of a series.
	DefaultMaxBytes = 1 << 30
	// DefaultMaxAge bounds how long one is written to.
	DefaultMaxAge = 5 * time.Minute

	// maxSerial bounds the search for a name that is not taken.
	maxSerial = 1_000_000
)

// Config says where and how a Writer writes.
type Config struct {
	// Dir is the directory of the series; it is made when missing (0700).
	Dir string
	// Prefix begins each name: PREFIX-20060102T150405Z-000000.ipfix, in the
	// order of time when sorted. It must be a safe file name; see SafeName.
	Prefix string
	// MaxBytes ends a file before it would grow beyond that many octets; 0
	// is DefaultMaxBytes, negative no limit.
	MaxBytes int64
	// MaxAge ends a file that has been open for so long; 0 is
	// DefaultMaxAge, negative no limit.
	MaxAge time.Duration
	// Buffer is the greatest number of octets gathered for one write(2); 0
	// is DefaultBuffer.
	Buffer int
	// Sync makes Flush wait until the disk has the data (fsync), and
	// finished files survive a power cut.
	Sync bool
	// Mode of new files; 0 is 0600.
	Mode fs.FileMode
	// Now replaces time.Now.
	Now func() time.Time
}

// Stats counts what a Writer did.
type Stats struct {
	Messages, Octets uint64 // accepted
	Files            uint64 // finished
	MessagesLost     uint64 // accepted, but never written: the disk was full to the end
}

// A Writer appends messages to a series of files, one file at a time. It is
// not safe for concurrent use.
//
// A write that fails loses nothing at once: what could not be written stays
// in the buffer and is tried again by the next Write, Flush or Rotate. Only
// when the buffer is full is a message refused.
type Writer struct {
	cfg     Config
	buf     []byte // whole messages not yet written
	file    *os.File
	name    string // of the finished file
	segment uint64 // number of files begun
	size    int64  // octets of whole messages in the file
	torn    bool   // a part of a message may stand behind them
	due     bool   // the file is too old
	opened  time.Time
	dirty   bool // written since the last fsync
	stats   Stats
	closed  bool
}

// NewWriter makes ready to write; the first file is begun by the first
// message.
func NewWriter(cfg Config) (*Writer, error) {
	if !validPrefix(cfg.Prefix) {
		return nil, fmt.Errorf("file name prefix %q is empty, too long or unsafe", cfg.Prefix)
	}
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = DefaultMaxBytes
	}
	if cfg.MaxAge == 0 {
		cfg.MaxAge = DefaultMaxAge
	}
	if cfg.Buffer == 0 {
		cfg.Buffer = DefaultBuffer
	}
	cfg.Buffer = max(cfg.Buffer, smallBuffer)
	if cfg.Mode == 0 {
		cfg.Mode = 0o600
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, err
	}
	return &Writer{cfg: cfg}, nil
}

// Write appends one whole message, to the next file if this one is full. It
// is refused when it is none, or when a full buffer cannot be written; then
// nothing of it is kept.
func (w *Writer) Write(msg []byte) error {
	if _, err := w.Begin(len(msg)); err != nil {
		return err
	}
	return w.Append(msg)
}

// Append is Write without a look at the size and age of the file that Begin
// opened.
func (w *Writer) Append(msg []byte) error {
	if w.closed || w.file == nil {
		return os.ErrClosed
	}
	if n := messageLen(msg); n == 0 || n != len(msg) {
		return &FormatError{Length: int64(len(msg)), Reason: "not one whole IPFIX message"}
	}
	if len(w.buf)+len(msg) > cap(w.buf) {
		if err := w.makeRoom(len(msg)); err != nil {
			return err
		}
	}
	w.buf = append(w.buf, msg...)
	w.stats.Messages++
	w.stats.Octets += uint64(len(msg))
	return nil
}

// Available returns an empty slice with room for one message of the greatest
// length: a message built in it costs Append no copy, and Append does not
// fail. It is valid until the next call of the Writer.
func (w *Writer) Available() ([]byte, error) {
	if w.closed {
		return nil, os.ErrClosed
	}
	if cap(w.buf)-len(w.buf) < maxMessage {
		if err := w.makeRoom(maxMessage); err != nil {
			return nil, err
		}
	}
	return w.buf[len(w.buf):], nil
}

// Begin makes sure that a file is open into which n octets still go, ending
// the present one when it is too large or too old, and returns the file's
// number, counted from 1. Whoever must write templates first in each file
// watches that number.
func (w *Writer) Begin(n int) (uint64, error) {
	if w.closed {
		return 0, os.ErrClosed
	}
	if w.file != nil {
		size := w.size + int64(len(w.buf))
		if !w.due && (w.cfg.MaxBytes < 0 || size == 0 || size+int64(n) <= w.cfg.MaxBytes) {
			return w.segment, nil
		}
		if err := w.Rotate(); err != nil {
			return w.segment, err
		}
	}
	return w.segment, w.open()
}

func (w *Writer) makeRoom(n int) error {
	if cap(w.buf) < w.cfg.Buffer {
		grown := make([]byte, len(w.buf), min(w.cfg.Buffer, max(smallBuffer, 2*cap(w.buf))))
		copy(grown, w.buf)
		w.buf = grown
	}
	if cap(w.buf)-len(w.buf) >= n {
		return nil
	}
	return w.writeOut()
}

// Flush hands everything accepted to the system, with fsync when so
// configured, and ends a file that is too old.
func (w *Writer) Flush() error {
	if w.closed || w.file == nil {
		return nil
	}
	if err := w.writeOut(); err != nil {
		return err
	}
	if w.old() {
		return w.Rotate()
	}
	if w.cfg.Sync && w.dirty {
		if err := w.file.Sync(); err != nil {
			return err
		}
		w.dirty = false
	}
	return nil
}

// Rotate ends the file under way, if any: everything accepted is written,
// and the file gets its name. After an error it is still under way.
func (w *Writer) Rotate() error {
	if w.closed || w.file == nil {
		return nil
	}
	if err := w.writeOut(); err != nil {
		return err
	}
	return w.finish()
}

// Close ends the file under way and the series. What cannot be written is
// counted as lost and the file ends with its last whole message.
func (w *Writer) Close() error {
	if w.closed {
		return nil
	}
	defer func() { w.closed, w.buf = true, nil }()
	if w.file == nil {
		return nil
	}
	err := w.writeOut()
	for b := w.buf; len(b) > 0; b = b[messageLen(b):] {
		w.stats.MessagesLost++
	}
	return errors.Join(err, w.finish())
}

// Stats tells what has been done so far.
func (w *Writer) Stats() Stats { return w.stats }

// Idle tells that no file is under way.
func (w *Writer) Idle() bool { return w.file == nil }

// Old tells that the file under way has reached its age.
func (w *Writer) Old() bool { return w.file != nil && (w.due || w.old()) }

// Pending is how many octets wait in the buffer.
func (w *Writer) Pending() int { return len(w.buf) }

func (w *Writer) old() bool {
	return w.cfg.MaxAge > 0 && w.cfg.Now().Sub(w.opened) >= w.cfg.MaxAge
}

// writeOut writes the buffer with one write(2), behind the last whole
// message that was written: a message that got into the file only in part is
// written over by the next try.
func (w *Writer) writeOut() error {
	if len(w.buf) == 0 {
		return nil
	}
	n, err := w.file.WriteAt(w.buf, w.size)
	w.dirty = true
	w.due = w.due || w.old()
	if err == nil {
		w.size += int64(n)
		w.buf = w.buf[:0]
		return nil
	}
	whole := 0
	for whole < n {
		m := messageLen(w.buf[whole:])
		if whole+m > n {
			break
		}
		whole += m
	}
	w.size += int64(whole)
	w.buf = append(w.buf[:0], w.buf[whole:]...)
	w.torn = true
	return fmt.Errorf("%s: %d octets wait: %w", w.file.Name(), len(w.buf), plain(err))
}

// plain takes the path out of an error that is going to be reported with it.
func plain(err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err
	}
	return err
}
