package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"ipfixsuite/config"
	"ipfixsuite/pki"
)

func pkiCommand() *cli.Command {
	flags := func(what string, validity time.Duration) []cli.Flag {
		return []cli.Flag{
			&cli.DurationFlag{Name: "validity", Usage: "the " + what + " is good for `TIME`", DefaultText: fmt.Sprintf("%.0fh, %.0f days", validity.Hours(), validity.Hours()/24)},
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
				Description: "Example:\n   collector pki init pki",
				Flags:       append(flags("authority", pki.DefaultCAValidity), &cli.StringFlag{Name: "name", Usage: "the authority's `NAME`", DefaultText: "IPFIX CA"}),
				Action: func(c *cli.Context) error {
					if err := flagsFirst(c); err != nil {
						return err
					}
					if c.NArg() != 1 {
						return config.Usage("collector pki init [options] DIR", "one directory is wanted, not %d", c.NArg())
					}
					dir := c.Args().First()
					if err := pki.Init(dir, pki.Options{Validity: c.Duration("validity"), CommonName: c.String("name"), Overwrite: c.Bool("force")}); err != nil {
						return pkiError(err)
					}
					return made(c, dir, "ca", "keep its key secret; give ca.pem to exporters and collectors")
				},
			},
			{
				Name: "issue", Usage: "make a certificate: NAME.pem and NAME-key.pem", UsageText: "collector pki issue [options] DIR NAME [SAN…]",
				Description: `NAME and each SAN are names or addresses that the certificate proves. It is good for both ends. For a collector
they are what exporters write in --to; for an exporter, what collectors write in --allow and see as @exporter.

Examples:
   collector pki issue pki collector.example 192.0.2.10 2001:db8::10
   collector pki issue --validity 2160h pki exporter-1.example`,
				Flags: flags("certificate", pki.DefaultValidity),
				Action: func(c *cli.Context) error {
					if err := flagsFirst(c); err != nil {
						return err
					}
					if c.NArg() < 2 {
						return config.Usage("collector pki issue [options] DIR NAME [SAN…]", "a directory and a name are needed")
					}
					args := c.Args().Slice()
					if err := pki.Issue(args[0], args[1], args[2:], pki.Options{Validity: c.Duration("validity"), Overwrite: c.Bool("force")}); err != nil {
						return pkiError(err)
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

// flagsFirst tells of flags behind the arguments, which would pass for names.
func flagsFirst(c *cli.Context) error {
	for _, a := range c.Args().Slice() {
		if strings.HasPrefix(a, "-") {
			return config.Usage("options stand before DIR", "%s stands behind the arguments", a)
		}
	}
	if d := c.Duration("validity"); c.IsSet("validity") && d <= 0 {
		return config.Usage("", "--validity %v: want a time above 0, such as 2160h", d)
	}
	return nil
}

// pkiError names the flag by which files that exist are replaced.
func pkiError(err error) error {
	if e, ok := errors.AsType[*pki.Error](err); ok && e.Reason == "exists" {
		return config.WithHint("another directory or name, or --force to replace it; certificates of an authority that is replaced are worth nothing", err)
	}
	return err
}
