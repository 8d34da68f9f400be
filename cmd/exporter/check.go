package main

import (
	"fmt"

	"github.com/urfave/cli/v2"
)

func checkCommand() *cli.Command {
	return &cli.Command{
		Name:      "check",
		Usage:     "check the flags and files of `exporter run` without sending anything",
		UsageText: "exporter check --source SRC --to URL [options]",
		Description: `Takes the flags of exporter run, opens its files and looks for its interface. Exit status 0: run would start.

Example:
   exporter check --config exporter.toml`,
		Flags: runFlags(),
		Action: func(c *cli.Context) error {
			p, err := programOf(c)
			if err != nil {
				return err
			}
			if _, err := p.open(c.App.Reader); err != nil {
				return err
			}
			_, err = fmt.Fprintf(c.App.Writer, "ok: %s to %s\n", p.source, toString(p.to))
			return err
		},
	}
}
