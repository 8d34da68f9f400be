package config

import (
	"fmt"

	"github.com/urfave/cli/v2"
)

// The shells ask the program itself: it knows its commands and flags.
const bashCompletion = `_%[1]s() {
  local cur words
  cur="${COMP_WORDS[COMP_CWORD]}"
  if [[ "$cur" == -* ]]; then
    words=$("${COMP_WORDS[@]:0:$COMP_CWORD}" "$cur" --generate-bash-completion 2>/dev/null)
  else
    words=$("${COMP_WORDS[@]:0:$COMP_CWORD}" --generate-bash-completion 2>/dev/null)
  fi
  COMPREPLY=($(compgen -W "$words" -- "$cur"))
}
complete -o bashdefault -o default -F _%[1]s %[1]s
`

const zshCompletion = `#compdef %[1]s
_%[1]s() {
  local -a opts
  local cur=${words[-1]}
  if [[ "$cur" == -* ]]; then
    opts=("${(@f)$(${words[@]:0:#words[@]-1} ${cur} --generate-bash-completion 2>/dev/null)}")
  else
    opts=("${(@f)$(${words[@]:0:#words[@]-1} --generate-bash-completion 2>/dev/null)}")
  fi
  if [[ -n "${opts[1]}" ]]; then _describe 'values' opts; else _files; fi
}
compdef _%[1]s %[1]s
`

func completion(name string) *cli.Command {
	print := func(script string) cli.ActionFunc {
		return func(c *cli.Context) error {
			_, err := fmt.Fprintf(c.App.Writer, script, name)
			return err
		}
	}
	return &cli.Command{
		Name: "completion", Usage: "print a shell's completion script",
		Description: fmt.Sprintf("Examples:\n   source <(%[1]s completion bash)\n   %[1]s completion fish > ~/.config/fish/completions/%[1]s.fish", name),
		Subcommands: []*cli.Command{
			{Name: "bash", Usage: "for bash", Action: print(bashCompletion)},
			{Name: "zsh", Usage: "for zsh", Action: print(zshCompletion)},
			{Name: "fish", Usage: "for fish", Action: func(c *cli.Context) error {
				s, err := c.App.ToFishCompletion()
				if err == nil {
					_, err = fmt.Fprint(c.App.Writer, s)
				}
				return err
			}},
		},
	}
}
