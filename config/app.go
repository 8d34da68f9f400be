package config

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// NewApp is the frame of both programs: one way to print errors, help and
// shell completion.
func NewApp(name, usage string, stdin io.Reader, stdout, stderr io.Writer, commands ...*cli.Command) *cli.App {
	app := &cli.App{
		Name: name, Usage: usage, Version: version(),
		Reader: stdin, Writer: stdout, ErrWriter: stderr,
		HideHelpCommand: true,
		Description:     name + " COMMAND --help tells more, with examples.",
		// A value may hold commas: certificate names, URLs.
		DisableSliceFlagSeparator: true,
		Commands:                  slices.Concat(commands, []*cli.Command{completion(name)}),
		ExitErrHandler:            func(*cli.Context, error) {},
		CommandNotFound:           func(*cli.Context, string) {},
	}
	app.Action = func(c *cli.Context) error {
		if c.Args().Present() {
			return unknownCommand(name, c.Args().First(), app.Commands)
		}
		return cli.ShowAppHelp(c)
	}
	for _, c := range app.Commands {
		prepare(name, c)
	}
	app.Commands = append(app.Commands, words(app))
	app.OnUsageError = func(_ *cli.Context, err error, _ bool) error { return flagError(name, app.Flags, err) }
	return app
}

// Run runs the program and returns its exit code. A variable of the
// environment that is empty counts as not there.
func Run(ctx context.Context, app *cli.App, args []string) int {
	for _, kv := range os.Environ() {
		if name, value, _ := strings.Cut(kv, "="); value == "" && strings.HasPrefix(name, envPrefix) {
			_ = os.Unsetenv(name) // it is a valid name
		}
	}
	app.Metadata = map[string]any{arguments: args}
	return Report(app.ErrWriter, app.Name, app.RunContext(ctx, args))
}

// prepare gives a command and those under it the common manners.
func prepare(path string, c *cli.Command) {
	path += " " + c.Name
	c.OnUsageError = func(_ *cli.Context, err error, _ bool) error { return flagError(path, c.Flags, err) }
	c.HideHelpCommand = true
	for _, f := range c.Flags {
		if b, ok := f.(*cli.BoolFlag); ok {
			b.DisableDefaultText = true // it is always false
		}
	}
	if len(c.Flags) > 0 {
		c.CustomHelpTemplate = helpTemplate(c.Flags)
	}
	for _, sub := range c.Subcommands {
		prepare(path, sub)
	}
	if len(c.Subcommands) > 0 && c.Action == nil {
		c.Action = func(ctx *cli.Context) error {
			if ctx.Args().Present() {
				return unknownCommand(path, ctx.Args().First(), c.Subcommands)
			}
			return cli.ShowSubcommandHelp(ctx)
		}
	}
	if action := c.Action; flagNamed(c.Flags, "config") != nil {
		c.Action = func(ctx *cli.Context) error {
			if err := ApplyFile(ctx); err != nil {
				return err
			}
			return action(ctx)
		}
	}
}

// version is what the Go tool knows of the build: a tag or a commit.
func version() string {
	v := "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		v = info.Main.Version
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" && len(s.Value) >= 12 && !strings.Contains(v, s.Value[:12]) {
				v += " " + s.Value[:12]
			}
		}
	}
	return fmt.Sprintf("%s (%s %s/%s)", v, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
