package main

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// What the linker is told (see the Makefile); nothing else sets them.
var version, commit string

// versions are what the linker was told, or else what Go has put into the binary.
type versions struct {
	Version string `json:"version"`
	Commit  string `json:"commit"`
	Go      string `json:"go"`
}

func readVersions() versions {
	v := versions{Version: version, Commit: commit, Go: runtime.Version()}
	if info, ok := debug.ReadBuildInfo(); ok {
		v.Version = cmp.Or(v.Version, info.Main.Version)
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				v.Commit = cmp.Or(v.Commit, s.Value)
			}
		}
	}
	v.Version, v.Commit = cmp.Or(v.Version, "unknown"), cmp.Or(v.Commit, "unknown")
	return v
}

func (v versions) String() string {
	return fmt.Sprintf("mxbypass %s\ncommit %s\n%s\n", v.Version, v.Commit, v.Go)
}

func (a *app) versionCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "version",
		Short: "Version, commit and Go version",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			v := readVersions()
			if asJSON {
				return a.printJSON(v)
			}
			return a.printText(v.String())
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "for machines")
	return c
}
