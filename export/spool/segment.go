package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"ipfixsuite/ipfixfile"
)

const (
	prefix = "spool-"
	// serialLen digits are enough for a segment each millisecond for
	// thirty years; maxSerial bounds what they say.
	serialLen = 12
	maxSerial = 999_999_999_999
)

// A segment is one file. All segments but the last are finished.
type segment struct {
	serial  uint64
	path    string
	size    int64  // octets of whole messages
	records uint64 // Data Records of messages that were appended
	handed  uint64 // of these, given out by Next
	acked   uint64 // of these, marked by Ack
	void    uint64 // found corrupt
	passed  bool   // Next has come to its end
}

// unread is the number of records that Next has yet to give out.
func (g *segment) unread() uint64 { return g.records - min(g.records, g.handed+g.void) }

// done reports whether nothing in a finished segment is needed any more.
func (g *segment) done() bool { return g.unread() == 0 && g.acked >= g.handed }

func partName(dir string, serial uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%s%0*d%s%s", prefix, serialLen, serial, ipfixfile.Suffix, ipfixfile.PartSuffix))
}

// finishedName tells the number of records, so that Open need not read what
// was finished.
func finishedName(dir string, serial, records uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%s%0*d-%d%s", prefix, serialLen, serial, records, ipfixfile.Suffix))
}

// parseName reads what partName and finishedName make.
func parseName(name string) (serial, records uint64, part, ok bool) {
	rest, ok := strings.CutPrefix(name, prefix)
	if !ok {
		return 0, 0, false, false
	}
	rest, part = strings.CutSuffix(rest, ipfixfile.PartSuffix)
	rest, ok = strings.CutSuffix(rest, ipfixfile.Suffix)
	if !ok || len(rest) < serialLen {
		return 0, 0, false, false
	}
	serial, err := strconv.ParseUint(rest[:serialLen], 10, 64)
	if err != nil {
		return 0, 0, false, false
	}
	rest = rest[serialLen:]
	if part {
		return serial, 0, true, rest == ""
	}
	digits, ok := strings.CutPrefix(rest, "-")
	if !ok {
		return 0, 0, false, false
	}
	records, err = strconv.ParseUint(digits, 10, 48)
	return serial, records, false, err == nil
}

// list finds the segments of dir, those under way included, in order.
func (s *Spool) list() error {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		serial, records, part, ok := parseName(e.Name())
		if !ok || !e.Type().IsRegular() {
			continue
		}
		g := &segment{serial: serial, records: records, path: filepath.Join(s.dir, e.Name())}
		if part {
			if err := s.recoverPart(g); err != nil {
				return err
			}
		} else if info, err := e.Info(); err == nil {
			g.size = info.Size()
		}
		if g.records > 0 && g.size > 0 {
			s.segments = append(s.segments, g)
		} else if !part {
			_ = os.Remove(g.path) // there is nothing in it
		}
		s.serial = max(s.serial, serial)
	}
	slices.SortFunc(s.segments, func(a, b *segment) int { return int(int64(a.serial) - int64(b.serial)) })
	// A name taken twice can only be made by hand.
	for i := 1; i < len(s.segments); i++ {
		if s.segments[i].serial == s.segments[i-1].serial {
			return fmt.Errorf("%s and %s: two segments of one number", s.segments[i-1].path, s.segments[i].path)
		}
	}
	return nil
}

// recoverPart finishes a segment whose writer died: cut behind its last whole
// message, or removed if there is no record in it.
func (s *Spool) recoverPart(g *segment) error {
	info, err := os.Stat(g.path)
	if err != nil {
		return err
	}
	limit := info.Size()
	r, err := openReader(g, s.cfg.Registry, s.scratch())
	if err != nil {
		return err
	}
	defer r.close()
	var e Entry
	var end int64
	for r.next(limit, &e) {
		end = r.offset
	}
	g.size, g.records = end, r.records
	torn := limit - end
	s.stats.BytesTorn += uint64(torn)
	if g.records == 0 {
		s.cfg.Log.Info("spool segment without records removed", "segment", g.path, "torn", torn)
		return os.Remove(g.path)
	}
	if torn > 0 {
		if err := os.Truncate(g.path, end); err != nil {
			return err
		}
	}
	name := finishedName(s.dir, g.serial, g.records)
	if _, err := os.Lstat(name); err == nil {
		return fmt.Errorf("%s: %w", name, fs.ErrExist)
	}
	if err := os.Rename(g.path, name); err != nil {
		return err
	}
	g.path = name
	s.cfg.Log.Info("spool segment recovered", "segment", name, "records", g.records, "torn", torn, "skipped", r.skipped)
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
