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
			Args:  cobra.NoArgs,
			RunE:  func(cmd *cobra.Command, _ []string) error { return a.configCheck(cmd) },
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

// configCheck goes as far as serve goes before it touches anything: the configuration, the folders, the directory.
func (a *app) configCheck(cmd *cobra.Command) error {
	c, err := a.loadConfig()
	if err != nil {
		return err
	}
	if err := checkParts(cmd.Context(), c); err != nil {
		return exit(exitConfig, err)
	}
	fmt.Fprintf(a.out, "%s: ok\n", a.configFile)
	return nil
}
