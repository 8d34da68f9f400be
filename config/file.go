package config

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
	"github.com/urfave/cli/v2"
)

// ApplyFile sets every flag of the running command that neither the command
// line nor the environment set from the TOML file named by --config. Keys are
// the flags' names; a list sets a repeatable flag. A key that is no flag is an
// error, so that a typing mistake does not go unseen.
func ApplyFile(c *cli.Context) error {
	path := c.String("config")
	if path == "" {
		return nil
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return &UsageError{Err: FileError("--config "+path, err)}
	}
	keys := make(map[string]any)
	if err := toml.Unmarshal(raw, &keys); err != nil {
		if de, ok := errors.AsType[*toml.DecodeError](err); ok {
			row, col := de.Position()
			return Usage(`settings look like: listen = ["udp://127.0.0.1:4739"]`, "%s:%d:%d: %s", path, row, col, strings.TrimPrefix(de.Error(), "toml: "))
		}
		return Usage("", "%s: %w", path, err)
	}
	flags := c.Command.Flags
	names := flagNames(flags)
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		at := fmt.Sprintf("%s:%d", path, lineOf(raw, key))
		if key == "config" || key == "help" || !slices.Contains(names, key) {
			hint := "keys are the flags of this command without the dashes; --help shows them"
			if near := nearest(key, names); near != "" {
				hint = "did you mean " + near + "? " + hint
			}
			return Usage(hint, "%s: unknown key %q", at, key)
		}
		texts, want := fromTOML(flagNamed(flags, key), keys[key])
		if want != "" {
			return Usage("", "%s: %s: want %s", at, key, want)
		}
		if c.IsSet(key) {
			continue
		}
		for _, s := range texts {
			if err := c.Set(key, s); err != nil {
				return Usage("", "%s: %s: %w", at, key, err)
			}
		}
	}
	return nil
}

// lineOf finds the line of a top-level key or table; raw is sound TOML.
func lineOf(raw []byte, key string) int {
	var p unstable.Parser
	p.Reset(raw)
	for p.NextExpression() {
		n := p.Expression()
		if n.Kind != unstable.KeyValue && n.Kind != unstable.Table && n.Kind != unstable.ArrayTable {
			continue
		}
		if k := n.Key(); k.Next() && string(k.Node().Data) == key {
			return 1 + bytes.Count(raw[:k.Node().Raw.Offset], []byte("\n"))
		}
	}
	return 1
}

func flagNames(flags []cli.Flag) []string {
	names := make([]string, 0, len(flags))
	for _, f := range flags {
		names = append(names, f.Names()[0])
	}
	return names
}
