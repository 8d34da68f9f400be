package ipfixfile

import (
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// nameTime is the part of a file's name that says when it was begun, in UTC;
// made so that names sort by time and need no quoting.
const nameTime = "20060102T150405Z"

// maxName bounds what SafeName returns, so that time, serial and suffixes
// still fit the 255 octets of a file name.
const maxName = 120

// SafeName makes a file name of an exporter's identity: letters, digits,
// dots, dashes and underscores stay; whatever is changed or too long gets a
// hash of the original appended, so that different identities keep different
// names.
func SafeName(identity string) string {
	safe := strings.Map(func(r rune) rune {
		if safeRune(r) {
			return r
		}
		return '_'
	}, identity)
	if strings.HasPrefix(safe, ".") || safe == "" {
		safe = "_" + safe
	}
	if safe == identity && len(safe) <= maxName {
		return safe
	}
	h := fnv.New32a()
	h.Write([]byte(identity)) // never fails
	return fmt.Sprintf("%s~%08x", safe[:min(len(safe), maxName-9)], h.Sum32())
}

// validPrefix holds for what SafeName returns.
func validPrefix(p string) bool {
	return p != "" && len(p) <= maxName && p[0] != '.' && !strings.ContainsFunc(p, func(r rune) bool {
		return !safeRune(r) && r != '~'
	})
}

func safeRune(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' ||
		r == '-' || r == '_' || r == '.'
}

// open begins the next file: under a name that is neither taken nor being
// written by another process.
func (w *Writer) open() error {
	now := w.cfg.Now()
	stem := filepath.Join(w.cfg.Dir, w.cfg.Prefix+"-"+now.UTC().Format(nameTime))
	for serial := range maxSerial {
		name := fmt.Sprintf("%s-%06d%s", stem, serial, Suffix)
		f, err := os.OpenFile(name+PartSuffix, os.O_CREATE|os.O_EXCL|os.O_RDWR, w.cfg.Mode)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return err
		}
		// Only who holds NAME.part may make NAME: looked at after, not
		// before, it stays free.
		if _, err := os.Lstat(name); err == nil {
			f.Close()
			if err := os.Remove(name + PartSuffix); err != nil {
				return err
			}
			continue
		}
		if lock(f) != nil || !stillNamed(f) { // Recover was faster
			f.Close()
			continue
		}
		if w.cfg.Sync {
			if err := syncDir(w.cfg.Dir); err != nil {
				return errors.Join(err, f.Close(), os.Remove(f.Name()))
			}
		}
		w.file, w.name, w.opened = f, name, now
		w.size, w.torn, w.due, w.dirty = 0, false, false, false
		w.segment++
		return nil
	}
	return fmt.Errorf("%s: no free file name", stem)
}

// stillNamed tells whether f's name still leads to f.
func stillNamed(f *os.File) bool {
	open, err := f.Stat()
	if err != nil {
		return false
	}
	named, err := os.Lstat(f.Name())
	return err == nil && os.SameFile(open, named)
}

// finish gives the file its name. A file without a message is removed.
func (w *Writer) finish() error {
	f, part := w.file, w.file.Name()
	w.file = nil
	if w.size == 0 {
		return errors.Join(f.Close(), os.Remove(part))
	}
	var err error
	if w.torn {
		err = f.Truncate(w.size)
	}
	if w.cfg.Sync && err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = os.Rename(part, w.name)
	}
	if w.cfg.Sync && err == nil {
		err = syncDir(w.cfg.Dir)
	}
	w.stats.Files++
	return errors.Join(err, f.Close())
}

// Recovered tells what Recover did with one file.
type Recovered struct {
	Name  string // of the finished file; empty when there was no whole message in it
	Part  string
	Size  int64 // octets of whole messages kept
	Torn  int64 // octets cut off behind them
	Error error // the file could not be recovered and stays as it is
}

// Recover finishes what processes that died left in dir: each NAME.part is
// cut behind its last whole message and gets its name, an empty one is
// removed. Files that a living process writes are left alone.
func Recover(dir string) ([]Recovered, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var done []Recovered
	for _, e := range entries {
		if !e.Type().IsRegular() || !strings.HasSuffix(e.Name(), Suffix+PartSuffix) {
			continue
		}
		if r, ok := recoverFile(filepath.Join(dir, e.Name())); ok {
			done = append(done, r)
		}
	}
	if len(done) > 0 {
		err = syncDir(dir)
	}
	return done, err
}

func recoverFile(part string) (r Recovered, ok bool) {
	r.Part = part
	f, err := os.OpenFile(part, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return r, false // finished meanwhile
	}
	if err != nil {
		r.Error = err
		return r, true
	}
	defer f.Close()
	if lock(f) != nil {
		return r, false // somebody writes it
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		r.Error = err
		return r, true
	}
	r.Size = wholeMessages(f, size)
	r.Torn = size - r.Size
	if r.Size == 0 {
		r.Error = os.Remove(part)
		return r, true
	}
	if r.Torn > 0 {
		r.Error = f.Truncate(r.Size)
	}
	if r.Error == nil {
		r.Error = f.Sync()
	}
	name := strings.TrimSuffix(part, PartSuffix)
	if _, err := os.Lstat(name); err == nil {
		r.Error = fmt.Errorf("%s: %w", name, fs.ErrExist)
	}
	if r.Error == nil {
		r.Error = os.Rename(part, name)
	}
	if r.Error == nil {
		r.Name = name
	}
	return r, true
}

// wholeMessages is the length of the stretch of whole messages that src
// starts with.
func wholeMessages(src io.ReaderAt, size int64) int64 {
	r := NewReader(io.NewSectionReader(src, 0, size))
	var end int64
	for {
		msg, err := r.Next()
		if err != nil {
			return end
		}
		end = r.Offset() + int64(len(msg))
	}
}

// List returns the finished files of a series in the order in which they
// were begun.
func List(dir, prefix string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		rest, ok := strings.CutPrefix(e.Name(), prefix+"-")
		if !ok || !e.Type().IsRegular() || len(rest) != len(nameTime)+len("-000000"+Suffix) || !strings.HasSuffix(rest, Suffix) {
			continue
		}
		names = append(names, filepath.Join(dir, e.Name()))
	}
	slices.Sort(names)
	return names, nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
