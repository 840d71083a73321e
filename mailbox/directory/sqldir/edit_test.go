package sqldir_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mxbypass/mailbox"
	"mxbypass/mailbox/directory"
)

const start = `address,alias,copies,disabled,site,mx,external,bypass,catch_all
one.test,,,,cloud,,,,box@one.test
info@one.test,box@one.test Other@two.test,,,,,,,
box@one.test,,,,,,,,
Upper@one.test,,,yes,,,,,
other@two.test,,,,vps42,split,smtp://relay.test:2525,no,
kept@two.test,,info@one.test x@away.test,,,,,,
far@one.test,x@away.test half@two.test,,,,,,,
sick@one.test,upper@one.test,,,,,,,
gate@mx.host.test,,,,cloud,local,,,
`

var startContents = []string{
	"mx.host.test cloud local",
	"one.test cloud auto *box@one.test",
	"two.test vps42 split external=smtp://relay.test:2525",
	"gate@mx.host.test",
	"box@one.test",
	"far@one.test >x@away.test >half@two.test",
	"info@one.test >box@one.test >Other@two.test",
	"sick@one.test >upper@one.test",
	"Upper@one.test disabled",
	"kept@two.test +info@one.test +x@away.test",
	"other@two.test",
}

func TestImportMakesWhatIsListed(t *testing.T) {
	d, path := filled(t, start)
	wantContents(t, d, startContents...)
	wantContents(t, open(t, path), startContents...) // as another process sees it
	got, err := resolve(t, d, "INFO+x@One.test")
	if err != nil || !slices.Equal(got, []string{"box+x@one.test", "other+x@two.test"}) {
		t.Error(got, err)
	}
	got, err = resolve(t, d, "Kept+x@two.test")
	want := []string{"kept+x@two.test", "box+x@one.test", "other+x@two.test", "x@away.test elsewhere"}
	if err != nil || !slices.Equal(got, want) {
		t.Error(got, err)
	}
	got, err = resolve(t, d, "far@one.test")
	if err != nil || !slices.Equal(got, []string{"x@away.test elsewhere", "half@two.test elsewhere"}) {
		t.Error(got, err)
	}
	_, err = resolve(t, d, "upper@one.test")
	wantErr(t, err, mailbox.ErrDisabled)
	two, err := d.Domain(t.Context(), mailbox.MustDomainName("two.test"))
	if err != nil || two.Bypass {
		t.Error(two, err)
	}
}

// Every change that breaks a rule is refused with its error, and leaves the directory as it was.
func TestRefusedChanges(t *testing.T) {
	d, path := filled(t, start)
	ctx := t.Context()
	domain := func(name, site, mx, all string) mailbox.Domain {
		got := mailbox.Domain{Name: mailbox.MustDomainName(name), Site: site, MX: mailbox.MXPolicy(mx)}
		if all != "" {
			got.CatchAll = address(all)
		}
		return got
	}
	one := mailbox.MustDomainName("one.test")
	alias := func(targets ...string) func(*mailbox.Entry) error {
		return func(e *mailbox.Entry) error { e.Alias = mailboxOf("a@b.test", targets...).Alias; return nil }
	}
	two := mailbox.MustDomainName("two.test")
	relay := mailbox.NextHop{Host: mailbox.MustDomainName("relay.test"), Port: 25}
	copies := func(targets ...string) func(*mailbox.Entry) error {
		return func(e *mailbox.Entry) error { e.Copies = mailboxOf("a@b.test", targets...).Alias; return nil }
	}
	policy := func(p mailbox.MXPolicy) func(*mailbox.Domain) error {
		return func(d *mailbox.Domain) error { d.MX = p; return nil }
	}
	external := func(e mailbox.External) func(*mailbox.Domain) error {
		return func(d *mailbox.Domain) error { d.External = e; return nil }
	}
	many := make([]string, mailbox.MaxAliasEntries+1)
	for i := range many {
		many[i] = fmt.Sprintf("x%d@away.test", i)
	}
	tooLong := mailbox.Entry{Address: mailbox.Address{Local: mailbox.LocalPart(strings.Repeat("x", 65)), Domain: one}}
	for name, c := range map[string]struct {
		err  error
		want error
	}{
		"domain there":       {d.AddDomain(ctx, domain("one.test", "cloud", "auto", "")), directory.ErrExists},
		"single label":       {d.AddDomain(ctx, domain("localhost", "cloud", "auto", "")), directory.ErrInvalid},
		"no site":            {d.AddDomain(ctx, domain("new.test", "", "auto", "")), directory.ErrInvalid},
		"unknown site":       {d.AddDomain(ctx, domain("new.test", "nowhere", "auto", "")), directory.ErrInvalid},
		"reserved site":      {d.AddDomain(ctx, domain("new.test", mailbox.SitePostmaster, "auto", "")), directory.ErrInvalid},
		"policy":             {d.AddDomain(ctx, domain("new.test", "cloud", "maybe", "")), directory.ErrInvalid},
		"catch-all nowhere":  {d.AddDomain(ctx, domain("new.test", "cloud", "auto", "x@one.test")), directory.ErrInvalid},
		"catch-all abroad":   {d.AddDomain(ctx, domain("new.test", "cloud", "auto", "x@abroad.test")), directory.ErrInvalid},
		"set no domain":      {d.SetDomain(ctx, mailbox.MustDomainName("x.test"), nil), mailbox.ErrNoDomain},
		"remove no domain":   {d.RemoveDomain(ctx, mailbox.MustDomainName("x.test"), true), mailbox.ErrNoDomain},
		"remove full domain": {d.RemoveDomain(ctx, one, false), directory.ErrInUse},
		"remove target":      {d.RemoveDomain(ctx, mailbox.MustDomainName("two.test"), true), directory.ErrInUse},
		"mailbox there":      {d.AddEntry(ctx, mailboxOf("BOX@one.test")), directory.ErrExists},
		"alias there":        {d.AddEntry(ctx, mailboxOf("info@one.test")), directory.ErrExists},
		"no domain":          {d.AddEntry(ctx, mailboxOf("a@abroad.test")), mailbox.ErrNoDomain},
		"separator":          {d.AddEntry(ctx, mailboxOf("a%b@mx.host.test")), directory.ErrInvalid},
		"delimiter":          {d.AddEntry(ctx, mailboxOf("a+b@one.test")), directory.ErrInvalid},
		"slash":              {d.AddEntry(ctx, mailboxOf("a/b@one.test")), directory.ErrInvalid},
		"quoted":             {d.AddEntry(ctx, mailboxOf(`".."@one.test`)), directory.ErrInvalid},
		"too long":           {d.AddEntry(ctx, tooLong), directory.ErrInvalid},
		"target nowhere":     {d.AddEntry(ctx, mailboxOf("a@one.test", "no@one.test")), directory.ErrInvalid},
		"one label":          {d.AddEntry(ctx, mailboxOf("a@one.test", "a@abroad")), directory.ErrInvalid},
		"gateway":            {d.AddEntry(ctx, mailboxOf("a@one.test", "a%b@mx.host.test")), directory.ErrInvalid},
		"target itself":      {d.AddEntry(ctx, mailboxOf("a@one.test", "a@one.test")), directory.ErrInvalid},
		"target twice":       {d.AddEntry(ctx, mailboxOf("a@one.test", "box@one.test", "BOX@one.test")), directory.ErrInvalid},
		"copy nowhere":       {d.AddEntry(ctx, copied("a@one.test", "no@one.test")), directory.ErrInvalid},
		"copy to itself":     {d.AddEntry(ctx, copied("a@one.test", "A+tag@one.test")), directory.ErrInvalid},
		"copy twice":         {d.AddEntry(ctx, copied("a@one.test", "x@away.test", "X@away.test")), directory.ErrInvalid},
		"copy to one label":  {d.AddEntry(ctx, copied("a@one.test", "x@away")), directory.ErrInvalid},
		"copy leads back":    {d.SetEntry(ctx, address("other@two.test"), copies("kept@two.test")), directory.ErrInvalid},
		"alias leads back":   {d.SetEntry(ctx, address("info@one.test"), alias("kept@two.test")), directory.ErrInvalid},
		"copies of an alias": {d.SetEntry(ctx, address("info@one.test"), copies("x@away.test")), directory.ErrInvalid},
		"too many copies":    {d.SetEntry(ctx, address("box@one.test"), copies(many...)), directory.ErrInvalid},
		"becomes local":      {d.SetDomain(ctx, two, policy(mailbox.PolicyLocal)), directory.ErrInvalid},
		"arrives":            {d.AddDomain(ctx, domain("away.test", "cloud", "auto", "")), directory.ErrInvalid},
		"external":           {d.SetDomain(ctx, one, external(mailbox.External{MX: true, Host: relay})), directory.ErrInvalid},
		"external port": {
			d.SetDomain(ctx, one, external(mailbox.External{Host: mailbox.NextHop{Host: relay.Host}})), directory.ErrInvalid,
		},
		"external host": {
			d.SetDomain(ctx, one, external(mailbox.External{Host: mailbox.NextHop{Port: 25}})), directory.ErrInvalid,
		},
		"remove a copy's":   {d.RemoveEntry(ctx, address("info@one.test")), directory.ErrInUse},
		"set no mailbox":    {d.SetEntry(ctx, address("no@one.test"), nil), mailbox.ErrNoMailbox},
		"loop":              {d.SetEntry(ctx, address("box@one.test"), alias("info@one.test")), directory.ErrInvalid},
		"remove no mailbox": {d.RemoveEntry(ctx, address("no@one.test")), mailbox.ErrNoMailbox},
		"remove alias's":    {d.RemoveEntry(ctx, address("upper@one.test")), directory.ErrInUse},
		"remove catch-all":  {d.RemoveEntry(ctx, address("box@one.test")), directory.ErrInUse},
	} {
		t.Run(name, func(t *testing.T) { wantErr(t, c.err, c.want) })
	}
	wantContents(t, open(t, path), startContents...)
}

func TestChanges(t *testing.T) {
	d, _ := filled(t, start)
	ctx := t.Context()
	one := mailbox.MustDomainName("one.test")
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	do(d.AddEntry(ctx, mailboxOf("a%b@one.test")))
	do(d.RemoveEntry(ctx, address("sick@one.test")))
	do(d.AddEntry(ctx, mailboxOf("tagged@one.test", "upper+list@one.test")))
	do(d.RemoveEntry(ctx, address("other@two.test"))) // the other half of two.test has the name from now on
	if got, err := resolve(t, d, "info@one.test"); err != nil || !slices.Equal(got, []string{"box@one.test",
		"Other@two.test elsewhere"}) {
		t.Error(got, err)
	}
	do(d.SetEntry(ctx, address("info@one.test"), func(e *mailbox.Entry) error {
		e.Alias = []mailbox.Address{address("a%b@one.test")}
		return nil
	}))
	wantErr(t, d.RemoveEntry(ctx, address("upper@one.test")), directory.ErrInUse) // with a tag
	do(d.RemoveEntry(ctx, address("tagged@one.test")))
	do(d.SetEntry(ctx, address("kept@two.test"), func(e *mailbox.Entry) error { e.Copies = e.Copies[1:]; return nil }))
	do(d.RemoveEntry(ctx, address("far@one.test"))) // it leads into two.test
	do(d.RemoveDomain(ctx, mailbox.MustDomainName("two.test"), true))
	do(d.SetDomain(ctx, one, func(d *mailbox.Domain) error {
		d.CatchAll, d.MX, d.External = mailbox.Address{}, mailbox.PolicyExternal, mailbox.External{MX: true}
		return nil
	}))
	do(d.RemoveEntry(ctx, address("box@one.test")))
	do(d.RemoveDomain(ctx, gateway, true))
	wantContents(t, d, "one.test cloud external external=mx", "a%b@one.test", "info@one.test >a%b@one.test",
		"Upper@one.test disabled")
}

// A domain that others led to while it was elsewhere comes with its mailboxes, or with another half.
func TestDomainArrives(t *testing.T) {
	d, path := filled(t, start)
	ctx := t.Context()
	away := mailbox.MustDomainName("away.test")
	const nobody = "site,address\ncloud,other@away.test\ncloud,more@late.test\n"
	lines, _, err := importText(t, d, nobody, false)
	wantErr(t, err, directory.ErrInvalid)
	if !strings.Contains(lines[2], "x@away.test, which does not exist") || len(lines) != 1 {
		t.Error(lines)
	}
	_, _, err = importText(t, d, nobody, true)
	wantErr(t, err, directory.ErrInvalid)
	wantContents(t, open(t, path), startContents...)

	add := d.AddDomain(ctx, mailbox.Domain{Name: away, Site: "cloud", MX: mailbox.PolicySplit})
	becomeLocal := func() error {
		return d.SetDomain(ctx, away, func(d *mailbox.Domain) error { d.MX = mailbox.PolicyLocal; return nil })
	}
	wantErr(t, add, nil)
	if got, err := resolve(t, d, "far@one.test"); err != nil || got[0] != "x@away.test elsewhere" {
		t.Error(got, err)
	}
	wantErr(t, becomeLocal(), directory.ErrInvalid)
	wantErr(t, d.AddEntry(ctx, copied("x@away.test", "far@one.test")), directory.ErrInvalid) // it leads back
	wantErr(t, d.AddEntry(ctx, mailboxOf("x@away.test")), nil)
	wantErr(t, becomeLocal(), nil)
	if got, err := resolve(t, d, "far@one.test"); err != nil || got[0] != "x@away.test" {
		t.Error(got, err)
	}
	wantErr(t, d.RemoveDomain(ctx, away, true), directory.ErrInUse)

	d, _ = filled(t, start)
	if bad, _, err := importText(t, d, nobody+"cloud,x@away.test\n", false); err != nil {
		t.Error(bad, err)
	}
	if got, err := resolve(t, d, "far@one.test"); err != nil || got[0] != "x@away.test" {
		t.Error(got, err)
	}
}

func TestImportNamesBadLines(t *testing.T) {
	const csv = `site,ADDRESS,alias
,new@one.test,
,box@one.test,
,nosite@new.test,
vps42,elsewhere@one.test,
cloud,first@new.test,
,"quoted ""alias""@one.test",
,dangling@one.test,gone@one.test
,lost@one.test,dangling@one.test
,found@one.test,last@new.test
,new@one.test,
,new@one.test
cloud,one.test,
,,
,last@new.test,
`
	bad := []int{3, 4, 5, 7, 8, 9, 11, 12, 13, 14}
	path := filepath.Join(t.TempDir(), "directory.db")
	d := open(t, path)
	if _, _, err := importText(t, d, start, false); err != nil {
		t.Fatal(err)
	}
	lines, report, err := importText(t, d, csv, false)
	wantErr(t, err, directory.ErrInvalid)
	for _, n := range bad {
		if _, ok := lines[n]; !ok {
			t.Errorf("line %d was not named", n)
		}
	}
	if got, want := fmt.Sprint(lines[5]), `domain one.test is in site "cloud", the line says "vps42"`; got != want {
		t.Errorf("line 5: %s, want %s", got, want)
	}
	if report.Bad != len(bad) || len(lines) != len(bad) {
		t.Errorf("%d bad lines, want %d: %v", report.Bad, len(bad), lines)
	}
	wantContents(t, d, startContents...)

	_, report, err = importText(t, d, csv, true)
	if want := (directory.Report{Lines: 14, Domains: 1, Mailboxes: 3, Aliases: 1, Bad: 10}); err != nil || report != want {
		t.Errorf("%+v, %v, want %+v", report, err, want)
	}
	for _, a := range []string{"new@one.test", "first@new.test", "found@one.test", "last@new.test"} {
		if _, err := d.Entry(t.Context(), address(a)); err != nil {
			t.Error(err)
		}
	}
}
