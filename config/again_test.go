package config

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/urfave/cli/v2"

	"ipfixsuite/transport/credentials"
)

func againFlags() []cli.Flag {
	return append([]cli.Flag{
		&cli.StringSliceFlag{Name: "to", EnvVars: Env("to")},
		&cli.DurationFlag{Name: "rotate", Value: 10 * time.Minute, DefaultText: "10m; for udp: 0", EnvVars: Env("rotate")},
		&cli.DurationFlag{Name: "idle-timeout", Value: 15 * time.Second, EnvVars: Env("idle-timeout")},
	}, Common()...)
}

// readings runs a command whose configuration file is rewritten under it.
func readings(t *testing.T, before, after string, args ...string) (old, now *cli.Context, err error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "a.toml")
	put := func(s string) {
		if err := os.WriteFile(file, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put(before)
	app := NewApp("prog", "a test", strings.NewReader(""), io.Discard, io.Discard, &cli.Command{
		Name: "run", Flags: againFlags(),
		Action: func(c *cli.Context) error {
			old = c
			put(after)
			now, err = Again(c, againFlags())
			return nil
		},
	})
	if code := Run(context.Background(), app, append([]string{"prog", "run", "--config", file}, args...)); code != ExitOK {
		t.Fatalf("exit code %d", code)
	}
	return old, now, err
}

// The file is read again; what stands on the command line or in the
// environment wins over it, as at the start.
func TestAgain(t *testing.T) {
	t.Setenv("IPFIX_IDLE_TIMEOUT", "7s")
	t.Setenv("IPFIX_LOG_FORMAT", "")
	old, now, err := readings(t, `to = ["udp://a", "udp://b"]
idle-timeout = "1s"
log-level = "warn"`, `to = ["udp://b", "udp://c"]
idle-timeout = "2s"
stats-every = "5m"
log-level = "error"`, "--log-level", "debug")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"udp://b", "udp://c"}, Values(now, "to")); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"udp://a", "udp://b"}, Values(old, "to")); diff != "" {
		t.Error(diff)
	}
	if now.String("log-level") != "debug" || now.Duration("idle-timeout") != 7*time.Second {
		t.Errorf("%s, %v", now.String("log-level"), now.Duration("idle-timeout"))
	}
	if diff := cmp.Diff([]string{"to", "stats-every"}, Changed(old, now)); diff != "" {
		t.Error(diff)
	}
}

func TestAgain_faulty(t *testing.T) {
	_, now, err := readings(t, `to = "udp://a"`, `too = "udp://a"`)
	if now != nil || err == nil || !strings.Contains(err.Error(), `a.toml:1: unknown key "too"`) {
		t.Errorf("%v, %v", now, err)
	}
}

// A value that equals the default is no change, unless the default is
// something else than a value.
func TestChanged(t *testing.T) {
	for _, c := range []struct {
		before, after string
		want          []string
	}{
		{``, ``, nil},
		{``, `log-format = "text"`, nil},
		{`idle-timeout = "15s"`, ``, nil},
		{``, `rotate = "10m"`, []string{"rotate"}},
		{`rotate = "10m"`, ``, []string{"rotate"}},
		{`rotate = "10m"`, `rotate = "5m"`, []string{"rotate"}},
		{`to = "udp://a"`, `to = ["udp://a"]`, nil},
		{`to = ["udp://a", "udp://b"]`, `to = ["udp://b", "udp://a"]`, []string{"to"}},
	} {
		old, now, err := readings(t, c.before, c.after)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.want, Changed(old, now)); diff != "" {
			t.Errorf("%q, %q: %s", c.before, c.after, diff)
		}
	}
}

func TestRefuse(t *testing.T) {
	var b bytes.Buffer
	got := Refuse(slog.New(slog.NewTextHandler(&b, nil)), []string{"source", "to", "spool"}, "to", "rotate")
	if diff := cmp.Diff([]string{"to"}, got); diff != "" {
		t.Error(diff)
	}
	for _, name := range []string{"--source", "--spool"} {
		if !strings.Contains(b.String(), `level=WARN msg="setting needs a restart: it stays as it was" setting=`+name+"\n") {
			t.Errorf("%s is not told:\n%s", name, b.String())
		}
	}
	if n := strings.Count(b.String(), "\n"); n != 2 {
		t.Errorf("%d lines", n)
	}
}

func TestLogError(t *testing.T) {
	var b bytes.Buffer
	LogError(slog.New(slog.NewTextHandler(&b, nil)), "it failed", WithHint("do this", errors.Join(errors.New("one"), errors.New("two"))))
	if !strings.Contains(b.String(), `level=ERROR msg="it failed" error="one; two" hint="do this"`) {
		t.Error(b.String())
	}
}

// Signals, looks and renewed files are followed one after the other until the
// context ends.
func TestFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		hup := make(chan struct{}, 1)
		var mu sync.Mutex
		var did []string
		note := func(what string, takes time.Duration) func() {
			return func() {
				if !mu.TryLock() {
					t.Error("two at a time")
					return
				}
				time.Sleep(takes)
				did = append(did, what)
				mu.Unlock()
			}
		}
		ended := make(chan struct{})
		go func() {
			Follow(ctx, hup, Following{
				Reload: note("reload", 90*time.Second), Look: note("look", time.Second), Every: time.Minute,
				Credentials: new(credentials.Holder), Watch: 30 * time.Second, Renewed: note("renewed", 0),
			}, slog.New(slog.DiscardHandler))
			close(ended)
		}()
		hup <- struct{}{}
		time.Sleep(5*time.Minute + 30*time.Second)
		cancel()
		<-ended
		if diff := cmp.Diff([]string{"reload", "look", "look", "look", "look", "look"}, did); diff != "" {
			t.Error(diff)
		}
		Follow(ctx, hup, Following{}, slog.New(slog.DiscardHandler)) // nothing to follow
	})
}
