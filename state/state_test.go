package state

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func open(t *testing.T, path string) *Dir {
	t.Helper()
	d, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func TestDir_ReplacesWhole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "b")
	d := open(t, path)
	if b, err := d.Read("x"); b != nil || err != nil {
		t.Errorf("%q, %v of no file", b, err)
	}
	// What a killed process left behind is in nobody's way.
	if err := os.WriteFile(filepath.Join(path, "x.tmp"), []byte("half"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{"one", "two and more", ""} {
		if err := d.Write("x", []byte(s)); err != nil {
			t.Fatal(err)
		}
		if b, err := d.Read("x"); string(b) != s || err != nil {
			t.Errorf("%q, %v, want %q", b, err, s)
		}
	}
	for name, want := range map[string]os.FileMode{"": 0o700, "x": 0o600, "lock": 0o600} {
		if info, err := os.Stat(filepath.Join(path, name)); err != nil || info.Mode().Perm() != want {
			t.Errorf("%q: %v, %v", name, info.Mode(), err)
		}
	}
	if files, _ := os.ReadDir(path); len(files) != 2 {
		t.Errorf("%v", files)
	}
}

func TestDir_OneProcessAtATime(t *testing.T) {
	path := t.TempDir()
	d := open(t, path)
	if _, err := Open(path); !errors.Is(err, ErrBusy) {
		t.Errorf("a second one: %v", err)
	}
	d.Close()
	open(t, path)
}

func TestDir_Refuses(t *testing.T) {
	path := t.TempDir()
	d := open(t, path)
	if err := d.Write("x", []byte("secret")); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(path, "x"), 0o640); err != nil {
		t.Fatal(err)
	}
	if b, err := d.Read("x"); !errors.Is(err, ErrExposed) || b != nil {
		t.Errorf("%q, %v", b, err)
	}
	if err := os.Truncate(filepath.Join(path, "lock"), MaxFile+1); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Read("lock"); !errors.Is(err, ErrTooLarge) {
		t.Error(err)
	}
	if err := os.Mkdir(filepath.Join(path, "y"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Read("y"); err == nil {
		t.Error("a folder was read")
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(path, "z")); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Read("z"); err == nil {
		t.Error("a link led out of the folder")
	}
	if err := os.Chmod(path, 0o770); err != nil {
		t.Fatal(err)
	}
	d.Close()
	if _, err := Open(path); !errors.Is(err, ErrExposed) {
		t.Errorf("a folder that others can write to: %v", err)
	}
	if err := os.Chmod(path, 0o755); err != nil {
		t.Fatal(err)
	}
	d = open(t, path)
	if err := os.Chmod(filepath.Join(path, "x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if b, err := d.Read("x"); string(b) != "secret" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
	if os.Geteuid() == 0 {
		if err := os.Chown(filepath.Join(path, "x"), 65534, 65534); err != nil {
			t.Fatal(err)
		}
		if _, err := d.Read("x"); !errors.Is(err, ErrExposed) {
			t.Errorf("a file that another owns: %v", err)
		}
	}
	if _, err := Open(filepath.Join(path, "x", "below")); err == nil {
		t.Error("below a file")
	}
}

func TestKeeper_SavesWhatChanged(t *testing.T) {
	d := open(t, t.TempDir())
	var changes, saves atomic.Uint64
	var busy atomic.Bool
	k := Keep(d, slog.New(slog.DiscardHandler), File{
		Name: "n", Every: time.Millisecond, Changes: changes.Load,
		Append: func(dst []byte) ([]byte, bool) {
			saves.Add(1)
			return fmt.Append(dst, changes.Load()), !busy.Load()
		},
	})
	holds := func(want string) bool {
		for range 1000 {
			if b, _ := d.Read("n"); string(b) == want {
				return true
			}
			time.Sleep(5 * time.Millisecond)
		}
		return false
	}
	changes.Store(1)
	if !holds("1") {
		t.Error("the first change is not kept")
	}
	n := saves.Load()
	time.Sleep(50 * time.Millisecond)
	if saves.Load() != n {
		t.Error("saved without a change")
	}
	busy.Store(true)
	changes.Store(2)
	for saves.Load() < n+3 {
		time.Sleep(time.Millisecond)
	}
	if b, _ := d.Read("n"); string(b) != "1" {
		t.Errorf("%q while the state cannot be had", b)
	}
	busy.Store(false)
	if !holds("2") {
		t.Error("not asked again")
	}
	changes.Store(3)
	if err := k.Close(); err != nil || !holds("3") {
		t.Errorf("at the end: %v", err)
	}
	if err := k.Close(); err != nil {
		t.Error(err)
	}
}

func TestKeeper_TellsOnce(t *testing.T) {
	path := t.TempDir()
	d := open(t, path)
	if err := os.Mkdir(filepath.Join(path, "n.tmp"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(path, "n.tmp", "x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	var changes, asked atomic.Uint64
	k := Keep(d, slog.New(slog.NewTextHandler(&log, nil)), File{
		Name: "n", Every: time.Millisecond, Changes: changes.Load,
		Append: func(dst []byte) ([]byte, bool) { asked.Add(1); return append(dst, "x"...), true },
	})
	for changes.Store(1); asked.Load() < 5; {
		time.Sleep(time.Millisecond)
	}
	if err := k.Close(); err == nil {
		t.Error("the end is told to be good")
	}
	if n := strings.Count(log.String(), "state is not kept"); n != 1 {
		t.Errorf("told %d times:\n%s", n, log.String())
	}
}
