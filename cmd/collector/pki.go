package main

import (
	"fmt"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"ipfixsuite/config"
	"ipfixsuite/pki"
)

func pkiCommand() *cli.Command {
	flags := func(what string) []cli.Flag {
		return []cli.Flag{
			&cli.DurationFlag{Name: "validity", Usage: "how long the " + what + " is good, for example 2160h"},
			&cli.BoolFlag{Name: "force", Usage: "replace files that exist"},
		}
	}
	return &cli.Command{
		Name:  "pki",
		Usage: "make an authority and certificates for exporters and collectors",
		Description: `Examples:
   collector pki init pki
   collector pki issue pki collector.example 192.0.2.10 2001:db8::10
   collector pki issue pki exporter-1.example`,
		Subcommands: []*cli.Command{
			{
				Name: "init", Usage: "make an authority: ca.pem and ca-key.pem", UsageText: "collector pki init [options] DIR",
				Flags: append(flags("authority"), &cli.StringFlag{Name: "name", Usage: "the authority's `NAME` (default: IPFIX CA)"}),
				Action: func(c *cli.Context) error {
					if c.NArg() != 1 {
						return config.Usage("collector pki init [options] DIR", "one directory is needed, %d are named", c.NArg())
					}
					dir := c.Args().First()
					if err := pki.Init(dir, pki.Options{Validity: c.Duration("validity"), CommonName: c.String("name"), Overwrite: c.Bool("force")}); err != nil {
						return err
					}
					return made(c, dir, "ca", "keep its key secret; give ca.pem to exporters and collectors")
				},
			},
			{
				Name: "issue", Usage: "make a certificate: NAME.pem and NAME-key.pem", UsageText: "collector pki issue [options] DIR NAME [SAN…]",
				Description: "NAME and each SAN are names or addresses that the certificate proves. It is good for both ends.",
				Flags:       flags("certificate"),
				Action: func(c *cli.Context) error {
					if c.NArg() < 2 {
						return config.Usage("collector pki issue [options] DIR NAME [SAN…]", "a directory and a name are needed")
					}
					args := c.Args().Slice()
					if err := pki.Issue(args[0], args[1], args[2:], pki.Options{Validity: c.Duration("validity"), Overwrite: c.Bool("force")}); err != nil {
						return err
					}
					return made(c, args[0], pki.FileName(args[1]), "")
				},
			},
		},
	}
}

// made tells which files are there now.
func made(c *cli.Context, dir, name, advice string) error {
	if advice != "" {
		advice = "; " + advice
	}
	_, err := fmt.Fprintf(c.App.Writer, "%s, %s%s\n", filepath.Join(dir, name+".pem"), filepath.Join(dir, name+"-key.pem"), advice)
	return err
}
