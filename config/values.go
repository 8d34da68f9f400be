package config

import (
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
)

// Values are those of a repeatable flag. An environment variable has one
// value only: white space parts several there.
func Values(c *cli.Context, name string) []string {
	values := c.StringSlice(name)
	if env := strings.TrimSpace(os.Getenv(Env(name)[0])); env != "" && len(values) == 1 && strings.TrimSpace(values[0]) == env {
		return strings.Fields(env)
	}
	return values
}

// OrNever is a flag's time where 0 means never, for packages that take 0 as
// their default and a negative time as never.
func OrNever(d time.Duration) time.Duration {
	if d <= 0 {
		return -1
	}
	return d
}

// Positive refuses times of 0 and below.
func Positive(c *cli.Context, names ...string) error {
	for _, name := range names {
		if d := c.Duration(name); d <= 0 {
			return Usage("", "--%s %v: want a time above 0, such as 30s", name, d)
		}
	}
	return nil
}

// wanted says what a flag takes.
func wanted(f cli.Flag) string {
	switch f.(type) {
	case *cli.BoolFlag:
		return "true or false"
	case *cli.DurationFlag:
		return "a time such as 500ms, 30s or 5m"
	case *cli.UintFlag:
		return "a whole number from 0 on"
	case *cli.IntFlag, *cli.Int64Flag:
		return "a whole number"
	case *cli.Float64Flag:
		return "a number"
	}
	return "a text"
}

// fromTOML turns a value of the file into what the flag would be given.
func fromTOML(f cli.Flag, v any) (texts []string, want string) {
	switch f.(type) {
	case *cli.StringSliceFlag:
		list, isList := v.([]any)
		if !isList {
			list = []any{v}
		}
		for _, v := range list {
			s, ok := v.(string)
			if !ok {
				return nil, `a list of texts, ["…", "…"]`
			}
			texts = append(texts, s)
		}
		return texts, ""
	case *cli.StringFlag:
		if s, ok := v.(string); ok {
			return []string{s}, ""
		}
		return nil, `a text in quotes`
	case *cli.DurationFlag:
		if s, ok := v.(string); ok && valid(f, s) {
			return []string{s}, ""
		}
		return nil, `a time in quotes, such as "30s" or "5m"`
	case *cli.BoolFlag:
		if b, ok := v.(bool); ok {
			return []string{strconv.FormatBool(b)}, ""
		}
	default:
		switch v.(type) {
		case int64, float64:
			if s := fmt.Sprint(v); valid(f, s) {
				return []string{s}, ""
			}
		}
	}
	return nil, wanted(f)
}

// valid says whether a flag would take s.
func valid(f cli.Flag, s string) bool {
	var err error
	switch f.(type) {
	case *cli.BoolFlag:
		_, err = strconv.ParseBool(s)
	case *cli.DurationFlag:
		_, err = time.ParseDuration(s)
	case *cli.UintFlag:
		_, err = strconv.ParseUint(s, 0, strconv.IntSize)
	case *cli.IntFlag:
		_, err = strconv.ParseInt(s, 0, strconv.IntSize)
	case *cli.Float64Flag:
		var n float64
		n, err = strconv.ParseFloat(s, 64)
		return err == nil && !math.IsNaN(n) && !math.IsInf(n, 0)
	}
	return err == nil
}
