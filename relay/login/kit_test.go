package login

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"mxbypass/mailbox"
	"mxbypass/mailbox/password"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Hashes of "correct horse" and of "Grüße, Welt!".
const (
	bcryptHorse = "$2b$04$abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e"
	shaHorse    = "$6$rounds=1000$saltsalt$" +
		"4GMtaIz3E1AdDi2SmCokEW0ehi.HdxNDcL3fGE1XXuzvo6kbx7UOloZKONqEk5H3JrQA4NOfU8BmqFPrpGqwA1"
	bcryptWelt = "$2y$05$hrGZkC1hCkJLC27TUB5vde2u8pczuCjO5ngp7ub7xXz0IQfkuIoN2"
	horse      = "correct horse"
)

// users is a directory that can be changed, and that can fail.
type users struct {
	mu      sync.Mutex
	domains map[string]mailbox.Domain
	entries map[string]mailbox.Entry
	secrets map[string]string
	failure error
}

func address(s string) mailbox.Address {
	a, err := mailbox.ParseAddress(s)
	if err != nil {
		panic(err)
	}
	return a
}

// company is the directory of these tests.
func company() *users {
	u := &users{domains: map[string]mailbox.Domain{}, entries: map[string]mailbox.Entry{}, secrets: map[string]string{}}
	for _, name := range []string{"exemple.org", "bücher.example", "closed.example", "split.example"} {
		d := mailbox.Domain{Name: mailbox.MustDomainName(name), Site: "cloud", MX: mailbox.PolicyAuto}
		d.Disabled = name == "closed.example"
		d.CatchAll = mailbox.Address{Local: "anna", Domain: d.Name}
		u.domains[d.Name.ASCII()] = d
	}
	for _, line := range []string{
		"Anna@exemple.org", "bert@exemple.org", "carl@exemple.org", "none@exemple.org", "off@exemple.org",
		"jürgen@bücher.example", "anna@closed.example",
		"info@exemple.org >anna@exemple.org", "team@exemple.org >info@exemple.org >bert@exemple.org >away@elsewhere.example",
		"tagged@exemple.org >anna+x@exemple.org", "loop@exemple.org >loop@exemple.org >gone@exemple.org",
		"all@split.example >team@exemple.org", "shut@closed.example >anna@exemple.org",
	} {
		fields := strings.Split(line, " >")
		e := mailbox.Entry{Address: address(fields[0]), Disabled: strings.HasPrefix(line, "off")}
		for _, to := range fields[1:] {
			e.Alias = append(e.Alias, address(to))
		}
		if line == "bert@exemple.org" {
			e.Copies = []mailbox.Address{address("carl@exemple.org")}
		}
		u.entries[e.Address.Fold().Wire()] = e
		if len(e.Alias) == 0 && e.Address.Local != "none" {
			u.secrets[e.Address.Fold().Wire()] = bcryptHorse
		}
	}
	u.secrets["bert@exemple.org"] = shaHorse
	return u
}

func (u *users) Domain(_ context.Context, name mailbox.DomainName) (mailbox.Domain, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	d, ok := u.domains[name.ASCII()]
	return d, u.answer(ok, mailbox.ErrNoDomain)
}

func (u *users) Entry(_ context.Context, a mailbox.Address) (mailbox.Entry, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	e, ok := u.entries[a.Wire()]
	return e, u.answer(ok, mailbox.ErrNoMailbox)
}

func (u *users) Secret(_ context.Context, a mailbox.Address) (string, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	e, ok := u.entries[a.Wire()]
	return u.secrets[a.Wire()], u.answer(ok && len(e.Alias) == 0, mailbox.ErrNoMailbox)
}

func (u *users) answer(ok bool, no error) error {
	if u.failure != nil {
		return fmt.Errorf("%w: %w", mailbox.ErrUnavailable, u.failure)
	}
	if !ok {
		return no
	}
	return nil
}

// change changes the directory.
func (u *users) change(do func()) {
	u.mu.Lock()
	defer u.mu.Unlock()
	do()
}

// counter counts what is verified, and takes the time that a slow machine would.
type counter struct {
	mu    sync.Mutex
	n     map[string]int
	decoy string
}

func (c *counter) verify(hash, secret string) (bool, error) {
	c.mu.Lock()
	c.n[hash]++
	c.mu.Unlock()
	time.Sleep(password.Work(hash)) // of a bubble
	if hash == c.decoy {
		return false, nil
	}
	return password.Verify(hash, secret)
}

func (c *counter) count(hash string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n[hash]
}

func authenticator(t *testing.T, u *users, change func(*Options)) (*Authenticator, *counter) {
	t.Helper()
	o := Options{Resolver: resolverOf(u), Secrets: u, Parallel: 2, Remember: time.Minute}
	if change != nil {
		change(&o)
	}
	a, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	c := &counter{n: map[string]int{}, decoy: a.decoy}
	a.verify = c.verify
	return a, c
}

// right and wrong are what everybody expects.
func right(t *testing.T, a *Authenticator, name, secret, want string) {
	t.Helper()
	id, err := a.Authenticate(t.Context(), name, secret)
	if err != nil || id.Mailbox.Wire() != want {
		t.Errorf("%.80q: %q, %v", name, id.Mailbox.Wire(), err)
	}
}

func wrong(t *testing.T, a *Authenticator, name, secret string, want error) {
	t.Helper()
	id, err := a.Authenticate(t.Context(), name, secret)
	if !errors.Is(err, want) || !id.Mailbox.IsNull() {
		t.Errorf("%.80q: %v, %v instead of %v", name, id, err, want)
	}
	if err != nil && secret != "" && strings.Contains(err.Error(), secret) {
		t.Errorf("%.80q: the password is in the error: %v", name, err)
	}
}

func resolverOf(u *users) mailbox.Resolver { return mailbox.Resolver{Directory: u, Delimiter: "+"} }
