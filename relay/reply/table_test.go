package reply

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mxbypass/mailbox"
	"mxbypass/relay/filter"
	"mxbypass/relay/guard"
	"mxbypass/relay/guard/dnslist"
	"mxbypass/relay/guard/greylist"
	"mxbypass/relay/login"
	"mxbypass/relay/msgauth"
	"mxbypass/relay/sign"
	"mxbypass/relay/spool"
	"mxbypass/routing"
)

// want is the table as RFC 5321, RFC 3463 and the design have it, by the names of the errors in the source.
var want = map[string]struct {
	err  error
	code string
}{
	"mailbox.ErrSyntax":      {mailbox.ErrSyntax, "501 5.1.3"},
	"mailbox.ErrTooLong":     {mailbox.ErrTooLong, "501 5.1.3"},
	"mailbox.ErrNeedsUTF8":   {mailbox.ErrNeedsUTF8, "553 5.6.7"},
	"mailbox.ErrNoDomain":    {mailbox.ErrNoDomain, "550 5.7.1"},
	"mailbox.ErrNoMailbox":   {mailbox.ErrNoMailbox, "550 5.1.1"},
	"mailbox.ErrDisabled":    {mailbox.ErrDisabled, "450 4.2.1"},
	"mailbox.ErrAliasLoop":   {mailbox.ErrAliasLoop, "451 4.3.5"},
	"mailbox.ErrUnavailable": {mailbox.ErrUnavailable, "451 4.3.0"},
	"mailbox.ErrOverQuota":   {mailbox.ErrOverQuota, "452 4.2.2"},
	"mailbox.ErrNoSpace":     {mailbox.ErrNoSpace, "452 4.3.1"},
	"mailbox.ErrNoUTF8":      {mailbox.ErrNoUTF8, "550 5.6.7"},
	"mailbox.ErrTooBig":      {mailbox.ErrTooBig, "552 5.3.4"},
	"mailbox.ErrInDoubt":     {mailbox.ErrInDoubt, "451 4.4.2"},

	"routing.ErrNotHosted":    {routing.ErrNotHosted, "550 5.7.1"},
	"routing.ErrBypassOff":    {routing.ErrBypassOff, "550 5.7.1"},
	"routing.ErrNotServed":    {routing.ErrNotServed, "550 5.7.1"},
	"routing.ErrNotGateway":   {routing.ErrNotGateway, "550 5.7.1"},
	"routing.ErrNested":       {routing.ErrNested, "550 5.7.1"},
	"routing.ErrRelayDenied":  {routing.ErrRelayDenied, "550 5.7.1"},
	"routing.ErrOtherHalf":    {routing.ErrOtherHalf, "450 4.4.0"},
	"routing.ErrBackToSource": {routing.ErrBackToSource, "554 5.4.6"},
	"routing.ErrReturnOnly":   {routing.ErrReturnOnly, "550 5.7.1"},
	"routing.ErrBadReturn":    {routing.ErrBadReturn, "550 5.7.1"},
	"routing.ErrMXUnknown":    {routing.ErrMXUnknown, "451 4.4.3"},

	"login.ErrWrong":       {login.ErrWrong, "535 5.7.8"},
	"login.ErrBusy":        {login.ErrBusy, "454 4.7.0"},
	"login.ErrUnavailable": {login.ErrUnavailable, "454 4.7.0"},

	"spool.ErrBusy":   {spool.ErrBusy, "452 4.3.1"},
	"spool.ErrTooBig": {spool.ErrTooBig, "552 5.3.4"},

	"msgauth.ErrRejected": {msgauth.ErrRejected, "550 5.7.1"},
	"msgauth.ErrUnsure":   {msgauth.ErrUnsure, "451 4.7.0"},

	"sign.ErrKeys": {sign.ErrKeys, "451 4.3.5"},

	"filter.ErrDown":        {filter.ErrDown, "451 4.7.1"},
	"filter.ErrFieldTooBig": {filter.ErrFieldTooBig, "552 5.3.4"},

	"guard.ErrNetworkFull":    {guard.ErrNetworkFull, "421 4.7.0"},
	"guard.ErrTooOften":       {guard.ErrTooOften, "421 4.7.0"},
	"guard.ErrTooFast":        {guard.ErrTooFast, "450 4.7.1"},
	"guard.ErrTooManyUnknown": {guard.ErrTooManyUnknown, "450 4.7.1"},
	"guard.ErrLocked":         {guard.ErrLocked, "454 4.7.0"},
	"guard.ErrOurName":        {guard.ErrOurName, "550 5.7.1"},
	"guard.ErrBareAddress":    {guard.ErrBareAddress, "501 5.5.4"},
	"guard.ErrHelloName":      {guard.ErrHelloName, "501 5.5.4"},
	"dnslist.ErrListed":       {dnslist.ErrListed, "550 5.7.1"},
	"greylist.ErrGreylisted":  {greylist.ErrGreylisted, "451 4.7.1"},

	"reply.ErrTooManyConnections":  {ErrTooManyConnections, "421 4.3.2"},
	"reply.ErrTooManyFromClient":   {ErrTooManyFromClient, "421 4.7.0"},
	"reply.ErrTooManyErrors":       {ErrTooManyErrors, "421 4.7.0"},
	"reply.ErrTooManyTransactions": {ErrTooManyTransactions, "421 4.7.0"},
	"reply.ErrTooManyRecipients":   {ErrTooManyRecipients, "452 4.5.3"},
	"reply.ErrNoRecipients":        {ErrNoRecipients, "554 5.5.1"},
	"reply.ErrIdle":                {ErrIdle, "421 4.4.2"},
	"reply.ErrShutdown":            {ErrShutdown, "421 4.3.2"},
	"reply.ErrSequence":            {ErrSequence, "503 5.5.1"},
	"reply.ErrParameter":           {ErrParameter, "501 5.5.4"},
	"reply.ErrSender":              {ErrSender, "501 5.1.7"},
	"reply.ErrNeedsTLS":            {ErrNeedsTLS, "530 5.7.10"},
	"reply.ErrNoPlainAuth":         {ErrNoPlainAuth, "538 5.7.11"},
	"reply.ErrNeedsAuth":           {ErrNeedsAuth, "530 5.7.0"},
	"reply.ErrNotYourSender":       {ErrNotYourSender, "553 5.7.1"},
	"reply.ErrNotYourFrom":         {ErrNotYourFrom, "550 5.7.1"},
	"reply.ErrEarlyTalker":         {ErrEarlyTalker, "554 5.5.1"},
	"reply.ErrHeaderTooBig":        {ErrHeaderTooBig, "552 5.3.4"},
	"reply.ErrLineTooLong":         {ErrLineTooLong, "554 5.6.0"},
	"reply.ErrBareControl":         {ErrBareControl, "554 5.6.0"},
	"reply.ErrTooManyHops":         {ErrTooManyHops, "554 5.4.6"},
	"reply.ErrLoop":                {ErrLoop, "554 5.4.6"},
	"reply.ErrHeldBack":            {ErrHeldBack, "451 4.3.0"},
}

func TestTable(t *testing.T) {
	for name, w := range want {
		for _, err := range []error{
			w.err, fmt.Errorf("with secret detail: %w", w.err), errors.Join(w.err, errors.New("secret")),
		} {
			r := For(err)
			if got := fmt.Sprintf("%d %s", r.Code, r.status()); got != w.code {
				t.Errorf("%s: %s instead of %s", name, got, w.code)
			}
			if strings.Contains(r.Text, "secret") || r.Text == "" {
				t.Errorf("%s: text %q", name, r.Text)
			}
		}
	}
}

// TestEveryErrorHasARow reads the source: a new error without a reply of its own would be "451 temporary problem".
func TestEveryErrorHasARow(t *testing.T) {
	rows := map[error]bool{}
	for _, r := range table {
		if rows[r.err] {
			t.Errorf("two rows for %v", r.err)
		}
		rows[r.err] = true
	}
	found := 0
	for pkg, dir := range map[string]string{
		"mailbox": "../../mailbox", "routing": "../../routing", "spool": "../spool",
		"guard": "../guard", "dnslist": "../guard/dnslist", "greylist": "../guard/greylist", "filter": "../filter", "login": "../login", "sign": "../sign",
		"msgauth": "../msgauth",
		"reply":   ".",
	} {
		for _, name := range exportedErrors(t, dir) {
			if name == "ErrNotRewritten" { // a "no" between two parts, which no client sees
				continue
			}
			if pkg == "sign" && name != "ErrKeys" { // what a command says to who makes keys
				continue
			}
			found++
			w, ok := want[pkg+"."+name]
			if !ok {
				t.Errorf("%s.%s has no row in the table of this test", pkg, name)
				continue
			}
			if !rows[w.err] {
				t.Errorf("%s.%s has no row in the table", pkg, name)
			}
		}
	}
	if found != len(want) {
		t.Errorf("%d errors in the source, %d in the table of this test", found, len(want))
	}
}

// exportedErrors lists the package-level variables of a folder that are called Err….
func exportedErrors(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(dir, e.Name()), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.VAR {
				continue
			}
			for _, s := range g.Specs {
				for _, id := range s.(*ast.ValueSpec).Names {
					if strings.HasPrefix(id.Name, "Err") {
						names = append(names, id.Name)
					}
				}
			}
		}
	}
	return names
}

func TestUnknownIsTemporary(t *testing.T) {
	for _, err := range []error{
		errors.New("pq: password of /etc/secret"), os.ErrNotExist, &os.PathError{Op: "open", Path: "/x"},
	} {
		if r := For(err); r.Code != 451 || r.Enhanced != [3]int{4, 3, 0} || r.Text != unknown.text {
			t.Errorf("%v: %v", err, r)
		}
	}
	if r := For(context.DeadlineExceeded); r.Code != 451 {
		t.Error(r)
	}
	if r := For(nil); r.Code != 250 {
		t.Error(r)
	}
}

func TestListedSaysByWhom(t *testing.T) {
	err := &dnslist.ListedError{List: "bl.example", Reason: "see https://bl.example/q?192.0.2.1"}
	got := For(fmt.Errorf("client: %w", err)).String()
	if want := "550 5.7.1 your address is on a list: bl.example: see https://bl.example/q?192.0.2.1"; got != want {
		t.Errorf("%s instead of %s", got, want)
	}
}

// finalQuota is how a store says that a full mailbox stays full.
type finalQuota struct{}

func (finalQuota) Error() string   { return "quota" }
func (finalQuota) Unwrap() error   { return mailbox.ErrOverQuota }
func (finalQuota) Temporary() bool { return false }

func TestQuotaAsTheStoreSays(t *testing.T) {
	if r := For(fmt.Errorf("maildir: %w", finalQuota{})); r.Code != 552 || r.Enhanced != [3]int{5, 2, 2} {
		t.Error(r)
	}
}

func TestDomainThatWantsRefusal(t *testing.T) {
	r := For(fmt.Errorf("check: %w", &msgauth.Rejection{From: mailbox.MustDomainName("author.test")}))
	if r.Code != 550 || r.Text != "author.test wants messages refused that fail DMARC, as this one does" {
		t.Error(r)
	}
}

func TestRowsAreSane(t *testing.T) {
	for _, r := range append(table, unknown) {
		if r.code/100 != r.enhanced[0] || r.code/100 != 4 && r.code/100 != 5 || len(r.text) > 120 || r.text == "" {
			t.Errorf("%v: %d %v %q", r.err, r.code, r.enhanced, r.text)
		}
	}
}

func TestWorst(t *testing.T) {
	temporary, final := mailbox.ErrUnavailable, mailbox.ErrNoMailbox
	tests := []struct {
		errs []error
		want error
	}{
		{nil, nil},
		{[]error{nil, nil}, nil},
		{[]error{nil, final, temporary}, temporary},
		{[]error{final, ErrHeldBack}, ErrHeldBack},
		{[]error{ErrHeldBack, temporary, mailbox.ErrNoSpace}, temporary},
		{[]error{nil, final, routing.ErrNotHosted}, final},
	}
	for _, tt := range tests {
		if got := Worst(tt.errs...); got != tt.want {
			t.Errorf("%v: %v instead of %v", tt.errs, got, tt.want)
		}
	}
}

func TestRemote(t *testing.T) {
	const said = "the mailbox server said: "
	tests := []struct {
		name string
		err  mailbox.RemoteError
		want string
	}{
		{"final", mailbox.RemoteError{Code: 550, Enhanced: [3]int{5, 1, 1}, Text: "<u> User doesn't exist", Command: "RCPT"},
			"550 5.1.1 " + said + "<u> User doesn't exist"},
		{"temporary", mailbox.RemoteError{Code: 452, Enhanced: [3]int{4, 2, 2}, Text: "Quota exceeded", Command: "RCPT"},
			"452 4.2.2 " + said + "Quota exceeded"},
		{"no enhanced code", mailbox.RemoteError{Code: 552, Text: "full", Command: "end of data"},
			"552 5.0.0 " + said + "full"},
		{"enhanced code of another class",
			mailbox.RemoteError{Code: 452, Enhanced: [3]int{5, 2, 2}, Text: "x", Command: "RCPT"},
			"452 4.0.0 " + said + "x"},
		{"enhanced code that is none",
			mailbox.RemoteError{Code: 550, Enhanced: [3]int{5, -1, 4000}, Text: "x", Command: "RCPT"},
			"550 5.0.0 " + said + "x"},
		{"several lines, controls, not ASCII",
			mailbox.RemoteError{Code: 550, Text: "a\r\nb\x1b[2J\tc é\x00", Command: "RCPT"},
			"550 5.0.0 " + said + "a b?[2J c ??"},
		{"no text", mailbox.RemoteError{Code: 550, Text: " \r\n", Command: "RCPT"},
			"550 5.0.0 the mailbox server refused without saying why"},
		{"it goes down", mailbox.RemoteError{Code: 421, Enhanced: [3]int{4, 3, 2}, Text: "bye", Command: "RCPT"},
			"451 4.3.2 " + said + "bye"},
		{"syntax of the address", mailbox.RemoteError{Code: 501, Enhanced: [3]int{5, 1, 3}, Text: "bad", Command: "RCPT"},
			"550 5.1.3 " + said + "bad"},
		{"it wants AUTH", mailbox.RemoteError{Code: 530, Enhanced: [3]int{5, 7, 0}, Text: "auth", Command: "MAIL"},
			"451 4.3.0 " + said + "auth"},
		{"it does not talk to us", mailbox.RemoteError{Code: 554, Text: "go away", Command: "connect"},
			"451 4.3.0 " + said + "go away"},
		{"it speaks no LMTP", mailbox.RemoteError{Code: 500, Text: "what", Command: "LHLO"}, "451 4.3.0 " + said + "what"},
		{"success is no refusal", mailbox.RemoteError{Code: 250, Text: "ok", Command: "RCPT"}, "451 4.3.0 " + said + "ok"},
		{"zero", mailbox.RemoteError{Text: "?", Command: "RCPT"}, "451 4.3.0 " + said + "?"},
		{"no class", mailbox.RemoteError{Code: 999, Text: "?", Command: "RCPT"}, "451 4.3.0 " + said + "?"},
		{"second digit too high", mailbox.RemoteError{Code: 560, Text: "?", Command: "RCPT"}, "451 4.3.0 " + said + "?"},
		{"negative", mailbox.RemoteError{Code: -550, Text: "?", Command: "RCPT"}, "451 4.3.0 " + said + "?"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := For(fmt.Errorf("lmtp: %w", &tt.err)).String(); got != tt.want {
				t.Errorf("%q instead of %q", got, tt.want)
			}
		})
	}
	if r := For(&mailbox.RemoteError{Code: 550, Text: strings.Repeat("x", 10_000), Command: "RCPT"}); len(r.Text) > 400 {
		t.Errorf("%d octets of text", len(r.Text))
	}
}
