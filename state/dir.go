package state

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// MaxFile bounds a file that is read, in octets: what a Write makes is far
// below it.
const MaxFile = 64 << 20

const (
	lockName = "lock"
	tmpName  = ".tmp"
)

var (
	// ErrBusy says that another process keeps its state in the folder.
	ErrBusy = errors.New("another process keeps its state there")
	// ErrExposed says that others than this process's user may read or write
	// a file, or put one into the folder, so that neither secrets nor contents
	// can be relied on.
	ErrExposed = errors.New("others may read or write it")
	// ErrTooLarge says that a file is larger than MaxFile.
	ErrTooLarge = errors.New("too large")
)

// A Dir is a folder of small files that belongs to one process at a time.
type Dir struct {
	root *os.Root
	lock *os.File
}

// Open opens the folder, makes it if need be (0700), and locks it. A folder
// that others can write to is refused: what they put there would be believed.
func Open(path string) (*Dir, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	if info, err := root.Stat("."); err != nil || info.Mode().Perm()&0o022 != 0 || !ours(info) {
		if err == nil {
			err = &fs.PathError{Op: "open", Path: path, Err: fmt.Errorf("%w (mode %04o)", ErrExposed, info.Mode().Perm())}
		}
		return nil, errors.Join(err, root.Close())
	}
	lock, err := root.OpenFile(lockName, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, errors.Join(err, root.Close())
	}
	// The lock goes with the process, however that ends.
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = ErrBusy
		}
		return nil, errors.Join(&fs.PathError{Op: "lock", Path: path, Err: err}, lock.Close(), root.Close())
	}
	return &Dir{root: root, lock: lock}, nil
}

// Read returns a file's octets, or none if there is no such file.
func (d *Dir) Read(name string) ([]byte, error) {
	f, err := d.root.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // was read only
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, &fs.PathError{Op: "read", Path: name, Err: fmt.Errorf("no regular file: %v", info.Mode().Type())}
	case info.Mode().Perm()&0o077 != 0 || !ours(info):
		return nil, &fs.PathError{Op: "read", Path: name, Err: fmt.Errorf("%w (mode %04o)", ErrExposed, info.Mode().Perm())}
	case info.Size() > MaxFile:
		return nil, &fs.PathError{Op: "read", Path: name, Err: fmt.Errorf("%w: %d octets", ErrTooLarge, info.Size())}
	}
	return io.ReadAll(io.LimitReader(f, MaxFile))
}

// ours says whether a file belongs to this process's user, or to root.
func ours(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && (st.Uid == 0 || int(st.Uid) == os.Geteuid())
}

// Write replaces a file (0600) as a whole: whoever reads it, also after the
// process was killed, sees the old one or the new one.
func (d *Dir) Write(name string, b []byte) error {
	tmp := name + tmpName
	// What is left of a process that was killed may have another mode.
	if err := d.root.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := d.root.OpenFile(tmp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Close()); err == nil {
		err = d.root.Rename(tmp, name)
	}
	if err != nil {
		return errors.Join(err, d.root.Remove(tmp))
	}
	return nil
}

// Close gives the folder free.
func (d *Dir) Close() error { return errors.Join(d.lock.Close(), d.root.Close()) }
