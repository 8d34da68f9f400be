package config

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/urfave/cli/v2"
)

// seen is what a command gets to see of its flags.
type seen struct {
	Listen    []string
	Name      string
	Count     uint
	Rate      float64
	Every     time.Duration
	Sync      bool
	Set, Told bool
}

// try runs a program with one command on args and returns what it saw and
// what was printed.
func try(t *testing.T, args ...string) (*seen, string) {
	t.Helper()
	var got *seen
	var out strings.Builder
	app := NewApp("prog", "a test", strings.NewReader(""), io.Discard, &out, &cli.Command{
		Name: "run",
		Flags: []cli.Flag{
			&cli.StringSliceFlag{Name: "listen", EnvVars: Env("listen")},
			&cli.StringFlag{Name: "name", Value: "none", EnvVars: Env("name")},
			&cli.UintFlag{Name: "count", Value: 1, EnvVars: Env("count")},
			&cli.Float64Flag{Name: "max-rate", EnvVars: Env("max-rate")},
			&cli.DurationFlag{Name: "every", Value: time.Second, EnvVars: Env("every")},
			&cli.BoolFlag{Name: "sync", EnvVars: Env("sync")},
			&cli.StringFlag{Name: "config", EnvVars: Env("config")},
		},
		Action: func(c *cli.Context) error {
			got = &seen{
				Listen: Values(c, "listen"), Name: c.String("name"), Count: c.Uint("count"), Rate: c.Float64("max-rate"),
				Every: c.Duration("every"), Sync: c.Bool("sync"), Set: c.IsSet("count"), Told: true,
			}
			return nil
		},
	})
	code := Run(context.Background(), app, append([]string{"prog", "run"}, args...))
	if (code == ExitOK) != (got != nil) {
		t.Fatalf("exit code %d, action reached: %v", code, got != nil)
	}
	if code != ExitOK && code != ExitUsage {
		t.Fatalf("exit code %d", code)
	}
	return got, out.String()
}

func writeConfig(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "c.toml")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestPrecedence(t *testing.T) {
	file := writeConfig(t, `
listen = ["udp://a", "udp://b"]
name = "file"
count = 7
max-rate = 2
every = "3s"
sync = true
`)
	base := seen{Listen: []string{"udp://a", "udp://b"}, Name: "file", Count: 7, Rate: 2, Every: 3 * time.Second, Sync: true, Set: true, Told: true}
	for _, row := range []struct {
		name string
		env  map[string]string
		args []string
		want func(s *seen)
	}{
		{"defaults", nil, nil, func(s *seen) { *s = seen{Name: "none", Count: 1, Every: time.Second, Told: true} }},
		{"file", nil, []string{"--config", file}, func(*seen) {}},
		{"file named by the environment", map[string]string{"CONFIG": file}, nil, func(*seen) {}},
		{
			"environment over file", map[string]string{"NAME": "env", "SYNC": "false", "COUNT": "9", "LISTEN": "udp://c"},
			[]string{"--config", file}, func(s *seen) { s.Name, s.Sync, s.Count, s.Listen = "env", false, 9, []string{"udp://c"} },
		},
		{"several values in the environment", map[string]string{"LISTEN": " udp://c\tudp://d "}, []string{"--config", file}, func(s *seen) { s.Listen = []string{"udp://c", "udp://d"} }},
		{"an empty variable is none", map[string]string{"NAME": "", "COUNT": "", "LISTEN": ""}, []string{"--config", file}, func(*seen) {}},
		{
			"flag over environment and file", map[string]string{"NAME": "env", "EVERY": "9s", "LISTEN": "udp://c"},
			[]string{"--config", file, "--name", "flag", "--every", "5s", "--listen", "udp://e", "--sync=false"},
			func(s *seen) { s.Name, s.Every, s.Listen, s.Sync = "flag", 5*time.Second, []string{"udp://e"}, false },
		},
		{"commas part nothing", nil, []string{"--config", file, "--listen", "a,b"}, func(s *seen) { s.Listen = []string{"a,b"} }},
	} {
		t.Run(row.name, func(t *testing.T) {
			for k, v := range row.env {
				t.Setenv(envPrefix+k, v)
			}
			want := base
			row.want(&want)
			got, out := try(t, row.args...)
			if out != "" || got == nil {
				t.Fatal(out)
			}
			if diff := cmp.Diff(&want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestBadFile(t *testing.T) {
	for _, row := range []struct{ name, text, want string }{
		{"unknown key", "name = \"a\"\n\nnaem = 1", "C:3: unknown key \"naem\"\nhint: did you mean name? keys are the flags of this command without the dashes; --help shows them\n"},
		{"table", "name = \"a\"\n[server]\nname = \"b\"", "C:2: unknown key \"server\"\n"},
		{"table of a flag's name", "[listen]\nx = 1", "C:1: listen: want a list of texts, [\"…\", \"…\"]\n"},
		{"dotted key", "name.x = 1", "C:1: name: want a text in quotes\n"},
		{"config within", "config = \"x\"", "C:1: unknown key \"config\"\n"},
		{"number for a text", "name = 5", "C:1: name: want a text in quotes\n"},
		{"list for a text", "name = [\"a\"]", "C:1: name: want a text in quotes\n"},
		{"number for a time", "every = 5", "C:1: every: want a time in quotes, such as \"30s\" or \"5m\"\n"},
		{"no time", "every = \"soon\"", "C:1: every: want a time in quotes, such as \"30s\" or \"5m\"\n"},
		{"negative for unsigned", "count = -1", "C:1: count: want a whole number from 0 on\n"},
		{"fraction for whole", "count = 1.5", "C:1: count: want a whole number from 0 on\n"},
		{"text for a number", "max-rate = \"1\"", "C:1: max-rate: want a number\n"},
		{"not a number", "max-rate = nan", "C:1: max-rate: want a number\n"},
		{"text for true or false", "# x\nsync = \"yes\"", "C:2: sync: want true or false\n"},
		{"mixed list", "listen = [\"a\", 1]", "C:1: listen: want a list of texts, [\"…\", \"…\"]\n"},
		{"syntax", "name = \"a\nsync = true", "C:1:"},
		{"not UTF-8", "name = \"\xff\"", "C:1:"},
		{"twice", "name = \"a\"\nname = \"b\"", "C:2:"},
	} {
		t.Run(row.name, func(t *testing.T) {
			file := writeConfig(t, row.text)
			got, out := try(t, "--config", file)
			if got != nil {
				t.Fatal("taken")
			}
			out = strings.ReplaceAll(strings.TrimPrefix(out, "prog: "), file, "C")
			if !strings.HasPrefix(out, row.want) || strings.Count(out, "\n") > 2 {
				t.Errorf("got  %s\nwant %s", out, row.want)
			}
		})
	}
}

func TestBadFlags(t *testing.T) {
	for _, row := range []struct {
		args []string
		want string
	}{
		{[]string{"--naem", "x"}, "prog: unknown flag --naem\nhint: did you mean --name? prog run --help shows the flags\n"},
		{[]string{"--zzz=1"}, "prog: unknown flag --zzz\nhint: prog run --help shows the flags\n"},
		{[]string{"--count", "-1"}, "prog: --count \"-1\": want a whole number from 0 on\n"},
		{[]string{"--count", "a: b"}, "prog: --count \"a: b\": want a whole number from 0 on\n"},
		{[]string{"--every", "5"}, "prog: --every \"5\": want a time such as 500ms, 30s or 5m\n"},
		{[]string{"--sync=x"}, "prog: --sync \"x\": want true or false\n"},
		{[]string{"--max-rate", "fast"}, "prog: --max-rate \"fast\": want a number\n"},
		{[]string{"--name"}, "prog: --name needs a value: a text\n"},
	} {
		t.Run(strings.Join(row.args, " "), func(t *testing.T) {
			if _, out := try(t, row.args...); !strings.HasPrefix(out, row.want) {
				t.Errorf("got  %s\nwant %s", out, row.want)
			}
		})
	}
	t.Setenv(envPrefix+"COUNT", "many")
	if _, out := try(t); !strings.HasPrefix(out, "prog: environment variable IPFIX_COUNT=\"many\": want a whole number from 0 on\n") {
		t.Error(out)
	}
}

// FuzzFile: whatever the file holds, there are settings or one line.
func FuzzFile(f *testing.F) {
	for _, s := range []string{"name = \"a\"", "listen = [\"a\"]", "[a.b]\nc = 1", "[[listen]]", "name = '''\n'''", "\"a b\" = 1", "every = 12:00:00", "a = {b = 1}", "\xff", "count = 0x10"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, out := try(t, "--config", writeConfig(t, text))
		if got == nil && (out == "" || strings.Count(out, "\n") > 2) {
			t.Errorf("told %q", out)
		}
	})
}
