package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
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
		if pe, ok := errors.AsType[*fs.PathError](err); ok {
			err = pe.Err
		}
		return Usage("", "--config %s: %w", path, err)
	}
	var keys map[string]any
	if err := toml.Unmarshal(raw, &keys); err != nil {
		if de, ok := errors.AsType[*toml.DecodeError](err); ok {
			row, col := de.Position()
			return Usage("", "--config %s:%d:%d: %s", path, row, col, de.Error())
		}
		return Usage("", "--config %s: %w", path, err)
	}
	names := flagNames(c.Command.Flags)
	for _, key := range sortedKeys(keys) {
		if key == "config" || !slices.Contains(names, key) {
			return Usage("keys are the names of this command's flags, without the dashes; see --help",
				"--config %s: unknown key %q", path, key)
		}
		if c.IsSet(key) {
			continue
		}
		values, ok := keys[key].([]any)
		if !ok {
			values = []any{keys[key]}
		}
		for _, v := range values {
			if err := c.Set(key, fmt.Sprint(v)); err != nil {
				return Usage("", "--config %s: %s: %w", path, key, err)
			}
		}
	}
	return nil
}

func flagNames(flags []cli.Flag) []string {
	var names []string
	for _, f := range flags {
		names = append(names, f.Names()[0])
	}
	return names
}

func sortedKeys(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, strings.TrimSpace(k))
	}
	slices.Sort(keys)
	return keys
}
