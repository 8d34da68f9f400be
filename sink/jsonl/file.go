package jsonl

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	suffix     = ".jsonl"
	partSuffix = ".part"
	nameTime   = "20060102T150405Z"
	maxSerial  = 1000000
)

// A file under way; on disk it is called name + partSuffix.
type file struct {
	f      *os.File
	name   string
	opened time.Time
	size   int64
	lines  int64 // size up to the last whole line
}

// create begins a file under a name that is neither taken nor being written
// by another process.
func create(dir string, now time.Time, sync bool) (*file, error) {
	stem := filepath.Join(dir, "flows-"+now.UTC().Format(nameTime))
	for serial := range maxSerial {
		name := fmt.Sprintf("%s-%06d%s", stem, serial, suffix)
		f, err := os.OpenFile(name+partSuffix, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		// Looked at after NAME.part is ours: only its owner makes NAME.
		if _, err := os.Lstat(name); err == nil {
			if err := errors.Join(f.Close(), os.Remove(name+partSuffix)); err != nil {
				return nil, err
			}
			continue
		}
		if lock(f) != nil || !stillNamed(f) { // another process recovers it
			f.Close()
			continue
		}
		if sync {
			if err := syncDir(dir); err != nil {
				return nil, errors.Join(err, f.Close(), os.Remove(name+partSuffix))
			}
		}
		return &file{f: f, name: name, opened: now}, nil
	}
	return nil, fmt.Errorf("%s: no free file name", stem)
}

// stillNamed tells whether f's name leads to f.
func stillNamed(f *os.File) bool {
	open, err := f.Stat()
	if err != nil {
		return false
	}
	named, err := os.Lstat(f.Name())
	return err == nil && os.SameFile(open, named)
}

func (f *file) wrote(b []byte) {
	if i := bytes.LastIndexByte(b, '\n'); i >= 0 {
		f.lines = f.size + int64(i) + 1
	}
	f.size += int64(len(b))
}

func (f *file) due(cfg Config) bool {
	return cfg.MaxBytes > 0 && f.size >= cfg.MaxBytes ||
		cfg.MaxAge > 0 && time.Since(f.opened) >= cfg.MaxAge
}

// finish gives the file its name. A line that was written in part, since the
// disk was full to the end, is cut off; a file without lines is removed.
func (f *file) finish(sync bool) error {
	part := f.name + partSuffix
	if f.lines == 0 {
		return errors.Join(f.f.Close(), os.Remove(part))
	}
	var err error
	if f.lines < f.size {
		err = f.f.Truncate(f.lines)
	}
	if sync && err == nil {
		err = f.f.Sync()
	}
	if err == nil {
		err = os.Rename(part, f.name)
	}
	if sync && err == nil {
		err = syncDir(filepath.Dir(f.name))
	}
	return errors.Join(err, f.f.Close())
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// recoverFiles finishes the files of processes that died, and says how many.
func recoverFiles(dir string, log *slog.Logger) (n int, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0, err
	}
	for _, e := range entries {
		if !e.Type().IsRegular() || !strings.HasSuffix(e.Name(), suffix+partSuffix) {
			continue
		}
		part := filepath.Join(dir, e.Name())
		switch done, err := recoverFile(part); {
		case err != nil:
			log.Warn("file not recovered", "file", part, "error", err)
		case done:
			log.Info("file recovered", "file", strings.TrimSuffix(part, partSuffix))
			n++
		}
	}
	return n, nil
}

// recoverFile finishes one file, unless a living process writes it.
func recoverFile(part string) (done bool, err error) {
	h, err := os.OpenFile(part, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil // finished meanwhile
	}
	if err != nil {
		return false, err
	}
	if lock(h) != nil || !stillNamed(h) {
		return false, h.Close()
	}
	name := strings.TrimSuffix(part, partSuffix)
	if _, err := os.Lstat(name); err == nil {
		h.Close()
		return false, fmt.Errorf("%s: %w", name, fs.ErrExist)
	}
	f := &file{f: h, name: name}
	if f.size, err = h.Seek(0, io.SeekEnd); err == nil {
		f.lines, err = wholeLines(h, f.size)
	}
	if err != nil {
		h.Close()
		return false, err
	}
	return f.lines > 0, f.finish(true)
}

// wholeLines is where the last line that ends in the first size octets ends.
func wholeLines(r io.ReaderAt, size int64) (int64, error) {
	var block [64 << 10]byte
	for end := size; end > 0; {
		start := max(0, end-int64(len(block)))
		b := block[:end-start]
		if _, err := r.ReadAt(b, start); err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		if i := bytes.LastIndexByte(b, '\n'); i >= 0 {
			return start + int64(i) + 1, nil
		}
		end = start
	}
	return 0, nil
}
