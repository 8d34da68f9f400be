package main

import (
	"log/slog"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"ipfixsuite/config"
	"ipfixsuite/doctor"
	"ipfixsuite/endpoint"
	"ipfixsuite/transport"
	"ipfixsuite/transport/credentials"
	"ipfixsuite/transport/udp"
)

func doctorCommand() *cli.Command {
	return &cli.Command{
		Name:      "doctor",
		Usage:     "find out why records do not arrive: look at this host and the settings, or at a running collector",
		UsageText: "collector doctor [options of serve]\n   collector doctor [options] URL…",
		Description: `Without a URL it takes the flags of collector serve and looks at this host, our credentials, the sockets (by binding
them for a moment; one that is taken may be this collector's own), the sinks (by writing a file and taking it away) and
the directory of --state. With URLs it looks at running collectors as an exporter would: it opens a session to each, asks
for signs of life and closes it; no record is sent. Each line begins with OK, WARN (works, but look at it) or FAIL; a hint
says what to do. Exit status 0: nothing failed; 1: something did.

Examples:
   collector doctor --config /etc/ipfix/collector.toml
   collector doctor --listen dtls+udp://:4740 --sink json:flows --cert collector.pem --key collector-key.pem --ca ca.pem
   collector doctor --cert exporter-1.pem --key exporter-1-key.pem --ca ca.pem dtls+udp://collector.example
   collector doctor --json --insecure tcp://192.0.2.10`,
		Flags: append(append(serveFlags(),
			&cli.StringFlag{Category: config.DoctorCategory, Name: "server-name", Usage: "with a URL: the `NAME` that the collector's certificate must prove", DefaultText: "the host of the URL", EnvVars: config.Env("server-name")}),
			config.DoctorFlags(doctor.DefaultTimeout)...),
		Action: doctorAction,
	}
}

func doctorAction(c *cli.Context) error {
	log, err := config.Doctor(c)
	if err != nil {
		return err
	}
	report := doctor.NewReport(c.App.Writer, c.Bool("json"))
	if c.Args().Present() {
		return visit(c, log, report)
	}
	return examine(c, log, report)
}

// examine looks at what serve would need.
func examine(c *cli.Context, log *slog.Logger, report *doctor.Report) error {
	s, err := settingsOf(c, log)
	if err != nil {
		return err
	}
	now, buffer := time.Now(), s.listen.ReceiveBuffer
	if buffer == 0 {
		buffer = udp.DefaultReceiveBuffer
	}
	host := report.Section("this host", false)
	doctor.Host(host, buffer, now)
	for _, sink := range s.sinks {
		if _, dir, _ := strings.Cut(sink, ":"); dir != "-" {
			doctor.Dir(host, "--sink "+sink, dir, false)
		}
	}
	if s.state != "" {
		doctor.Dir(host, "--state", s.state, true)
	}
	creds := new(credentials.Holder)
	_, credErr := s.credentials(creds, c, log)
	doctor.Credentials(report, creds.Current(), credErr, c.String("ca"), doctor.Collector, now)
	for _, e := range s.endpoints {
		doctor.Listener(report.Section(e.String(), true), e, s.listen, credErr != nil)
	}
	return doctor.End(report, "endpoints")
}

// visit looks at running collectors as an exporter would.
func visit(c *cli.Context, log *slog.Logger, report *doctor.Report) error {
	var urls []transport.Endpoint
	secure := false
	for _, a := range c.Args().Slice() {
		if strings.HasPrefix(a, "-") {
			return config.Usage("options stand before the URL", "%s stands behind the arguments", a)
		}
		e, err := transport.ParseEndpoint(a)
		if err != nil {
			return &config.UsageError{Err: err}
		}
		urls = append(urls, e)
		secure = secure || e.Secure()
	}
	ctx, _, stop := config.Signals(c.Context, log)
	defer stop()
	now, creds := time.Now(), new(credentials.Holder)
	doctor.Host(report.Section("this host", false), 0, now)
	_, credErr := config.Credentials(creds, c, secure, nil, log)
	doctor.Credentials(report, creds.Current(), credErr, c.String("ca"), doctor.Exporter, now)
	cfg := endpoint.Config{Credentials: creds, Insecure: c.Bool("insecure"), MTU: c.Int("mtu"), Log: log}
	for _, e := range urls {
		doctor.Target{Endpoint: e, Config: cfg, Timeout: c.Duration("timeout"), NoCredentials: credErr != nil}.
			Check(ctx, report.Section(e.String(), true))
	}
	return doctor.End(report, "collectors")
}
