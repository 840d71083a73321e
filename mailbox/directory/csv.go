package directory

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"mxbypass/mailbox"
	"mxbypass/mailbox/password"
)

// maxLine bounds a line of a CSV file: an alias with a thousand targets of usual length.
const maxLine = 256 << 10

// Columns are the columns that a CSV file may have, in any order. Only the first is required.
//
//	address    user@domain, or the domain alone for a line that is only about the domain
//	alias      the targets of an alias, separated by spaces; empty: a mailbox
//	copies     of a mailbox: addresses that get its mail as well, separated by spaces
//	disabled   yes or no (also true, false, 1, 0); empty: no
//	site       of the domain; a domain that is missing is made when its line names a site
//	mx         MX policy of a domain that is made: auto, local, external, split; empty: auto
//	external   by which way external mail of a domain that is made leaves: mx, smtp://host:port; empty: as all mail
//	bypass     of a domain that is made: yes or no; empty: yes
//	catch_all  of a domain that is made: a mailbox address
//	password   of a mailbox: the hash of its password, as mailbox/password verifies them; empty: none
//
//	authentication  of a domain that is made: off, mark, enforce; empty: as the configuration says
//	upstreams       of a domain that is made: networks, names of SPF records, auto, with spaces between them
var Columns = []string{"address", "alias", "copies", "disabled", "site", "mx", "external", "bypass", "catch_all",
	"password", "authentication", "upstreams"}

// ReadCSV reads the header line of a CSV file (RFC 4180, UTF-8, comma) and returns the rows below it. No field has a
// line break in it. The error wraps ErrInvalid, unless it is of r.
func ReadCSV(r io.Reader) (Source, error) {
	c := &csvReader{lines: bufio.NewScanner(r)}
	c.lines.Buffer(make([]byte, 0, 64<<10), maxLine)
	for c.next() {
		if c.text == "" {
			continue
		}
		if err := c.header(strings.TrimPrefix(c.text, "\ufeff")); err != nil {
			return nil, Invalidf("line %d: %w", c.line, err)
		}
		return c.rows, nil
	}
	if err := c.failure(); err != nil {
		return nil, err
	}
	return nil, Invalidf("line 1: the file is empty, want a line with the names of the columns")
}

type csvReader struct {
	lines   *bufio.Scanner
	line    int
	text    string
	columns []string
	fields  []string
	values  map[string]string
}

func (c *csvReader) next() bool {
	if !c.lines.Scan() || c.lines.Err() != nil { // half a line comes before the error that cut it
		return false
	}
	c.line++
	c.text = c.lines.Text()
	return true
}

// failure tells why there is no next line; nil at the end.
func (c *csvReader) failure() error {
	err := c.lines.Err()
	if errors.Is(err, bufio.ErrTooLong) {
		return Invalidf("line %d: longer than %d KiB", c.line+1, maxLine>>10)
	}
	return err
}

func (c *csvReader) header(text string) error {
	fields, err := splitCSV(nil, text)
	if err != nil {
		return err
	}
	for _, f := range fields {
		name := strings.ToLower(strings.TrimSpace(f))
		switch {
		case !slices.Contains(Columns, name):
			if len(fields) == 1 && strings.ContainsAny(f, ";\t") {
				return fmt.Errorf("unknown column %s; commas are wanted between the columns", shown(f))
			}
			return fmt.Errorf("unknown column %s; there are %s", shown(f), strings.Join(Columns, ", "))
		case slices.Contains(c.columns, name):
			return fmt.Errorf("column %q is there twice", name)
		}
		c.columns = append(c.columns, name)
	}
	if !slices.Contains(c.columns, "address") {
		return errors.New(`no column "address"`)
	}
	return nil
}

func (c *csvReader) rows(yield func(Row, error) bool) {
	c.values = make(map[string]string, len(c.columns))
	for c.next() {
		if c.text == "" {
			continue
		}
		row, err := c.row()
		if err != nil {
			row = Row{Err: err}
		}
		row.Line = c.line
		if !yield(row, nil) {
			return
		}
	}
	if err := c.failure(); err != nil {
		yield(Row{Line: c.line + 1}, err)
	}
}

func (c *csvReader) row() (Row, error) {
	var err error
	if c.fields, err = splitCSV(c.fields[:0], c.text); err != nil {
		return Row{}, err
	}
	if len(c.fields) != len(c.columns) {
		return Row{}, fmt.Errorf("%d fields, the header has %d", len(c.fields), len(c.columns))
	}
	for i, name := range c.columns {
		c.values[name] = strings.TrimSpace(c.fields[i])
	}
	return parseRow(c.values)
}

func parseRow(v map[string]string) (row Row, err error) {
	if row.Entry.Address, err = parseAddressOrDomain(v["address"]); err != nil {
		return Row{}, fmt.Errorf("address: %w", err)
	}
	if row.Entry.Alias, err = parseAddresses(v["alias"]); err != nil {
		return Row{}, fmt.Errorf("alias: %w", err)
	}
	if row.Entry.Copies, err = parseAddresses(v["copies"]); err != nil {
		return Row{}, fmt.Errorf("copies: %w", err)
	}
	if row.Secret = v["password"]; row.Secret != "" {
		if err := password.Check(row.Secret); err != nil {
			return Row{}, fmt.Errorf("password: %w", err)
		}
		if row.Entry.Address.Local == "" || len(row.Entry.Alias) > 0 {
			return Row{}, errors.New("password: only a mailbox has one")
		}
	}
	disabled, err := parseYes(v["disabled"], new(bool))
	if err != nil {
		return Row{}, fmt.Errorf("disabled: %w", err)
	}
	if row.Entry.Address.Local == "" {
		if row.Disabled = *disabled; len(row.Entry.Alias) > 0 {
			return Row{}, errors.New("alias: a domain alone has no targets")
		}
		if len(row.Entry.Copies) > 0 {
			return Row{}, errors.New("copies: a domain alone has none")
		}
	} else {
		row.Entry.Disabled = *disabled
	}
	err = parseDomain(v, &row)
	return row, err
}

// parseDomain reads the columns that a domain is made of.
func parseDomain(v map[string]string, row *Row) (err error) {
	if row.Bypass, err = parseYes(v["bypass"], nil); err != nil {
		return fmt.Errorf("bypass: %w", err)
	}
	row.Site, row.MX = v["site"], mailbox.MXPolicy(v["mx"])
	if row.MX != "" && !row.MX.Valid() {
		return fmt.Errorf("mx: %s is none of auto, local, external, split", shown(v["mx"]))
	}
	if row.External, err = mailbox.ParseExternal(v["external"]); err != nil {
		return fmt.Errorf("external: %s: %w", shown(v["external"]), err)
	}
	row.Authentication = mailbox.Authentication(v["authentication"])
	if !row.Authentication.Valid() {
		return fmt.Errorf("authentication: %s is none of off, mark, enforce", shown(v["authentication"]))
	}
	if row.Upstreams, err = mailbox.ParseUpstreams(strings.Fields(v["upstreams"])); err != nil {
		return fmt.Errorf("upstreams: %w", err)
	}
	if all := v["catch_all"]; all != "" {
		if row.CatchAll, err = mailbox.ParseAddress(all); err != nil {
			return fmt.Errorf("catch_all: %w", err)
		}
	}
	return nil
}

// parseAddresses reads addresses with spaces between them.
func parseAddresses(s string) (list []mailbox.Address, err error) {
	for field := range strings.FieldsSeq(s) {
		a, err := mailbox.ParseAddress(field)
		if err != nil {
			return nil, err
		}
		list = append(list, a)
	}
	return list, nil
}

func parseAddressOrDomain(s string) (mailbox.Address, error) {
	if strings.Contains(s, "@") {
		return mailbox.ParseAddress(s)
	}
	d, err := mailbox.ParseDomainName(s)
	return mailbox.Address{Domain: d}, err
}

// maxShown is how many characters of a wrong field an error shows.
const maxShown = 80

// shown quotes a wrong field for an error: printable, and no longer than somebody reads.
func shown(field string) string {
	cut := ""
	n := 0
	for i := range field {
		if n++; n > maxShown {
			field, cut = field[:i], "..."
			break
		}
	}
	return strconv.Quote(mailbox.Printable(field)) + cut
}

// parseYes reads yes or no; nothing gives what is usual.
func parseYes(s string, usual *bool) (*bool, error) {
	var b bool
	switch strings.ToLower(s) {
	case "":
		return usual, nil
	case "yes", "true", "1":
		b = true
	case "no", "false", "0":
	default:
		return nil, fmt.Errorf("%s is neither yes nor no", shown(s))
	}
	return &b, nil
}

// splitCSV appends the fields of one line. A field may be in quotes, which are doubled inside of it.
func splitCSV(fields []string, line string) ([]string, error) {
	for {
		if !strings.HasPrefix(line, `"`) {
			field, rest, more := strings.Cut(line, ",")
			if strings.Contains(field, `"`) {
				return nil, errors.New("a quote inside of a field that does not start with one")
			}
			fields = append(fields, field)
			if !more {
				return fields, nil
			}
			line = rest
			continue
		}
		end := 1
		for {
			i := strings.IndexByte(line[end:], '"')
			if i < 0 {
				return nil, errors.New("a quote is not closed")
			}
			if end += i + 1; end == len(line) || line[end] != '"' {
				break
			}
			end++
		}
		fields = append(fields, strings.ReplaceAll(line[1:end-1], `""`, `"`))
		if end == len(line) {
			return fields, nil
		}
		if line[end] != ',' {
			return nil, errors.New("something follows a closing quote")
		}
		line = line[end+1:]
	}
}
