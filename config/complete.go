package config

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// schemes are those of endpoints.
var schemes = []string{
	"dtls+udp://", "tls+tcp://", "mta+tls+tcp://", "dtls+sctp://", "dtls+sctp+udp://", "dtls+dccp://", "dtls+dccp+udp://",
	"udp://", "tcp://", "sctp://", "sctp+udp://", "dccp://", "dccp+udp://",
}

// choices are the values, or beginnings of values, that a flag can have.
var choices = map[string][]string{
	"source":     {"pcap:", "iface:", "ipfix:", "json:", "json:-"},
	"sink":       {"json:-", "json:", "ipfix:"},
	"to":         schemes,
	"listen":     schemes,
	"mode":       {"failover", "all", "hash"},
	"log-level":  {"debug", "info", "warn", "error"},
	"log-format": {"text", "json"},

	"sctp-streams": {"single", "per-domain", "per-template"},
}

// complete returns what the last of the words behind the program's name can
// become; the words before it are whole.
func complete(app *cli.App, words []string) []string {
	if len(words) == 0 {
		return nil
	}
	last := words[len(words)-1]
	commands, flags := app.Commands, app.Flags
	var pending cli.Flag // waits for its value
	given := make(map[string]bool)
	for _, w := range words[:len(words)-1] {
		name, isFlag := strings.CutPrefix(w, "-")
		switch name = strings.TrimPrefix(name, "-"); {
		case pending != nil:
			pending = nil
		case isFlag:
			if f := flagNamed(flags, name); f != nil { // not --name=value
				given[name] = true
				if d, ok := f.(cli.DocGenerationFlag); ok && d.TakesValue() {
					pending = f
				}
			}
		default:
			if i := slices.IndexFunc(commands, func(c *cli.Command) bool { return c.Name == w }); i >= 0 {
				commands, flags = commands[i].Subcommands, commands[i].Flags
			}
		}
	}
	var found []string
	switch {
	case pending != nil:
		found = choices[pending.Names()[0]]
	case strings.HasPrefix(last, "-"):
		for _, f := range flags {
			name := f.Names()[0]
			if _, again := f.(*cli.StringSliceFlag); again || !given[name] {
				found = append(found, "--"+name)
			}
		}
		found = append(found, "--help")
	default:
		for _, c := range commands {
			if !c.Hidden {
				found = append(found, c.Name)
			}
		}
	}
	found = slices.DeleteFunc(slices.Clone(found), func(s string) bool { return !strings.HasPrefix(s, last) })
	slices.Sort(found)
	return slices.Compact(found)
}
