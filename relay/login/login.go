package login

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"

	"mxbypass/mailbox"
	"mxbypass/mailbox/password"
)

var (
	// ErrWrong: name or password are wrong, and nobody is told which. What wraps it says so for the log.
	ErrWrong = errors.New("wrong user name or password")
	// ErrUnavailable: it cannot be known now; temporary.
	ErrUnavailable = errors.New("logins cannot be verified now")
	// ErrBusy: too many wait to be verified; temporary.
	ErrBusy = errors.New("too many logins at once")
)

const (
	// pace is how long a failure takes; one that takes longer takes a multiple of it.
	pace = time.Second
	// maxName bounds the name of a login: an address in its longest form, with every octet of its domain escaped, is
	// shorter.
	maxName = 512
	// maxRemembered bounds the logins that are remembered.
	maxRemembered = 10_000
	// waitingPerSlot is how many may wait for each that is verified.
	waitingPerSlot = 32
)

// Options of an Authenticator.
type Options struct {
	Resolver mailbox.Resolver
	Secrets  mailbox.Secrets
	Parallel int           // passwords that are verified at once, 64 MiB each; at least 1
	Remember time.Duration // how long a login that succeeded is known without trying the password again; 0: not
}

// Identity is a user who has logged in.
type Identity struct {
	Mailbox mailbox.Address // canonical, as the directory writes it
}

// Authenticator verifies logins. It is safe for concurrent use, and has no goroutines.
type Authenticator struct {
	o       Options
	key     [32]byte // of the digests
	slots   chan struct{}
	waiting atomic.Int64
	known   *otter.Cache[digest, time.Time] // until when; nil: nothing is remembered
	decoy   string                          // the hash of those who have none
	dearest atomic.Int64                    // the longest work of a hash so far
	verify  func(hash, password string) (bool, error)
}

// digest stands for a login that succeeded.
type digest [sha256.Size]byte

// New makes an authenticator. The error is that of Options.
func New(o Options) (*Authenticator, error) {
	if o.Parallel < 1 || o.Remember < 0 {
		return nil, fmt.Errorf("login: %d in parallel, remembered for %s", o.Parallel, o.Remember)
	}
	a := &Authenticator{o: o, slots: make(chan struct{}, o.Parallel), decoy: password.Decoy(),
		verify: password.Verify}
	rand.Read(a.key[:])
	a.dearest.Store(int64(password.Work(a.decoy)))
	var err error
	if o.Remember > 0 {
		a.known, err = otter.New(&otter.Options[digest, time.Time]{
			MaximumSize: maxRemembered,
			Executor:    func(maintain func()) { maintain() }, // no goroutines that nobody owns
		})
	}
	return a, err
}

// Authenticate finds the user of that name, user@domain or user%domain in any spelling of the directory's mailboxes, and
// verifies the password. The error wraps [ErrWrong], or, when it is not known whether they are right, [ErrUnavailable] or
// [ErrBusy]. A wrong one takes its time, unless the context ends.
func (a *Authenticator) Authenticate(ctx context.Context, name, secret string) (Identity, error) {
	began := time.Now()
	id, hash, err := a.find(ctx, name)
	if err == nil {
		err = usable(secret)
	}
	if err != nil && !errors.Is(err, ErrWrong) {
		return Identity{}, unavailable(err)
	}
	wrong := err
	if wrong != nil {
		hash = a.decoy
	}
	mark := a.digest(id, hash, secret)
	if wrong == nil && a.remembers(mark) {
		return id, nil
	}
	waited, right, err := a.try(ctx, hash, secret)
	switch {
	case errors.Is(err, ErrBusy):
		return Identity{}, err
	case err != nil: // a damaged hash, or the end of the context
		return Identity{}, unavailable(err)
	case wrong == nil && right:
		a.remember(mark)
		return id, nil
	case wrong == nil:
		wrong = fmt.Errorf("%w: the password of %s", ErrWrong, id.Mailbox)
	}
	a.pause(ctx, began.Add(waited))
	return Identity{}, wrong
}

func unavailable(err error) error { return fmt.Errorf("%w: %w", ErrUnavailable, err) }

// find returns the user of a name, and the hash of the password.
func (a *Authenticator) find(ctx context.Context, name string) (id Identity, hash string, err error) {
	address, err := parseName(name)
	if err != nil {
		return id, "", fmt.Errorf("%w: the name: %w", ErrWrong, err)
	}
	entry, err := a.user(ctx, address)
	if err != nil {
		return id, "", err
	}
	hash, err = a.o.Secrets.Secret(ctx, address.Fold())
	switch {
	case errors.Is(err, mailbox.ErrNoMailbox): // it has just been removed
		return id, "", fmt.Errorf("%w: %w", ErrWrong, err)
	case err != nil:
		return id, "", err
	case hash == "":
		return id, "", fmt.Errorf("%w: %s has no password", ErrWrong, entry.Address)
	}
	if work := int64(password.Work(hash)); work > a.dearest.Load() {
		a.dearest.Store(work) // by whoever comes last: the next one mends it
	}
	return Identity{Mailbox: entry.Address}, hash, nil
}

// user returns the mailbox of exactly that address, if its user may be with us now. The error wraps ErrWrong when he may
// not.
func (a *Authenticator) user(ctx context.Context, address mailbox.Address) (mailbox.Entry, error) {
	no := func(why error) (mailbox.Entry, error) { return mailbox.Entry{}, fmt.Errorf("%w: %w", ErrWrong, why) }
	if err := mailbox.CheckMailboxName(address.Local); err != nil {
		return no(err)
	}
	d, err := a.o.Resolver.Domain(ctx, address.Domain)
	switch {
	case errors.Is(err, mailbox.ErrNoDomain):
		return no(err)
	case err != nil:
		return mailbox.Entry{}, err
	}
	e, err := a.o.Resolver.Directory.Entry(ctx, address.Fold())
	switch {
	case errors.Is(err, mailbox.ErrNoMailbox):
		return no(err)
	case err != nil:
		return mailbox.Entry{}, err
	case d.Disabled:
		return no(fmt.Errorf("domain %s: %w", d.Name, mailbox.ErrDisabled))
	case e.Disabled:
		return no(fmt.Errorf("%s: %w", e.Address, mailbox.ErrDisabled))
	case len(e.Alias) > 0:
		return no(fmt.Errorf("%s is an alias", e.Address))
	}
	return e, nil
}

// parseName reads the name of a login: an address, or one with "%" in the place of the "@", for clients that cut names at
// that sign.
func parseName(name string) (mailbox.Address, error) {
	if len(name) > maxName {
		return mailbox.Address{}, mailbox.ErrTooLong
	}
	if i := strings.LastIndexByte(name, '%'); i >= 0 && !strings.Contains(name, "@") {
		name = name[:i] + "@" + name[i+1:]
	}
	return mailbox.ParseAddress(name)
}

// Key is what failures of a login are counted under: one for all spellings of a name, printable, of at most 512 octets.
func Key(name string) string {
	if a, err := parseName(name); err == nil {
		return a.Fold().String()
	}
	return mailbox.Printable(strings.ToValidUTF8(name[:min(len(name), maxName/3)], ""))
}

func usable(secret string) error {
	if err := password.Usable(secret); err != nil {
		return fmt.Errorf("%w: %w", ErrWrong, err)
	}
	return nil
}

// try verifies a password when it is its turn. It tells how long that took to come.
func (a *Authenticator) try(ctx context.Context, hash, secret string) (waited time.Duration, right bool, err error) {
	began := time.Now()
	if a.waiting.Add(1) > int64(cap(a.slots)*(1+waitingPerSlot)) {
		a.waiting.Add(-1)
		return 0, false, ErrBusy
	}
	defer a.waiting.Add(-1)
	select {
	case a.slots <- struct{}{}:
	case <-ctx.Done():
		return 0, false, context.Cause(ctx)
	}
	defer func() { <-a.slots }()
	waited = time.Since(began)
	if ctx.Err() != nil { // both were ready, or it ended before
		return waited, false, context.Cause(ctx)
	}
	right, err = a.verify(hash, secret)
	if err == nil && !right && password.Work(hash) < password.Work(a.decoy)/2 { // as much work as for everybody else
		_, err = a.verify(a.decoy, secret)
	}
	return waited, right, err
}

// pause waits until a whole number of paces since began, which is no fewer than the dearest hash needs.
func (a *Authenticator) pause(ctx context.Context, began time.Time) {
	end := max(time.Since(began), time.Duration(a.dearest.Load()))
	if over := end % pace; over > 0 {
		end += pace - over
	}
	timer := time.NewTimer(time.Until(began.Add(end)))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// digest stands for a login with everything that makes it right. Neither the password nor a hash that could be tried
// without the key of this process is kept.
func (a *Authenticator) digest(id Identity, hash, secret string) (d digest) {
	h := hmac.New(sha256.New, a.key[:])
	for _, s := range []string{id.Mailbox.Wire(), hash, secret} {
		fmt.Fprintf(h, "%d:%s", len(s), s)
	}
	h.Sum(d[:0])
	return d
}

func (a *Authenticator) remembers(d digest) bool {
	if a.known == nil {
		return false
	}
	until, ok := a.known.GetIfPresent(d)
	return ok && time.Now().Before(until)
}

func (a *Authenticator) remember(d digest) {
	if a.known != nil {
		a.known.Set(d, time.Now().Add(a.o.Remember))
	}
}
