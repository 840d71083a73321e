package sqldir_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"mxbypass/mailbox"
	"mxbypass/mailbox/directory"
	"mxbypass/mailbox/directory/sqldir"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var gateway = mailbox.MustDomainName("mx.host.test")

func options(path string) sqldir.Options {
	return sqldir.Options{
		Path: path, Create: true, CacheEntries: 1000, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Rules: directory.Rules{
			Delimiter: "+",
			HasSite:   func(s string) bool { return s != "nowhere" },
			Separators: func(d mailbox.DomainName) []string {
				if d == gateway {
					return []string{"%"}
				}
				return nil
			},
		},
	}
}

func open(t *testing.T, path string) *sqldir.Directory {
	t.Helper()
	d, err := sqldir.Open(t.Context(), options(path))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// filled is a directory with what the CSV text says.
func filled(t *testing.T, csv string) (*sqldir.Directory, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "directory.db")
	d := open(t, path)
	if bad, _, err := importText(t, d, csv, false); err != nil {
		t.Fatal(err, bad)
	}
	return d, path
}

func importText(t *testing.T, d *sqldir.Directory, csv string, keepGoing bool) (
	map[int]string, directory.Report, error,
) {
	t.Helper()
	source, err := directory.ReadCSV(strings.NewReader(csv))
	if err != nil {
		t.Fatal(err)
	}
	bad := map[int]string{}
	report, err := d.Import(t.Context(), source, directory.ImportOptions{KeepGoing: keepGoing,
		Bad: func(line int, err error) { bad[line] = err.Error() }})
	return bad, report, err
}

func address(s string) mailbox.Address {
	a, err := mailbox.ParseAddress(s)
	if err != nil {
		panic(err)
	}
	return a
}

func mailboxOf(s string, targets ...string) mailbox.Entry {
	e := mailbox.Entry{Address: address(s)}
	for _, to := range targets {
		e.Alias = append(e.Alias, address(to))
	}
	return e
}

// copied is a mailbox with copies.
func copied(s string, copies ...string) mailbox.Entry {
	return mailbox.Entry{Address: address(s), Copies: mailboxOf(s, copies...).Alias}
}

// contents lists everything, a line for each.
func contents(t *testing.T, d directory.Reader) []string {
	t.Helper()
	var lines []string
	for domain, err := range d.Domains(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		line := strings.Join([]string{domain.Name.ASCII(), domain.Site, string(domain.MX)}, " ")
		if domain.External != (mailbox.External{}) {
			line += " external=" + domain.External.String()
		}
		if !domain.CatchAll.IsNull() {
			line += " *" + domain.CatchAll.String()
		}
		lines = append(lines, line)
	}
	for e, err := range d.Entries(t.Context(), mailbox.DomainName{}) {
		if err != nil {
			t.Fatal(err)
		}
		line := e.Address.String()
		for _, to := range e.Alias {
			line += " >" + to.String()
		}
		for _, to := range e.Copies {
			line += " +" + to.String()
		}
		if e.Disabled {
			line += " disabled"
		}
		lines = append(lines, line)
	}
	return lines
}

func wantContents(t *testing.T, d directory.Reader, want ...string) {
	t.Helper()
	if got := contents(t, d); !slices.Equal(got, want) {
		t.Errorf("directory has\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func wantErr(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("error %v, want %v", err, want)
	}
}

func resolve(t *testing.T, d mailbox.Directory, a string) ([]string, error) {
	t.Helper()
	return resolveIn(t.Context(), d, address(a))
}

func resolveIn(ctx context.Context, dir mailbox.Directory, a mailbox.Address) ([]string, error) {
	r := mailbox.Resolver{Directory: dir, Delimiter: "+"}
	domain, err := r.Domain(ctx, a.Domain)
	if err != nil {
		return nil, err
	}
	got, err := r.Resolve(ctx, domain, a.Local)
	var to []string
	for _, r := range got.Recipients {
		to = append(to, r.Delivered.String())
	}
	for _, r := range got.Redirects {
		to = append(to, r.To.String()+" elsewhere")
	}
	return to, err
}
