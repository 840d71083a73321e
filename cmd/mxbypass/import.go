package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"

	"mxbypass/mailbox"
	"mxbypass/mailbox/directory"
)

// maxBadLines are named; the others are counted.
const maxBadLines = 100

func (a *app) mailboxImport() *cobra.Command {
	var keepGoing, asJSON bool
	cmd := &cobra.Command{
		Use:   "import FILE.csv",
		Short: "Import domains, mailboxes and aliases from a CSV file, all of them or none",
		Long: "Import from a CSV file (UTF-8, commas, first line: the names of the columns; - reads the standard input).\n" +
			"Everything is imported in one transaction. A bad line means that nothing is, unless --keep-going;\n" +
			"the exit code is 65 then as well.\n\n" +
			"  address    user@domain, or the domain alone; required\n" +
			"  alias      where an alias leads: addresses with spaces between them; empty: a mailbox\n" +
			"  copies     of a mailbox: addresses that get its mail as well, with spaces between them\n" +
			"  disabled   yes or no\n" +
			"  site       of the domain; a domain that is missing is made when its line names a site\n" +
			"  mx         of a domain that is made: auto, local, external, split\n" +
			"  external   of a domain that is made: the way of its external mail, mx or smtp://host:port\n" +
			"  bypass     of a domain that is made: yes or no\n" +
			"  catch_all  of a domain that is made: a mailbox address\n" +
			"  password   of a mailbox: the hash of its password: argon2id, bcrypt or SHA-512-crypt\n" +
			"  authentication, upstreams  of a domain that is made: as domain add takes them, with spaces between upstreams",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			in, size, err := a.openInput(args[0])
			if err != nil {
				return err
			}
			defer in.Close()
			i := &importing{app: a, name: args[0], size: size, read: &countedReader{r: in}, terminal: isTerminal(a.errOut)}
			report, err := i.run(cmd, keepGoing)
			if err != nil {
				return err
			}
			if asJSON {
				err = a.printJSON(report)
			} else {
				err = a.say("imported %d domains, %d mailboxes, %d aliases; %d bad lines", report.Domains, report.Mailboxes,
					report.Aliases, report.Bad)
			}
			if err == nil && report.Bad > 0 {
				err = exit(exitData, nil) // they were named
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&keepGoing, "keep-going", false, "import the good lines and only name the bad ones")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print what was imported as JSON")
	return cmd
}

// openInput opens the file, or the standard input for "-". The size is 0 when nobody knows it.
func (a *app) openInput(name string) (io.ReadCloser, int64, error) {
	if name == "-" {
		return io.NopCloser(a.in), 0, nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, 0, exit(exitNoInput, err)
	}
	info, err := f.Stat()
	if err == nil && info.IsDir() {
		err = fmt.Errorf("%s is a folder", name)
	}
	if err != nil {
		return nil, 0, exit(exitNoInput, errors.Join(err, f.Close()))
	}
	return f, info.Size(), nil
}

type importing struct {
	app      *app
	name     string
	size     int64
	read     *countedReader
	terminal bool
	drawn    bool // there is a bar on the last line
	bad      int
}

func (i *importing) run(cmd *cobra.Command, keepGoing bool) (report directory.Report, err error) {
	rows, err := directory.ReadCSV(i.read)
	if err != nil {
		return report, i.inputExit(err)
	}
	o := directory.ImportOptions{KeepGoing: keepGoing, Bad: i.badLine}
	if i.terminal {
		o.Progress = i.draw
	}
	err = i.app.withEditor(cmd.Context(), true, func(e directory.Editor) error {
		report, err = e.Import(cmd.Context(), rows, o)
		return i.inputExit(err)
	})
	i.wipe()
	if more := i.bad - maxBadLines; more > 0 {
		fmt.Fprintf(i.app.errOut, "%s: and %d more bad lines\n", mailbox.Printable(i.name), more)
	}
	return report, err
}

// inputExit tells errors of the file from those of the directory.
func (i *importing) inputExit(err error) error {
	switch {
	case err == nil:
		return nil
	case i.read.err != nil && errors.Is(err, i.read.err):
		return exit(exitNoInput, err)
	case errors.Is(err, directory.ErrInvalid):
		return exit(exitData, fmt.Errorf("%s: %w", i.name, err))
	}
	return err
}

func (i *importing) badLine(line int, err error) {
	if i.bad++; i.bad > maxBadLines {
		return
	}
	i.wipe()
	fmt.Fprintln(i.app.errOut, mailbox.Printable(fmt.Sprintf("%s:%d: %v", i.name, line, err)))
}

// draw draws the bar over the one before.
func (i *importing) draw(lines int) {
	const width = 40
	i.drawn = true
	if i.size == 0 {
		fmt.Fprintf(i.app.errOut, "\r%d lines", lines)
		return
	}
	done := int(min(i.read.n, i.size) * width / i.size)
	fmt.Fprintf(i.app.errOut, "\r[%s%s] %3d %%  %d lines", strings.Repeat("#", done), strings.Repeat(".", width-done),
		done*100/width, lines)
}

func (i *importing) wipe() {
	if i.drawn {
		fmt.Fprint(i.app.errOut, "\r\x1b[K")
		i.drawn = false
	}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && isatty.IsTerminal(f.Fd())
}

// countedReader knows how far it is, and how it failed.
type countedReader struct {
	r   io.Reader
	n   int64
	err error
}

func (c *countedReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		c.err = err
	}
	return n, err
}
