package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestReport(t *testing.T) {
	lost := errors.New("no session for 30s")
	for _, row := range []struct {
		name string
		err  error
		want string
		code int
	}{
		{"none", nil, "", 0},
		{"one line", lost, "exporter: no session for 30s\n", 1},
		{"usage", Usage("", "--to is missing"), "exporter: --to is missing\n", 2},
		{"hint", Usage("--to URL", "--to is missing"), "exporter: --to is missing\nhint: --to URL\n", 2},
		{"hint of what happened", WithHint("look there", lost), "exporter: no session for 30s\nhint: look there\n", 1},
		{"hint behind a layer", fmt.Errorf("run: %w", WithHint("look there", lost)), "exporter: run: no session for 30s\nhint: look there\n", 1},
		{"hint of the error within", &UsageError{Err: WithHint("look there", lost)}, "exporter: no session for 30s\nhint: look there\n", 2},
		{"joined", errors.Join(lost, fs.ErrClosed), "exporter: no session for 30s; file already closed\n", 1},
		{"the same twice", errors.Join(lost, errors.Join(lost, nil)), "exporter: no session for 30s\n", 1},
		{"said within another", errors.Join(lost, fmt.Errorf("close: %w", lost)), "exporter: close: no session for 30s\n", 1},
		{"control characters", errors.New("name \x1b[2Jx\ty"), "exporter: name \\x1b[2Jx\\x09y\n", 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			var b strings.Builder
			if code := Report(&b, "exporter", row.err); code != row.code {
				t.Errorf("exit code %d, not %d", code, row.code)
			}
			if diff := cmp.Diff(row.want, b.String()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestFileError(t *testing.T) {
	there := t.TempDir()
	var got error
	for path, hint := range map[string]string{
		"absent/x":                          "working directory",
		filepath.Join(there, "x"):           "",
		filepath.Join(there, "absent", "x"): "no directory " + filepath.Join(there, "absent"),
	} {
		_, err := os.Open(path)
		got = FileError("--config x", err)
		if got.Error() != "--config x: no such file or directory" || !strings.Contains(hintOf(got), hint) || (hint == "") != (hintOf(got) == "") {
			t.Errorf("%s: %v, hint %q", path, got, hintOf(got))
		}
	}
	if !errors.Is(got, fs.ErrNotExist) {
		t.Error("the cause is lost")
	}
	got = FileError("--sink json:d", &fs.PathError{Op: "open", Path: "d", Err: syscall.EACCES})
	if got.Error() != "--sink json:d: permission denied" || !strings.Contains(hintOf(got), "user") {
		t.Errorf("%v, hint %q", got, hintOf(got))
	}
}

func TestNearest(t *testing.T) {
	names := []string{"listen", "sink", "log-level", "log-format", "allow"}
	for s, want := range map[string]string{
		"lisen": "listen", "lsiten": "listen", "snik": "sink", "loglevel": "log-level",
		"spool": "", "x": "", "": "", "sinks": "sink",
	} {
		if got := nearest(s, names); got != want {
			t.Errorf("%q: %q, not %q", s, got, want)
		}
	}
}
