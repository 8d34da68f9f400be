package config

import (
	"log/slog"
	"time"

	"github.com/urfave/cli/v2"
)

// DoctorCategory is what the help puts a doctor's own flags under.
const DoctorCategory = "What the doctor does:"

// DoctorFlags are what a program's doctor takes besides the program's own flags.
// timeout is how long it waits for each answer of a collector.
func DoctorFlags(timeout time.Duration) []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Category: DoctorCategory, Name: "json", Usage: "print one JSON object"},
		&cli.DurationFlag{Category: DoctorCategory, Name: "timeout", Value: timeout, Usage: "wait for each answer of a collector for `TIME`"},
	}
}

// Doctor takes up the flags of a doctor: it logs only if asked to, since its
// report tells, and leaves no key log behind.
func Doctor(c *cli.Context) (*slog.Logger, error) {
	log, _, err := NewLog(c)
	if err != nil {
		return nil, err
	}
	if !c.IsSet("log-level") {
		log = slog.New(slog.DiscardHandler)
	}
	if err := Positive(c, "timeout"); err != nil {
		return nil, err
	}
	return log, c.Set("keylog", "")
}
