package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"mxbypass/configs"
	"mxbypass/mailbox"
	"mxbypass/mailbox/directory"
	"mxbypass/mailbox/directory/file"
	"mxbypass/mailbox/directory/sqldir"
)

const exitNoUser = 67 // no such domain or mailbox

// withReader opens the configured directory for do, and gives every error its exit code.
func (a *app) withReader(ctx context.Context, do func(directory.Reader) error) error {
	c, err := a.loadConfig()
	if err != nil {
		return err
	}
	d, err := openDirectory(ctx, c, slog.New(slog.DiscardHandler))
	if err != nil {
		return directoryExit(err)
	}
	return directoryExit(errors.Join(do(d), d.Close()))
}

// withEditor opens the configured directory for changes. With create, a database that is missing is made.
func (a *app) withEditor(ctx context.Context, create bool, do func(directory.Editor) error) error {
	c, err := a.loadConfig()
	if err != nil {
		return err
	}
	if c.Directory.Driver != configs.DriverSQLite {
		return exit(exitNoPermission, fmt.Errorf("the directory is the file %s: edit it, it is read again when it changes",
			c.Directory.Path))
	}
	path := c.Directory.Path
	made := create && missing(path)
	d, err := sqldir.Open(ctx, sqldir.Options{
		Path: path, Create: create, Rules: rulesOf(c), Log: slog.New(slog.DiscardHandler),
	})
	if errors.Is(err, fs.ErrNotExist) && create {
		return exit(exitCantCreate, err)
	}
	if err != nil {
		return directoryExit(withRemedy(c, err))
	}
	err = do(d)
	unwanted := err != nil && made && isEmpty(ctx, d)
	err = errors.Join(err, d.Close())
	if unwanted { // it would refuse all mail
		err = errors.Join(err, os.Remove(path))
	}
	return directoryExit(err)
}

// withRemedy adds to the error of a directory that cannot be opened what is to be done about it.
func withRemedy(c *configs.Config, err error) error {
	path, sqlite := c.Directory.Path, c.Directory.Driver == configs.DriverSQLite
	if missing(path) {
		if sqlite {
			return fmt.Errorf("%w (mxbypass domain add makes it)", err)
		}
		return fmt.Errorf("%w (write it, with a [[domain]] for each hosted domain)", err)
	}
	if !sqlite { // whose driver does not say that it is for want of permission
		return err
	}
	f, cause := os.OpenFile(path, os.O_RDWR, 0)
	if cause == nil {
		return errors.Join(err, f.Close())
	}
	if errors.Is(cause, fs.ErrPermission) {
		return errors.Join(err, cause)
	}
	return err
}

// isEmpty tells whether a directory is known to have no domain.
func isEmpty(ctx context.Context, d directory.Reader) bool {
	next, stop := iter.Pull2(d.Domains(ctx))
	defer stop()
	_, _, found := next() // a domain, or an error
	return !found
}

// directoryExit gives an error of a directory its exit code.
func directoryExit(err error) error {
	var known *exitError
	var problems file.Problems
	if err == nil || errors.As(err, &known) {
		return err
	}
	if errors.As(err, &problems) {
		return exit(exitConfig, err)
	}
	for _, c := range []struct {
		is   error
		code int
	}{
		{directory.ErrInvalid, exitData},
		{mailbox.ErrSyntax, exitData},
		{mailbox.ErrTooLong, exitData},
		{directory.ErrExists, exitRefused},
		{directory.ErrInUse, exitRefused},
		{mailbox.ErrNoDomain, exitNoUser},
		{mailbox.ErrNoMailbox, exitNoUser},
		{directory.ErrReadOnly, exitNoPermission},
		{mailbox.ErrNoSpace, exitIO},
		{fs.ErrPermission, exitNoPermission},
		{mailbox.ErrUnavailable, exitTemporary},
		{fs.ErrNotExist, exitNoInput},
	} {
		if errors.Is(err, c.is) {
			return exit(c.code, err)
		}
	}
	return exit(exitUnavailable, err)
}

// list writes what items yields while it comes: in lines for people, or one JSON object in a line.
func list[T any](a *app, asJSON bool, items iter.Seq2[T, error], line func(T) string, object func(T) any) error {
	w := bufio.NewWriter(a.out)
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	for item, err := range items {
		if err != nil {
			return errors.Join(err, w.Flush())
		}
		if asJSON {
			err = e.Encode(object(item))
		} else {
			_, err = fmt.Fprintln(w, line(item))
		}
		if err != nil {
			return exit(exitIO, err)
		}
	}
	if err := w.Flush(); err != nil {
		return exit(exitIO, err)
	}
	return nil
}

// say prints what was done, for people.
func (a *app) say(format string, args ...any) error {
	if _, err := fmt.Fprintf(a.out, format+"\n", args...); err != nil {
		return exit(exitIO, err)
	}
	return nil
}

// onArgument makes the RunE of a command with one argument that read understands.
func onArgument[T any](read func(string) (T, error), do func(*cobra.Command, T) error) func(
	*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		argument, err := read(args[0])
		if err != nil {
			return err
		}
		return do(cmd, argument)
	}
}

// domainArg and addressArg read arguments of the command line.
func domainArg(s string) (mailbox.DomainName, error) {
	d, err := mailbox.ParseDomainName(s)
	if err != nil {
		return d, exit(exitData, fmt.Errorf("domain %q: %w", s, err))
	}
	return d, nil
}

func addressArg(s string) (mailbox.Address, error) {
	a, err := mailbox.ParseAddress(s)
	if err != nil {
		return a, exit(exitData, fmt.Errorf("address %q: %w", s, err))
	}
	return a, nil
}
