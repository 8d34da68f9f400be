package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Free space below which a directory is worth a warning, and fails.
const (
	fewOctets, noOctets = 1 << 30, 16 << 20
	fewFiles            = 1000
)

// Dir sees whether files can be written in a directory, or in the one that
// would hold it, by writing one and taking it away again, and how much space
// there is. private: others must not look into it.
func Dir(s *Section, step, dir string, private bool) {
	at, exists := dir, true
	for {
		info, err := os.Stat(at)
		if err == nil && !info.IsDir() {
			s.Fail(step, "name a directory", "%s is none", at)
			return
		}
		if err == nil {
			if exists && private && info.Mode().Perm()&0o077 != 0 {
				s.Fail(step, "chmod 700 "+dir, "%s is open to others (%v), and secrets are kept there", dir, info.Mode().Perm())
				return
			}
			break
		}
		if up := filepath.Dir(at); errors.Is(err, fs.ErrNotExist) && up != at {
			at, exists = up, false
			continue
		}
		s.Fail(step, hintUser(), "%v", err)
		return
	}
	if err := trial(at); err != nil {
		s.Fail(step, hintUser(), "%s: nothing can be written: %v", dir, under(err))
		return
	}
	said := "can be written"
	if !exists {
		said = "will be made in " + at + ", which can be written"
	}
	octets, files, known := space(at)
	switch {
	case !known:
		s.OK(step, "%s %s", dir, said)
	case octets < noOctets || files == 0:
		s.Fail(step, "make room: df -h "+at+", df -i "+at, "%s %s, and is full: %s free", dir, said, size(octets))
	case octets < fewOctets || files >= 0 && files < fewFiles:
		s.Warn(step, "make room: df -h "+at+", df -i "+at, "%s %s, %s free", dir, said, size(octets))
	default:
		s.OK(step, "%s %s, %s free", dir, said, size(octets))
	}
}

func hintUser() string { return fmt.Sprintf("this process runs as user %d", os.Geteuid()) }

// trial writes a file to the disk and removes it.
func trial(dir string) (err error) {
	f, err := os.CreateTemp(dir, ".doctor-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	if _, err = f.Write(make([]byte, 4096)); err != nil {
		return err
	}
	return f.Sync()
}

// under is an error without the name of the trial file.
func under(err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return pe.Err
	}
	return err
}

func size(n uint64) string {
	for _, u := range []struct {
		shift uint
		name  string
	}{{40, "TiB"}, {30, "GiB"}, {20, "MiB"}} {
		if n >= 1<<u.shift {
			return fmt.Sprintf("%.1f %s", float64(n)/float64(uint64(1)<<u.shift), u.name)
		}
	}
	return fmt.Sprintf("%d octets", n)
}
