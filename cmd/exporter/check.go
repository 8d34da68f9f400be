package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"ipfixsuite/config"
	"ipfixsuite/export/source"
)

func checkCommand() *cli.Command {
	return &cli.Command{
		Name:        "check",
		Usage:       "check the flags and files of `exporter run` without sending anything",
		UsageText:   "exporter check --source SRC --to URL [options]",
		Description: "Takes the flags of `exporter run`. Exit status 0: run would start.",
		Flags:       runFlags(),
		Action: func(c *cli.Context) error {
			s, err := settingsOf(c)
			if err != nil {
				return err
			}
			src, err := source.Parse(s.source, s.sourceConfig(c.App.Reader))
			if err != nil {
				return &config.UsageError{Err: err}
			}
			if err := src.Check(); err != nil {
				return err
			}
			_, err = fmt.Fprintf(c.App.Writer, "ok: %s to %s\n", s.source, s.to)
			return err
		},
	}
}
