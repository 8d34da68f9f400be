package main

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"ipfixsuite/config"
)

func checkCommand() *cli.Command {
	return &cli.Command{
		Name:      "check",
		Usage:     "check the flags and files of `collector serve` without listening",
		UsageText: "collector check --listen URL… --sink SINK… [options]",
		Description: `Takes the flags of collector serve, reads its files and looks whether its sinks can be written. It binds no
port, so that it can be asked while a collector runs. Exit status 0: serve would start.

Example:
   collector check --config collector.toml && systemctl restart collector`,
		Flags: serveFlags(),
		Action: func(c *cli.Context) error {
			s, err := serverOf(c)
			if err != nil {
				return err
			}
			for _, sink := range s.sinks {
				if err := sinkError(sink, writableSink(sink)); err != nil {
					return err
				}
			}
			if s.state != "" {
				if err := writableDir(s.state); err != nil {
					return config.FileError("--state "+s.state, err)
				}
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
