package config

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// CheckSummary says at the start what WriteSummary would say at the end.
func CheckSummary(path string) error {
	if path == "" || path == "-" {
		return nil
	}
	switch info, err := os.Stat(path); {
	case err == nil && info.IsDir():
		return WithHint("name a file", FileError("--summary "+path, errors.New("is a directory")))
	case err == nil && !info.Mode().IsRegular():
		return nil
	}
	if err := Writable(filepath.Dir(path)); err != nil {
		return FileError("--summary "+path, err)
	}
	return nil
}

// Writable says whether files can be made in a directory, by making one.
func Writable(dir string) error {
	f, err := os.CreateTemp(dir, ".writable-*")
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// WriteSummary writes v as one JSON object to path, whole or not at all; "-"
// is standard output, "" nothing.
func WriteSummary(stdout io.Writer, path string, v any) error {
	if path == "" {
		return nil
	}
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	b = append(b, '\n')
	if path == "-" {
		_, err = stdout.Write(b)
		return err
	}
	if err := replace(path, b); err != nil {
		return FileError("--summary "+path, err)
	}
	return nil
}

// replace writes a file beside and renames it; what is no file, such as a
// device or a pipe, is written to.
func replace(path string, b []byte) error {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return os.WriteFile(path, b, 0)
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".summary-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(tmp.Name()) }() // gone already when renamed
	_, err = tmp.Write(b)
	if err = errors.Join(err, tmp.Chmod(0o644), tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}
