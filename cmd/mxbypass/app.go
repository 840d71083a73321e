package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"mxbypass/configs"
	"mxbypass/mailbox"
	"mxbypass/mailbox/directory/file"
)

// Exit codes, after sysexits.h where it has one.
const (
	exitOK           = 0
	exitRefused      = 1  // the answer is no
	exitUsage        = 64 // the command was written wrongly
	exitData         = 65 // what was read is wrong
	exitNoInput      = 66 // a file that cannot be read
	exitUnavailable  = 69 // an address in use, a server that does not answer
	exitSoftware     = 70 // what should not happen
	exitCantCreate   = 73 // a file that cannot be made
	exitIO           = 74
	exitTemporary    = 75 // cannot be known or done now
	exitNoPermission = 77
	exitConfig       = 78
)

const defaultConfig = "/etc/mxbypass/mxbypass.toml"

// app is one run of the program: its streams and what all subcommands share.
type app struct {
	in          io.Reader
	out, errOut io.Writer
	configFile  string // -c
}

func newApp(in io.Reader, out, errOut io.Writer) *app { return &app{in: in, out: out, errOut: errOut} }

// exitError is an error that knows the exit code of the program. With no error in it nothing is printed: the command has
// said all there is.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// exit gives an error its exit code. A nil err ends the program with that code and without a word.
func exit(code int, err error) error { return &exitError{code, err} }

// run executes the command line and returns the exit code. Errors go to the error stream, each in lines of its own.
func (a *app) run(args []string) int {
	root := a.rootCommand()
	root.SetArgs(args)
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.errOut)
	return a.report(withUsage(root.ExecuteContextC(context.Background())))
}

func (a *app) report(err error) int {
	if err == nil {
		return exitOK
	}
	code := exitSoftware
	var e *exitError
	if errors.As(err, &e) {
		if code = e.code; e.err == nil {
			return code
		}
	}
	for _, line := range errorLines(err) {
		fmt.Fprintln(a.errOut, line)
	}
	return code
}

// errorLines gives an error in printable lines. What is wrong with a file starts with its place, file:line:column, so
// that editors find it.
func errorLines(err error) []string {
	var inConfig configs.Problems
	var inDirectory file.Problems
	switch e := err.(type) { //nolint:errorlint // one layer after the other
	case interface{ Unwrap() []error }:
		var lines []string
		for _, err := range e.Unwrap() {
			lines = append(lines, errorLines(err)...)
		}
		return lines
	case *exitError:
		return errorLines(e.err)
	}
	prefix := "mxbypass: "
	if errors.As(err, &inConfig) || errors.As(err, &inDirectory) {
		prefix = ""
	}
	var lines []string
	for line := range strings.SplitSeq(err.Error(), "\n") {
		lines = append(lines, prefix+mailbox.Printable(line))
	}
	return lines
}

func (a *app) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "mxbypass",
		Short: "Delivers mail for user%domain@gateway to the mailbox that is kept here, past the MX of the domain",
		Args:  cobra.ArbitraryArgs,
		RunE:  needSubcommand,

		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
	}
	root.Version = readVersions().Version // for --version, which says what the subcommand does
	root.SetVersionTemplate(readVersions().String())
	root.SetHelpCommand(helpCommand(root))
	root.PersistentFlags().StringVarP(&a.configFile, "config", "c", defaultConfig, "configuration `file`")
	root.AddCommand(
		a.serveCommand(),
		a.demoCommand(),
		a.routeCommand(),
		a.mxCommand(),
		a.domainCommand(),
		a.mailboxCommand(),
		a.queueCommand(),
		a.dkimCommand(),
		a.configCommand(),
		a.versionCommand(),
	)
	return root
}

// readConfig reads the configuration file. Beside an error there may be a configuration to find more mistakes by.
func (a *app) readConfig() (*configs.Config, error) {
	c, err := configs.Load(a.configFile)
	if err != nil && a.configFile == defaultConfig && missing(defaultConfig) {
		return nil, fmt.Errorf("%s does not exist: write it (mxbypass config reference shows every key), "+
			"or name another file with -c", defaultConfig)
	}
	return c, err
}

// loadConfig reads the configuration file for a command that uses it. Its error has the exit code.
func (a *app) loadConfig() (*configs.Config, error) {
	c, err := a.readConfig()
	if err != nil {
		return nil, exit(exitConfig, err)
	}
	return c, nil
}

// missing tells that a file is not there, rather than that it cannot be read.
func missing(path string) bool {
	_, err := os.Stat(path)
	return errors.Is(err, fs.ErrNotExist)
}

// printJSON writes v to the output, for machines.
func (a *app) printJSON(v any) error {
	e := json.NewEncoder(a.out)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return exit(exitIO, err)
	}
	return nil
}
