package mailbox

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Bounds of what one address may lead to. They are far beyond what people make on purpose; a list of more than a
// thousand belongs to a mailing list manager.
const (
	MaxAliasDepth   = 16   // aliases that lead to aliases, copies that have copies
	MaxAliasEntries = 1000 // mailboxes and aliases that one address reaches
)

// Resolver finds the mailboxes of an address in a directory, in the same way for every directory:
//
//  1. the exact entry;
//  2. the entry before the first delimiter; what follows is the tag (user+tag, RFC 5233);
//  3. the domain's catch-all, for what could be the name of a mailbox. It gets no tag.
//
// An alias is followed to its targets, which are found by 1 and 2 only. They keep the tag of what was asked, unless
// they are written with a tag of their own. A mailbox that is reached on several ways is one recipient, with the tag of
// the first way. A tag that would make an address longer than [MaxLocalPart] is dropped. The copies of a mailbox are
// followed in the same way, beside the mailbox.
//
// A target outside of the hosted domains is a redirection, and so is one in a hosted domain of the policies external and
// split that has no such mailbox here. Its address is taken as it is written, without the tag.
//
// Mail for an alias reaches all of its targets or none: a target here that is disabled or gone makes the whole answer a
// temporary error.
type Resolver struct {
	Directory Directory
	Delimiter string // between user and tag; empty: no subaddresses
}

// Resolution is what an address leads to.
type Resolution struct {
	Recipients []Resolved // all different mailboxes; nil with an error
	Redirects  []Redirect // all different addresses elsewhere; with Recipients one or more; nil with an error
	Steps      []string   // how it was found, in printable sentences; with an error, the way up to it
}

// Redirect is an address outside of the hosted domains that the directory sends mail to.
type Redirect struct {
	To   Address
	From Address // the mailbox or alias that leads there, as the directory writes it
}

// Resolved is one mailbox that an address leads to.
type Resolved struct {
	Mailbox   Mailbox
	Tag       LocalPart // empty: none
	Delivered Address   // the mailbox, with the tag where there is one: for Delivered-To
}

// Domain returns the hosted domain of that name, also when it is disabled. The error wraps [ErrNoDomain] when there is
// none; any other error is temporary.
func (r Resolver) Domain(ctx context.Context, name DomainName) (Domain, error) {
	if CheckDomainName(name) != nil {
		return Domain{}, fmt.Errorf("%s: %w", name, ErrNoDomain)
	}
	return r.Directory.Domain(ctx, name)
}

// Resolve returns the mailboxes of local@d. The error wraps [ErrNoMailbox] when the directory knows that there is none,
// [ErrDisabled] or [ErrAliasLoop]; any other error is temporary.
func (r Resolver) Resolve(ctx context.Context, d Domain, local LocalPart) (Resolution, error) {
	if d.Disabled {
		return Resolution{}, fmt.Errorf("domain %s: %w", d.Name, ErrDisabled)
	}
	asked := Address{local, d.Name}
	entry, tag, err := r.find(ctx, asked)
	switch {
	case err == nil && len(entry.Alias)+len(entry.Copies) == 0:
		return r.single(d, entry, tag)
	case err == nil:
		return r.followAll(ctx, d, entry, tag, nil)
	case !errors.Is(err, ErrNoMailbox), d.CatchAll.IsNull(), CheckMailboxName(local) != nil:
		return Resolution{}, err
	}
	return r.catchAll(ctx, d, asked)
}

// Entry returns the mailbox or alias that an address names: the exact one, or the one before the delimiter. The error is
// that of the directory.
func (r Resolver) Entry(ctx context.Context, a Address) (Entry, error) {
	e, _, err := r.find(ctx, a)
	return e, err
}

// find looks for the exact entry, and then for the one before the delimiter.
func (r Resolver) find(ctx context.Context, a Address) (Entry, LocalPart, error) {
	// What is no dot-string is nobody's name, whatever the directory thinks.
	if len(a.Local) > MaxLocalPart || !a.Local.IsDotString() {
		return Entry{}, "", fmt.Errorf("%s: %w", a, ErrNoMailbox)
	}
	key := a.Fold()
	entry, err := r.Directory.Entry(ctx, key)
	if err == nil || r.Delimiter == "" || !errors.Is(err, ErrNoMailbox) {
		return entry, "", err
	}
	user, _, _ := strings.Cut(string(key.Local), r.Delimiter)
	if user == "" || user == string(key.Local) {
		return Entry{}, "", err
	}
	key.Local = LocalPart(user)
	if entry, err = r.Directory.Entry(ctx, key); err != nil {
		return Entry{}, "", err
	}
	// The tag is what was written, not what it folds to: it may name a folder.
	_, tag, _ := strings.Cut(string(a.Local), r.Delimiter)
	return entry, LocalPart(tag), nil
}

// single is the usual case: the address is a mailbox.
func (r Resolver) single(d Domain, e Entry, tag LocalPart) (Resolution, error) {
	got, err := r.resolved(d, e, tag)
	if err != nil {
		return Resolution{}, err
	}
	step := "mailbox " + e.Address.String()
	if tag != "" {
		step += ", tag " + Printable(string(tag))
	}
	return Resolution{Recipients: []Resolved{got}, Steps: []string{step}}, nil
}

// resolved turns an entry into a recipient, if it may be one.
func (r Resolver) resolved(d Domain, e Entry, tag LocalPart) (Resolved, error) {
	if err := CheckMailboxName(e.Address.Local); err != nil {
		// Not wrapped: the address that was asked is right, the directory is not. That is temporary.
		return Resolved{}, fmt.Errorf("%w: mailbox %s of the directory: %v", ErrUnavailable, e.Address, err)
	}
	if e.Disabled {
		return Resolved{}, fmt.Errorf("%s: %w", e.Address, ErrDisabled)
	}
	got := Resolved{Mailbox: Mailbox{Address: e.Address, Site: d.Site}, Tag: tag, Delivered: e.Address}
	if tag != "" {
		if got.Delivered.Local += LocalPart(r.Delimiter) + tag; len(got.Delivered.Local) > MaxLocalPart {
			got.Tag, got.Delivered = "", e.Address // an alias brought it to a longer name
		}
	}
	return got, nil
}

func (r Resolver) catchAll(ctx context.Context, d Domain, asked Address) (Resolution, error) {
	step := "no mailbox or alias " + asked.String() + ", catch-all " + d.CatchAll.String()
	w := walk{resolver: r, steps: []string{step}}
	domain, entry, _, err := w.target(ctx, d, d.CatchAll)
	if errors.Is(err, errElsewhere) { // refused when it is made
		err = fmt.Errorf("%w: it leads to %s, which is not here", ErrUnavailable, d.CatchAll)
	}
	if err != nil {
		return Resolution{Steps: w.steps}, fmt.Errorf("catch-all of %s: %w", d.Name, err)
	}
	return r.followAll(ctx, domain, entry, "", w.steps)
}

func (r Resolver) followAll(ctx context.Context, d Domain, e Entry, tag LocalPart, steps []string) (Resolution, error) {
	w := walk{resolver: r, steps: steps, done: map[Address]bool{}}
	if err := w.follow(ctx, d, e, tag); err != nil {
		return Resolution{Steps: w.steps}, err
	}
	return Resolution{Recipients: w.found, Redirects: w.away, Steps: w.steps}, nil
}

// walk follows aliases, depth first.
type walk struct {
	resolver Resolver
	steps    []string
	found    []Resolved
	away     []Redirect
	depth    int              // aliases and mailboxes with copies that led here
	path     []Address        // the aliases that led here since the last copy
	done     map[Address]bool // folded; also what is on the path
}

func (w *walk) follow(ctx context.Context, d Domain, e Entry, tag LocalPart) error {
	key := e.Address.Fold()
	if slices.Contains(w.path, key) {
		return fmt.Errorf("%s: %w", e.Address, ErrAliasLoop)
	}
	if w.done[key] {
		return nil
	}
	if w.depth > MaxAliasDepth || len(w.done) >= MaxAliasEntries {
		return fmt.Errorf("%s: %w: more than %d deep or %d addresses", e.Address, ErrAliasLoop, MaxAliasDepth,
			MaxAliasEntries)
	}
	w.done[key] = true
	w.depth++
	defer func() { w.depth-- }()
	if len(e.Alias) == 0 {
		got, err := w.resolver.resolved(d, e, tag)
		if err != nil {
			return err
		}
		w.steps = append(w.steps, "mailbox "+e.Address.String())
		w.found = append(w.found, got)
		return w.copies(ctx, d, e, tag)
	}
	w.steps = append(w.steps, "alias "+e.Address.String())
	w.path = append(w.path, key)
	for _, to := range e.Alias {
		if err := w.send(ctx, d, e.Address, to, tag); err != nil {
			return fmt.Errorf("alias %s: %w", e.Address, err)
		}
	}
	w.path = w.path[:len(w.path)-1]
	return nil
}

// copies follows the copies of a mailbox. One that leads back to where the mail came through is no loop: who is there has
// the mail.
func (w *walk) copies(ctx context.Context, d Domain, e Entry, tag LocalPart) error {
	path := w.path
	w.path = nil
	for _, to := range e.Copies {
		if err := w.send(ctx, d, e.Address, to, tag); err != nil {
			return fmt.Errorf("copies of %s: %w", e.Address, err)
		}
	}
	w.path = path
	return nil
}

// send follows one target of an alias or of a mailbox with copies, here or away.
func (w *walk) send(ctx context.Context, d Domain, from, to Address, tag LocalPart) error {
	domain, entry, own, err := w.target(ctx, d, to)
	if errors.Is(err, errElsewhere) {
		return w.redirect(Redirect{To: to, From: from})
	}
	if err != nil {
		return err
	}
	if own == "" {
		own = tag
	}
	return w.follow(ctx, domain, entry, own)
}

func (w *walk) redirect(r Redirect) error {
	key := r.To.Fold()
	if w.done[key] {
		return nil
	}
	if len(w.done) >= MaxAliasEntries {
		return fmt.Errorf("%s: %w: more than %d addresses", r.From, ErrAliasLoop, MaxAliasEntries)
	}
	w.done[key] = true
	w.steps = append(w.steps, "elsewhere "+r.To.String())
	w.away = append(w.away, r)
	return nil
}

// errElsewhere: a target is outside of what is kept here.
var errElsewhere = errors.New("elsewhere")

// target looks up where an alias, a copy or a catch-all leads; errElsewhere when that is not here. That it leads nowhere
// is the operator's mistake, which must not lose mail: the error is temporary, never ErrNoDomain or ErrNoMailbox.
func (w *walk) target(ctx context.Context, from Domain, to Address) (Domain, Entry, LocalPart, error) {
	d := from
	if to.Domain != from.Name {
		var err error
		if d, err = w.resolver.Domain(ctx, to.Domain); errors.Is(err, ErrNoDomain) {
			return Domain{}, Entry{}, "", fmt.Errorf("%s: %w", to, errElsewhere)
		} else if err != nil {
			return Domain{}, Entry{}, "", err
		}
	}
	if d.Disabled {
		return Domain{}, Entry{}, "", fmt.Errorf("domain %s: %w", d.Name, ErrDisabled)
	}
	entry, tag, err := w.resolver.find(ctx, to)
	switch {
	case errors.Is(err, ErrNoMailbox) && d.MX.HasOtherHalf():
		return Domain{}, Entry{}, "", fmt.Errorf("%s: %w", to, errElsewhere)
	case errors.Is(err, ErrNoMailbox):
		return Domain{}, Entry{}, "", fmt.Errorf("%w: it leads to %s, which does not exist", ErrUnavailable, to)
	}
	return d, entry, tag, err
}
