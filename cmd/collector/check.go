package main

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"
)

func checkCommand() *cli.Command {
	return &cli.Command{
		Name:        "check",
		Usage:       "check the flags and files of `collector serve` without listening",
		UsageText:   "collector check --listen URL… --sink SINK… [options]",
		Description: "Takes the flags of `collector serve`. Exit status 0: serve would start.",
		Flags:       serveFlags(),
		Action: func(c *cli.Context) error {
			s, err := serverOf(c)
			if err != nil {
				return err
			}
			for _, e := range s.endpoints {
				if _, err := fmt.Fprintf(c.App.Writer, "ok: %s to %s\n", e, strings.Join(s.sinks, ", ")); err != nil {
					return err
				}
			}
			return nil
		},
	}
}
