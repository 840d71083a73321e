package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// needSubcommand is the RunE of commands that only hold others. With an argument that names none of them it tells those
// that look like it.
func needSubcommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		_ = cmd.Help()
		return exit(exitUsage, nil)
	}
	cmd.SuggestionsMinimumDistance = 2 // letters
	name, did := cmd.CommandPath(), ""
	if similar := cmd.SuggestionsFor(args[0]); len(similar) > 0 {
		did = fmt.Sprintf("; did you mean %s?", strings.Join(similar, " or "))
	}
	return exit(exitUsage, fmt.Errorf("unknown command %q for %s%s (%[2]s --help lists them)", args[0], name, did))
}

// helpCommand replaces the one of cobra, whose exit code is 0 also for a command that there is not.
func helpCommand(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Tell how a command is written",
		RunE: func(_ *cobra.Command, args []string) error {
			cmd, rest, err := root.Find(args)
			if err != nil {
				return exit(exitUsage, err)
			}
			if len(rest) > 0 {
				return needSubcommand(cmd, rest)
			}
			cmd.InitDefaultHelpFlag() // which its help shows
			return cmd.Help()
		},
	}
}

// withUsage adds how the command is written to what the parser of the command line says.
func withUsage(cmd *cobra.Command, err error) error {
	var ours *exitError
	if err == nil || errors.As(err, &ours) {
		return err
	}
	return exit(exitUsage, fmt.Errorf("%w\nusage: %s (%s --help tells more)", err, cmd.UseLine(), cmd.CommandPath()))
}
