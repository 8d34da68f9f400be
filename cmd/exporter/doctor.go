package main

import (
	"time"

	"github.com/urfave/cli/v2"

	"ipfixsuite/config"
	"ipfixsuite/doctor"
	"ipfixsuite/transport/credentials"
)

func doctorCommand() *cli.Command {
	return &cli.Command{
		Name:      "doctor",
		Usage:     "find out why records do not arrive: look at this host, the way and the collectors",
		UsageText: "exporter doctor --to URL… [options of run]",
		Description: `Takes the flags of exporter run; --source may be left out. Looks at this host and at our credentials, and for each
--to at its name, the way there and what the transport needs of this host; then opens a session, asks for signs of life,
closes it and opens another. No record is sent: an exporter may run meanwhile. Each line begins with OK, WARN (works, but
look at it) or FAIL; a hint says what to do. Exit status 0: nothing failed; 1: something did.

Examples:
   exporter doctor --to dtls+udp://collector.example --cert exporter-1.pem --key exporter-1-key.pem --ca ca.pem
   exporter doctor --config /etc/ipfix/exporter.toml
   exporter doctor --to udp://192.0.2.10 --insecure
   exporter doctor --config exporter.toml --json | jq '.sections[] | select(.well | not)'`,
		Flags:  append(runFlags(), config.DoctorFlags(doctor.DefaultTimeout)...),
		Action: doctorAction,
	}
}

func doctorAction(c *cli.Context) error {
	log, err := config.Doctor(c)
	if err != nil {
		return err
	}
	noSource := c.String("source") == ""
	if noSource {
		if err := c.Set("source", "json:-"); err != nil { // it is not read
			return err
		}
	}
	s, err := settingsOf(c, log)
	if err != nil {
		return err
	}
	ctx, _, stop := config.Signals(c.Context, log)
	defer stop()
	report, now := doctor.NewReport(c.App.Writer, c.Bool("json")), time.Now()
	host := report.Section("this host", false)
	doctor.Host(host, 0, now)
	if !noSource {
		p := &program{settings: *s, log: log}
		if _, err := p.open(c.App.Reader); err != nil {
			doctor.Error(host, "source", err)
		} else {
			host.OK("source", "%s", s.source)
		}
	}
	if s.export.SpoolDir != "" {
		doctor.Dir(host, "spool", s.export.SpoolDir, false)
	}
	creds := new(credentials.Holder)
	_, credErr := s.credentials(creds, c, log)
	doctor.Credentials(report, creds.Current(), credErr, c.String("ca"), doctor.Exporter, now)
	for _, to := range s.to {
		doctor.Target{
			Endpoint: to, Config: s.dial, Timeout: c.Duration("timeout"), NoCredentials: credErr != nil,
		}.Check(ctx, report.Section(to.String(), true))
	}
	return doctor.End(report, "collectors")
}
