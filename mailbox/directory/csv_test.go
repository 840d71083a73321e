package directory_test

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"mxbypass/mailbox"
	"mxbypass/mailbox/directory"
)

// read returns a line for each row: what it says, or its error.
func read(text string) ([]string, error) {
	source, err := directory.ReadCSV(strings.NewReader(text))
	if err != nil {
		return nil, err
	}
	var rows []string
	for row, err := range source {
		if err != nil {
			return rows, err
		}
		rows = append(rows, describe(row))
	}
	return rows, nil
}

func describe(row directory.Row) string {
	if row.Err != nil {
		return fmt.Sprintf("%d! %v", row.Line, row.Err)
	}
	s := fmt.Sprintf("%d %s@%s", row.Line, row.Entry.Address.Local, row.Entry.Address.Domain)
	for _, to := range row.Entry.Alias {
		s += " >" + to.Wire()
	}
	if row.Entry.Disabled || row.Disabled {
		s += " disabled"
	}
	if row.Site != "" || row.MX != "" {
		s += fmt.Sprintf(" site=%s mx=%s", row.Site, row.MX)
	}
	if row.External != (mailbox.External{}) {
		s += " external=" + row.External.String()
	}
	for _, to := range row.Entry.Copies {
		s += " +" + to.Wire()
	}
	if row.Bypass != nil {
		s += fmt.Sprintf(" bypass=%v", *row.Bypass)
	}
	if !row.CatchAll.IsNull() {
		s += " *" + row.CatchAll.Wire()
	}
	return s
}

func TestReadCSV(t *testing.T) {
	got, err := read("\ufeffAddress , ALIAS,disabled,site,mx,bypass,catch_all\r\n" +
		"a@d.test,,,,,,\r\n" +
		"\n" +
		`"b@D.Test","c@d.test  d@d.test",no,,,,` + "\n" +
		"d.test,,yes,cloud,split,no,a@d.test\n" +
		`ü@bücher.test,,TRUE,"say ""cloud"", please",auto,1,` + "\n" +
		"a@d.test\n" +
		"a,,,,,,,\n" +
		"@d.test,,,,,,\n" +
		"..@d.test,,,,,,\n" +
		"a@d.test,x,,,,,\n" +
		"d.test,a@d.test,,,,,\n" +
		"a@d.test,,maybe,,,,\n" +
		"a@d.test,,,,,maybe,\n" +
		"a@d.test,,,,never,,\n" +
		"a@d.test,,,,,,d.test\n" +
		`a@d.test,"open,,,,,` + "\n" +
		`a@d.test,"closed"x,,,,,` + "\n" +
		`a@d.test,in"side,,,,,` + "\n" +
		"last@d.test,,,,,,")
	want := []string{
		"2 a@d.test",
		"4 b@d.test >c@d.test >d@d.test",
		"5 @d.test disabled site=cloud mx=split bypass=false *a@d.test",
		`6 ü@xn--bcher-kva.test disabled site=say "cloud", please mx=auto bypass=true`,
		"7! 1 fields, the header has 7",
		"8! 8 fields, the header has 7",
		"9! address: invalid address: empty local part",
		"10! address: invalid address: invalid local part",
		"11! alias: invalid address: no domain",
		"12! alias: a domain alone has no targets",
		`13! disabled: "maybe" is neither yes nor no`,
		`14! bypass: "maybe" is neither yes nor no`,
		`15! mx: "never" is none of auto, local, external, split`,
		"16! catch_all: invalid address: no domain",
		"17! a quote is not closed",
		"18! something follows a closing quote",
		"19! a quote inside of a field that does not start with one",
		"20 last@d.test",
	}
	if err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestReadCSVOfMailThatLeaves(t *testing.T) {
	got, err := read("address,site,copies,External,alias\n" +
		"a@d.test,,b@abroad.test  c@d.test,,\n" +
		"b@d.test,cloud,,smtp://Relay.test,x@abroad.test\n" +
		"d.test,cloud,,mx,\n" +
		"c@d.test,,b@d.test x,,\n" +
		"d.test,,b@d.test,,\n" +
		"d.test,cloud,,lmtp://relay.test,\n" +
		"d.test,cloud,,\x1b" + strings.Repeat("x", 100) + ",\n")
	want := []string{
		"2 a@d.test +b@abroad.test +c@d.test",
		"3 b@d.test >x@abroad.test site=cloud mx= external=smtp://relay.test:25",
		"4 @d.test site=cloud mx= external=mx",
		"5! copies: invalid address: no domain",
		"6! copies: a domain alone has none",
		`7! external: "lmtp://relay.test": invalid address: unknown scheme "lmtp": want "mx", "smtp://host:port" or nothing`,
		`8! external: "�` + strings.Repeat("x", 79) + `"...: invalid address: no scheme: ` +
			`want "mx", "smtp://host:port" or nothing`,
	}
	if err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestReadCSVOfTrust(t *testing.T) {
	const hash = "$2y$05$hrGZkC1hCkJLC27TUB5vde2u8pczuCjO5ngp7ub7xXz0IQfkuIoN2"
	source, err := directory.ReadCSV(strings.NewReader("Password,address,alias,authentication,upstreams\n" +
		hash + ",a@d.test,,enforce,auto  192.0.2.1 _SPF.x.test\n" +
		",d.test,,off,\n" +
		"geheim,a@d.test,,,\n" +
		hash + ",d.test,,,\n" +
		hash + ",a@d.test,b@d.test,,\n" +
		",a@d.test,,never,\n" +
		",a@d.test,,,auto auto\n" +
		",a@d.test,,,192.0.2.1/24\n"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for row, err := range source {
		if err != nil {
			t.Fatal(err)
		}
		if row.Err != nil {
			got = append(got, row.Err.Error())
			continue
		}
		got = append(got, fmt.Sprintf("%s %s %s", row.Secret, row.Authentication, row.Upstreams))
	}
	want := []string{
		hash + " enforce [auto 192.0.2.1/32 _spf.x.test]",
		" off []",
		"password: not a usable password hash: want argon2id, bcrypt or SHA-512-crypt",
		"password: only a mailbox has one",
		"password: only a mailbox has one",
		`authentication: "never" is none of off, mark, enforce`,
		"upstreams: invalid address: auto is there twice",
		`upstreams: "192.0.2.1/24": invalid address: there are bits beside the network: 192.0.2.0/24 was meant?`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestBadCSVFiles(t *testing.T) {
	long := strings.Repeat("x", 300<<10)
	for text, want := range map[string]string{
		"":                                "line 1: the file is empty",
		"\n\n":                            "line 1: the file is empty",
		"alias\n":                         `line 1: no column "address"`,
		"\naddress;alias\n":               `line 2: unknown column "address;alias"; commas are wanted`,
		strings.Repeat("\x00é", 9000):     `line 1: unknown column "` + strings.Repeat("\ufffdé", 40) + `"...; there are`,
		"address\talias\n":                "line 1: unknown column \"address\ufffdalias\"; commas are wanted",
		"address,mailbox\n":               `line 1: unknown column "mailbox"`,
		"address,site,Site\n":             `line 1: column "site" is there twice`,
		`"address` + "\n":                 "line 1: a quote is not closed",
		"\x1b[31maddress\n":               "line 1: unknown column \"\ufffd[31maddress\"",
		long:                              "line 1: longer than 256 KiB",
		"address\na@d.test\n\n" + long:    "line 4: longer than 256 KiB",
		"address\n" + long + "\na@d.test": "line 2: longer than 256 KiB",
	} {
		_, err := read(text)
		if !errors.Is(err, directory.ErrInvalid) || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%.40q: %v, want %s", text, err, want)
		}
	}
}

func TestCSVThatCannotBeRead(t *testing.T) {
	failure := errors.New("input/output error")
	if _, err := directory.ReadCSV(iotest.ErrReader(failure)); !errors.Is(err, failure) {
		t.Error(err)
	}
	// The error cuts the second line.
	half := strings.NewReader("address\na@d.test\nb@d.te")
	source, err := directory.ReadCSV(io.MultiReader(half, iotest.ErrReader(failure)))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for row, err := range source {
		if err != nil {
			got = append(got, fmt.Sprint(row.Line, err))
			continue
		}
		got = append(got, describe(row))
	}
	if diff := cmp.Diff([]string{"2 a@d.test", "3 input/output error"}, got); diff != "" {
		t.Error(diff)
	}
}

// Whatever the file holds: no panic, every row has an error or an address that parses to itself, and line numbers grow.
func FuzzReadCSV(f *testing.F) {
	f.Add("address,alias,disabled,site,mx,bypass,catch_all\na@d.test,\"b@d.test c@d.test\",yes,s,auto,no,x@d.test\n")
	f.Add("address,copies,external\na@d.test,b@d.test c@e.test,mx\nb@d.test,,smtp://[::1]:2525\nc@d.test,,lmtp://x\n")
	f.Add("address,password,authentication,upstreams\na@d.test,$2y$05$x,mark,auto 192.0.2.0/24\nd.test,,off,a.test\n")
	f.Add("address\r\n\"a@d.test\"\r\nd.test\r\n")
	f.Add("alias,address\n\"\"\"\",\n,\"a\nb\"\n")
	f.Fuzz(func(t *testing.T, text string) {
		source, err := directory.ReadCSV(strings.NewReader(text))
		if err != nil {
			return
		}
		line := 0
		for row, err := range source {
			if row.Line <= line {
				t.Fatalf("line %d after %d", row.Line, line)
			}
			line = row.Line
			if err != nil || row.Err != nil {
				continue
			}
			for _, a := range slices.Concat(row.Entry.Alias, row.Entry.Copies, []mailbox.Address{row.Entry.Address, row.CatchAll}) {
				if a.Local == "" {
					continue
				}
				again, err := mailbox.ParseAddress(a.Wire())
				if err != nil || again != a {
					t.Fatalf("%q became %q, %v", a, again, err)
				}
			}
			if row.MX != "" && !row.MX.Valid() {
				t.Fatalf("policy %q", row.MX)
			}
			if again, err := mailbox.ParseExternal(row.External.String()); err != nil || again != row.External {
				t.Fatalf("external %+v, %v", row.External, err)
			}
		}
	})
}
