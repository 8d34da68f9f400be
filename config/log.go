package config

import (
	"io"
	"log/slog"
	"strings"

	"github.com/urfave/cli/v2"
)

// NewLog makes the program's logger as --log-level and --log-format have it.
// The level can be changed while the program runs.
func NewLog(c *cli.Context) (*slog.Logger, *slog.LevelVar, error) {
	level := new(slog.LevelVar)
	if err := SetLevel(level, c); err != nil {
		return nil, nil, err
	}
	log, err := logger(c.App.ErrWriter, level, c.String("log-format"))
	return log, level, err
}

// SetLevel changes a level to that of --log-level.
func SetLevel(level *slog.LevelVar, c *cli.Context) error {
	l, err := parseLevel(c.String("log-level"))
	if err == nil {
		level.Set(l)
	}
	return err
}

func parseLevel(text string) (l slog.Level, err error) {
	if err := l.UnmarshalText([]byte(text)); err != nil {
		return l, Usage("", "--log-level %q: want debug, info, warn or error", text)
	}
	return l, nil
}

// logger makes a logger; format is text or json.
func logger(w io.Writer, level slog.Leveler, format string) (*slog.Logger, error) {
	opts := &slog.HandlerOptions{Level: level}
	switch strings.ToLower(format) {
	case "text":
		return slog.New(slog.NewTextHandler(w, opts)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, opts)), nil
	}
	return nil, Usage("", "--log-format %q: want text or json", format)
}

// LogError logs an error on one line, with the way out if it knows one.
func LogError(log *slog.Logger, msg string, err error) {
	args := []any{"error", strings.Join(messages(err), "; ")}
	if hint := hintOf(err); hint != "" {
		args = append(args, "hint", hint)
	}
	log.Error(msg, args...)
}
