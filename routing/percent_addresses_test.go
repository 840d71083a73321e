package routing_test

import (
	"bufio"
	"context"
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"

	"mxbypass/mailbox"
	"mxbypass/routing"
)

// row is one test of testdata/percent-addresses.txt; the head of the file tells the format and the world.
type row struct {
	line      int
	form      string // the row of the table that it belongs to
	path      string
	utf8      bool
	outcome   string
	mailbox   string
	delivered string
}

func readRows(t *testing.T) []row {
	t.Helper()
	f, err := os.Open("testdata/percent-addresses.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var rows []row
	var form string
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		line := lines.Text()
		switch {
		case strings.HasPrefix(line, "## "):
			form = line[3:]
			continue
		case line == "" || line[0] == '#':
			continue
		}
		r := row{line: n, form: form}
		if line[0] == '"' {
			quoted, err := strconv.QuotedPrefix(line)
			if err != nil {
				t.Fatalf("line %d: %v", n, err)
			}
			if r.path, err = strconv.Unquote(quoted); err != nil {
				t.Fatalf("line %d: %v", n, err)
			}
			line = line[len(quoted):]
		} else {
			r.path, line, _ = strings.Cut(line, " ")
		}
		fields := strings.Fields(line)
		if len(fields) < 5 || len(fields) > 6 {
			t.Fatalf("line %d: %d fields after the path", n, len(fields))
		}
		r.utf8, r.outcome, r.mailbox, r.delivered = fields[0] == "utf8", fields[3], fields[4], fields[4]
		if len(fields) == 6 {
			r.delivered = fields[5]
		}
		rows = append(rows, r)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return rows
}

// rowWorld is the world that the head of testdata/percent-addresses.txt tells.
func rowWorld(t *testing.T) routing.Options {
	d := newDirectory()
	add := func(domain, site string, bypass bool, catchAll string, locals ...mailbox.LocalPart) {
		entry := mailbox.Domain{Name: name(domain), Site: site, MX: mailbox.PolicyLocal, Bypass: bypass}
		if catchAll != "" {
			entry.CatchAll = address(t, catchAll)
		}
		d.add(entry, locals...)
	}
	add("exemple.org", "cloud", true, "", "u", "abuse", "foobar", "else%2bsomething")
	d.put(mailbox.Entry{
		Address: address(t, "info@exemple.org"),
		Alias:   []mailbox.Address{address(t, "u@exemple.org")},
	})
	add("customer.test", "vps42", true, "", "u")
	add("closed.test", "cloud", false, "", "u")
	add("catch.test", "cloud", true, "u@catch.test", "u")
	add("xn--tda.example", "cloud", true, "", "u", "ü")
	add("hosted.test", "cloud", true, "", "u")
	return routing.Options{
		Hostname: name("own.host.test"),
		Gateways: []routing.Gateway{
			{Host: name("mx.host.test"), Sites: everySite},
			{Host: name("vps42.host.test"), Sites: []string{"vps42"}},
			{Host: name("eq.host.test"), Sites: everySite, Separators: []string{"%", "="}},
			{Host: name("only.host.test"), Sites: everySite, Separators: []string{"="}},
			{Host: name("hosted.test"), Sites: everySite},
		},
		Resolver: resolver(d),
		MX:       states{},
	}
}

// TestPercentAddresses is every row of the table, for a client that is not trusted.
func TestPercentAddresses(t *testing.T) {
	r := router(t, rowWorld(t))
	for _, row := range readRows(t) {
		t.Run(row.form+"/"+row.path, func(t *testing.T) {
			route, err := routeCommand(r, row, routing.Client{})
			checkRow(t, row, route, err)
		})
	}
}

// TestPercentAddressesTrusted: every bypass address has the same answer for a trusted client.
func TestPercentAddressesTrusted(t *testing.T) {
	r := router(t, rowWorld(t))
	relayed := map[string]bool{ // plain addresses elsewhere
		"<postmaster@elsewhere.test>": true, "<@mx.host.test:u@elsewhere.test>": true, "<u@elsewhere.test>": true,
		"<u@[192.0.2.1]>": true, "<u%exemple.org@elsewhere.test>": true, "<u%exemple.org@sub.mx.host.test>": true,
	}
	for _, row := range readRows(t) {
		t.Run(row.form+"/"+row.path, func(t *testing.T) {
			route, err := routeCommand(r, row, routing.Client{Trusted: true})
			if !relayed[row.path] {
				checkRow(t, row, route, err)
				return
			}
			if err != nil || route.Action != routing.Relay || len(route.Outbound) != 1 {
				t.Errorf("line %d: %s, %v; want a relay", row.line, route.Short(), err)
			}
		})
	}
}

// routeCommand does with a row what a session does with a RCPT command: cut, parse, route.
func routeCommand(r *routing.Router, row row, client routing.Client) (routing.Route, error) {
	path, _, err := mailbox.CutPath(row.path)
	if err != nil {
		return routing.Route{}, err
	}
	parsed, err := mailbox.ParsePath(path, row.utf8)
	if err != nil {
		return routing.Route{}, err
	}
	return r.Route(context.Background(), parsed, client), nil
}

func checkRow(t *testing.T, row row, route routing.Route, parsing error) {
	t.Helper()
	outcome := route.Explanation().Reason
	switch {
	case errors.Is(parsing, mailbox.ErrSyntax):
		outcome = "syntax"
	case errors.Is(parsing, mailbox.ErrTooLong):
		outcome = "too_long"
	case errors.Is(parsing, mailbox.ErrNeedsUTF8):
		outcome = "needs_utf8"
	case route.Action == routing.Deliver:
		outcome = "deliver"
	case route.Action != routing.Refuse:
		t.Errorf("line %d: %s", row.line, route.Action)
	}
	if outcome != row.outcome {
		t.Fatalf("line %d: %s (%v, %s), want %s", row.line, outcome, parsing, route.Short(), row.outcome)
	}
	if outcome != "deliver" {
		if len(route.Recipients) != 0 {
			t.Errorf("line %d: refused, with recipients %v", row.line, route.Recipients)
		}
		return
	}
	if len(route.Recipients) != 1 {
		t.Fatalf("line %d: %d recipients", row.line, len(route.Recipients))
	}
	to := route.Recipients[0]
	if row.mailbox == "(postmaster)" {
		if to.Mailbox.Site != mailbox.SitePostmaster {
			t.Errorf("line %d: in site %s, want the fallback mailbox", row.line, to.Mailbox.Site)
		}
		return
	}
	if to.Mailbox.Address.Wire() != row.mailbox || to.Delivered.Wire() != row.delivered {
		t.Errorf("line %d: to %s, delivered to %s", row.line, to.Mailbox.Address.Wire(), to.Delivered.Wire())
	}
	if written := strings.Trim(row.path, "<>"); to.Original != written {
		t.Errorf("line %d: original %q, want %q", row.line, to.Original, written)
	}
}
