package config

import (
	"fmt"

	"github.com/urfave/cli/v2"
)

// The shells ask the program itself, by its hidden command __words: it knows
// its commands and flags. Where it offers nothing they offer files.
const bashCompletion = `_%[1]s() {
  local IFS=$'\n'
  COMPREPLY=($("${COMP_WORDS[0]}" __words "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
  if [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *[:/] ]]; then compopt -o nospace; fi
}
complete -o bashdefault -o default -F _%[1]s %[1]s
`

const zshCompletion = `#compdef %[1]s
_%[1]s() {
  local -a found
  found=("${(@f)$(${words[1]} __words "${(@)words[2,CURRENT]}" 2>/dev/null)}")
  if [[ -n "${found[1]}" ]]; then
    compadd -S '' -- ${(M)found:#*[:/]}
    compadd -- ${found:#*[:/]}
  else
    _files
  fi
}
if [[ "$funcstack[1]" = "_%[1]s" ]]; then _%[1]s "$@"; else compdef _%[1]s %[1]s; fi
`

const fishCompletion = `function __complete_%[1]s
  set -l found (%[1]s __words (commandline -opc)[2..-1] (commandline -ct) 2>/dev/null)
  if test -n "$found"
    printf '%%s\n' $found
  else
    __fish_complete_path (commandline -ct)
  end
end
complete -c %[1]s -f -a '(__complete_%[1]s)'
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
		Description: fmt.Sprintf(`Examples:
   source <(%[1]s completion bash)
   %[1]s completion zsh > "${fpath[1]}/_%[1]s"
   %[1]s completion fish > ~/.config/fish/completions/%[1]s.fish`, name),
		Subcommands: []*cli.Command{
			{Name: "bash", Usage: "for bash", Action: print(bashCompletion)},
			{Name: "zsh", Usage: "for zsh", Action: print(zshCompletion)},
			{Name: "fish", Usage: "for fish", Action: print(fishCompletion)},
		},
	}
}

// words prints what the last argument, which may be empty, can become.
func words(app *cli.App) *cli.Command {
	return &cli.Command{
		Name: "__words", Hidden: true, HideHelp: true, SkipFlagParsing: true,
		Action: func(c *cli.Context) error {
			for _, w := range complete(app, c.Args().Slice()) {
				if _, err := fmt.Fprintln(c.App.Writer, w); err != nil {
					return err
				}
			}
			return nil
		},
	}
}
