package config

import (
	"regexp"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// flagError words an error of the flag package for who wrote the flag.
func flagError(path string, flags []cli.Flag, err error) error {
	msg := err.Error()
	help := path + " --help shows the flags"
	if name, ok := strings.CutPrefix(msg, "flag provided but not defined: -"); ok {
		name = strings.TrimLeft(name, "-")
		if near := nearest(name, flagNames(flags)); near != "" {
			help = "did you mean --" + near + "? " + help
		}
		return Usage(help, "unknown flag --%s", name)
	}
	if name, ok := strings.CutPrefix(msg, "flag needs an argument: -"); ok {
		name = strings.TrimLeft(name, "-")
		return Usage(help, "--%s needs a value: %s", name, wanted(flagNamed(flags, name)))
	}
	// The flag package tells what was given only within its text.
	given := regexp.MustCompile(`^invalid (?:boolean )?value (".*") for (?:flag )?-([a-z-]+): `)
	if m := given.FindStringSubmatch(msg); m != nil {
		return Usage(help, "--%s %s: want %s", m[2], m[1], wanted(flagNamed(flags, m[2])))
	}
	set := regexp.MustCompile(`^could not parse (".*") as .* from environment variable "(\w+)" for flag ([a-z-]+): `)
	if m := set.FindStringSubmatch(msg); m != nil {
		return Usage(help, "environment variable %s=%s: want %s", m[2], m[1], wanted(flagNamed(flags, m[3])))
	}
	return Usage(help, "%w", err)
}

func flagNamed(flags []cli.Flag, name string) cli.Flag {
	for _, f := range flags {
		if slices.Contains(f.Names(), name) {
			return f
		}
	}
	return nil
}

func unknownCommand(path, name string, commands []*cli.Command) error {
	hint := path + " --help lists the commands"
	names := make([]string, 0, len(commands))
	for _, c := range commands {
		if !c.Hidden {
			names = append(names, c.Name)
		}
	}
	if near := nearest(name, names); near != "" {
		hint = "did you mean " + path + " " + near + "? " + hint
	}
	return Usage(hint, "unknown command %q", name)
}

// nearest is the candidate that takes the fewest edits to come to from s, if
// these are few for its length; empty if there is none.
func nearest(s string, candidates []string) string {
	best, least := "", max(1, len(s)/3)+1
	for _, c := range candidates {
		if d := distance(s, c); d < least {
			best, least = c, d
		}
	}
	return best
}

// distance counts insertions, deletions, replacements and swaps of neighbours
// between a and b.
func distance(a, b string) int {
	before, above := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range above {
		above[j] = j
	}
	for i := range len(a) {
		row := make([]int, len(b)+1)
		row[0] = i + 1
		for j := range len(b) {
			d := above[j]
			if a[i] != b[j] {
				d++
			}
			d = min(d, above[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				d = min(d, before[j-1]+1)
			}
			row[j+1] = d
		}
		before, above = above, row
	}
	return above[len(b)]
}
