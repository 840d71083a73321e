package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"mxbypass/configs"
)

func (a *app) configCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "config",
		Short: "Check a configuration, or print the commented reference",
		Args:  cobra.ArbitraryArgs,
		RunE:  needSubcommand,
	}
	c.AddCommand(
		&cobra.Command{
			Use:   "check",
			Short: "Say all that is wrong with a configuration, without starting anything",
			Long: "Say all that is wrong with a configuration, its files and its folders, as serve would, one line for each\n" +
				"mistake.\n\n" +
				"Nothing is changed, nobody is asked, and a relay may run meanwhile: whether ports are free, and whether\n" +
				"servers, filters and DNS answer, is not looked at. Run it as the user of the relay: what is allowed is that\n" +
				"user's. It warns of what can be used and may not be meant so; that is no failure.",
			Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error { return a.configCheck(cmd) },
		},
		&cobra.Command{
			Use:   "reference",
			Short: "Print every key with its default and what it means",
			Args:  cobra.NoArgs,
			RunE: func(*cobra.Command, []string) error {
				if _, err := io.WriteString(a.out, configs.Reference); err != nil {
					return exit(exitIO, err)
				}
				return nil
			},
		},
	)
	return c
}

// configCheck goes as far as serve goes before it listens, and changes nothing. Warnings are no failure.
func (a *app) configCheck(cmd *cobra.Command) error {
	c, keys := a.readConfig()
	warnings, err := checkParts(cmd.Context(), c, keys, new(shared))
	for _, line := range warnings {
		fmt.Fprintln(a.errOut, line)
	}
	if err != nil {
		return exit(exitConfig, err)
	}
	fmt.Fprintf(a.out, "%s: ok\n", a.configFile)
	return nil
}
