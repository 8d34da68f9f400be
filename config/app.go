package config

import (
	"context"
	"fmt"
	"io"
	"runtime/debug"

	"github.com/urfave/cli/v2"
)

// NewApp is the frame of both programs: one way to print errors, help and
// shell completion.
func NewApp(name, usage string, stdin io.Reader, stdout, stderr io.Writer, commands ...*cli.Command) *cli.App {
	app := &cli.App{
		Name: name, Usage: usage, Version: version(),
		Reader: stdin, Writer: stdout, ErrWriter: stderr,
		EnableBashCompletion: true, HideHelpCommand: true,
		// A value may hold commas: certificate names, URLs.
		DisableSliceFlagSeparator: true,
		ExitErrHandler:            func(*cli.Context, error) {},
		CommandNotFound:           func(*cli.Context, string) {},
	}
	app.Action = func(c *cli.Context) error {
		if c.Args().Present() {
			return Usage(name+" --help lists the commands", "unknown command %q", c.Args().First())
		}
		return cli.ShowAppHelp(c)
	}
	app.Commands = append(commands, completion(name))
	for _, c := range app.Commands {
		prepare(name, c)
	}
	app.OnUsageError = usageError(name)
	return app
}

// Run runs the program and returns its exit code.
func Run(ctx context.Context, app *cli.App, args []string) int {
	return Report(app.ErrWriter, app.Name, app.RunContext(ctx, args))
}

// prepare gives a command and those under it the common manners.
func prepare(path string, c *cli.Command) {
	path += " " + c.Name
	c.OnUsageError = usageError(path)
	c.HideHelpCommand = true
	for _, sub := range c.Subcommands {
		prepare(path, sub)
	}
	if len(c.Subcommands) > 0 && c.Action == nil {
		c.Action = func(ctx *cli.Context) error {
			if ctx.Args().Present() {
				return Usage(path+" --help lists them", "unknown command %q", ctx.Args().First())
			}
			return cli.ShowSubcommandHelp(ctx)
		}
	}
	if action, hasConfig := c.Action, hasFlag(c, "config"); hasConfig {
		c.Action = func(ctx *cli.Context) error {
			if err := ApplyFile(ctx); err != nil {
				return err
			}
			return action(ctx)
		}
	}
}

func hasFlag(c *cli.Command, name string) bool {
	for _, f := range c.Flags {
		if f.Names()[0] == name {
			return true
		}
	}
	return false
}

func usageError(path string) cli.OnUsageErrorFunc {
	return func(_ *cli.Context, err error, _ bool) error {
		return Usage(path+" --help shows the flags", "%w", err)
	}
}

// version is what the Go tool knows of the build: a tag or a commit.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	v := info.Main.Version
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			v += " " + s.Value[:12]
		}
	}
	return fmt.Sprintf("%s (%s)", v, info.GoVersion)
}
