package config

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/urfave/cli/v2"
)

func TestSummary(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "s.json")
	sum := map[string]int{"records_sent": 3}
	var out bytes.Buffer
	for _, p := range []string{"", "-", path, path} {
		if err := CheckSummary(p); err != nil {
			t.Error(err)
		}
		if err := WriteSummary(&out, p, sum); err != nil {
			t.Error(err)
		}
	}
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range [][]byte{out.Bytes(), file} {
		var got map[string]int
		if err := json.Unmarshal(b, &got); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(sum, got); diff != "" {
			t.Error(diff)
		}
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("%d files, not 1", len(left))
	}
	for _, p := range []string{dir, filepath.Join(dir, "no", "s.json")} {
		if err := CheckSummary(p); err == nil {
			t.Errorf("%s: no error", p)
		}
		if err := WriteSummary(&out, p, sum); err == nil || !strings.HasPrefix(err.Error(), "--summary "+p+": ") {
			t.Errorf("%s: %v", p, err)
		}
	}
}

// A device is written to, not replaced by a file.
func TestSummaryDevice(t *testing.T) {
	link := filepath.Join(t.TempDir(), "null")
	if err := os.Symlink("/dev/null", link); err != nil {
		t.Fatal(err)
	}
	if err := CheckSummary(link); err != nil {
		t.Error(err)
	}
	if err := WriteSummary(io.Discard, link, 1); err != nil {
		t.Error(err)
	}
	if got, err := os.Readlink(link); err != nil || got != "/dev/null" {
		t.Errorf("%s, %v", got, err)
	}
}

func TestLogger(t *testing.T) {
	for _, row := range []struct{ level, format, want string }{
		{"info", "text", "level=INFO msg=x"},
		{"WARN", "json", ""},
		{"debug", "JSON", `"msg":"x"`},
	} {
		var b strings.Builder
		level := new(slog.LevelVar)
		l, err := parseLevel(row.level)
		if err != nil {
			t.Fatal(err)
		}
		level.Set(l)
		log, err := logger(&b, level, row.format)
		if err != nil {
			t.Fatal(err)
		}
		log.Info("x")
		if !strings.Contains(b.String(), row.want) || row.want == "" && b.Len() > 0 {
			t.Errorf("%v: %s", row, b.String())
		}
	}
	for _, bad := range []string{"loud", ""} {
		if _, err := parseLevel(bad); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
	if _, err := logger(io.Discard, slog.LevelInfo, "xml"); err == nil {
		t.Error("xml: no error")
	}
}

func TestEvery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		stop := Every(time.Minute, func() { n++ })
		time.Sleep(5*time.Minute + time.Second)
		stop()
		stop()
		time.Sleep(time.Hour)
		if n != 5 {
			t.Errorf("%d calls, not 5", n)
		}
		Every(0, func() { t.Error("called") })()
	})
}

// The first SIGTERM ends the context, SIGHUP comes by a channel and ends
// nothing, also where nohup has it ignored. That the second SIGTERM ends the
// process, the scripts of the programs show.
func TestSignals(t *testing.T) {
	kill := func(s syscall.Signal) {
		if err := syscall.Kill(os.Getpid(), s); err != nil {
			t.Fatal(err)
		}
	}
	for _, start := range []struct {
		name string
		with func(...os.Signal)
	}{{"plain", signal.Reset}, {"nohup", signal.Ignore}} {
		t.Run(start.name, func(t *testing.T) {
			defer signal.Reset(syscall.SIGHUP)
			start.with(syscall.SIGHUP)
			told := make(chan string, 8)
			log := slog.New(slog.NewTextHandler(writer(func(b []byte) { told <- string(b) }), nil))
			ctx, hup, stop := Signals(t.Context(), log)
			defer stop()
			kill(syscall.SIGHUP)
			select {
			case <-hup:
			case <-time.After(time.Minute):
				t.Fatal("SIGHUP does not come")
			}
			if ctx.Err() != nil {
				t.Error(ctx.Err())
			}
			kill(syscall.SIGTERM)
			if got := <-told; !strings.Contains(got, "signal=SIGTERM") {
				t.Error(got)
			}
			<-ctx.Done()
		})
	}
}

// A signal to stop that comes twice within 50 ms is one: timeout(1) sends it to
// the process and to its group. A later one ends the process.
func TestSettle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got, ended := make(chan os.Signal, 4), make(chan struct{})
		start := time.Now()
		got <- syscall.SIGTERM
		time.AfterFunc(settling-time.Millisecond, func() { got <- os.Interrupt })
		time.AfterFunc(settling+time.Millisecond, func() { got <- syscall.SIGTERM })
		if settle(got, ended); time.Since(start) != settling || len(got) != 0 {
			t.Errorf("settled after %s, %d left", time.Since(start), len(got))
		}
		if s := <-got; s != syscall.SIGTERM {
			t.Error(s)
		}
		close(ended)
		start = time.Now()
		if settle(got, ended); time.Since(start) != 0 {
			t.Error("waits though the program has ended")
		}
	})
}

// A SIGHUP while the program begins ends nothing and reloads nothing.
func TestHold(t *testing.T) {
	arrived := make(chan os.Signal, 1)
	hangUp := func() {
		if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		<-arrived
	}
	release := Hold()
	signal.Notify(arrived, syscall.SIGHUP)
	defer signal.Stop(arrived)
	hangUp()
	_, hup, stop := Signals(t.Context(), slog.New(slog.DiscardHandler))
	defer stop()
	release()
	select {
	case <-hup:
		t.Error("reloads what it is about to read")
	default:
	}
	hangUp()
	<-hup
}

type writer func(b []byte)

func (w writer) Write(b []byte) (int, error) { w(b); return len(b), nil }

func TestComplete(t *testing.T) {
	app := NewApp("prog", "", nil, io.Discard, io.Discard,
		&cli.Command{Name: "serve", Flags: append(Common(), Security()...)},
		&cli.Command{Name: "pki", Subcommands: []*cli.Command{{Name: "init"}, {Name: "issue"}}})
	for _, row := range []struct {
		words []string
		want  []string
	}{
		{nil, nil},
		{[]string{""}, []string{"completion", "pki", "serve"}},
		{[]string{"p"}, []string{"pki"}},
		{[]string{"pki", "i"}, []string{"init", "issue"}},
		{[]string{"serve", "--log"}, []string{"--log-format", "--log-level"}},
		{[]string{"serve", "--log-level", ""}, []string{"debug", "error", "info", "warn"}},
		{[]string{"serve", "--log-level", "info", "--log"}, []string{"--log-format"}},
		{[]string{"serve", "--insecure", ""}, []string{}},
		{[]string{"serve", "--summary", ""}, []string{}},
		{[]string{"serve", "--he"}, []string{"--help"}},
		{[]string{"unknown", "--x"}, []string{}},
	} {
		got := complete(app, row.words)
		if len(got) == 0 && len(row.want) == 0 {
			continue
		}
		if diff := cmp.Diff(row.want, got); diff != "" {
			t.Errorf("%q: %s", row.words, diff)
		}
	}
}
