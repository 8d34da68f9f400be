package config

import (
	"strings"

	"github.com/urfave/cli/v2"
)

// helpTemplate is that of the cli package with the flags as they are declared:
// in the order that matters to a reader, under their headings.
func helpTemplate(flags []cli.Flag) string {
	before, _, _ := strings.Cut(cli.CommandHelpTemplate, "{{if .VisibleFlagCategories}}")
	var b strings.Builder
	b.WriteString(before)
	b.WriteString("\n\nOPTIONS:")
	heading := ""
	for _, f := range flags {
		if c, ok := f.(cli.CategorizableFlag); ok && c.GetCategory() != heading {
			heading = c.GetCategory()
			b.WriteString("\n\n   " + heading)
		}
		b.WriteString("\n   " + f.String())
	}
	b.WriteString("\n   --help, -h\tshow help\n")
	return b.String()
}
