package login

import (
	"context"
	"errors"

	"mxbypass/mailbox"
)

// MayUse tells whether the user may send as the sender: the address of the mailbox, also with a tag, or an alias that
// leads to it, directly or by other aliases. What only reaches it as a copy or by a catch-all belongs to somebody else or
// to nobody. Nor may a user whose mailbox was disabled since he logged in. An error is of the directory: temporary.
func (a *Authenticator) MayUse(ctx context.Context, id Identity, sender mailbox.Address) (bool, error) {
	switch _, err := a.user(ctx, id.Mailbox); {
	case errors.Is(err, ErrWrong):
		return false, nil
	case err != nil:
		return false, err
	}
	want := id.Mailbox.Fold()
	todo, seen := []mailbox.Address{sender.Fold()}, map[mailbox.Address]bool{}
	for len(todo) > 0 && len(seen) < mailbox.MaxAliasEntries {
		next := todo[0]
		todo = todo[1:]
		if seen[next] {
			continue
		}
		seen[next] = true
		entry, err := a.entry(ctx, next)
		if err != nil {
			return false, err
		}
		if entry.Address.Fold() == want {
			return true, nil
		}
		for _, to := range entry.Alias[:min(len(entry.Alias), mailbox.MaxAliasEntries-len(todo))] {
			todo = append(todo, to.Fold())
		}
	}
	return false, nil
}

// entry returns what an address names here; nothing when that is elsewhere, nowhere, or in a disabled domain.
func (a *Authenticator) entry(ctx context.Context, address mailbox.Address) (mailbox.Entry, error) {
	d, err := a.o.Resolver.Domain(ctx, address.Domain)
	switch {
	case errors.Is(err, mailbox.ErrNoDomain), err == nil && d.Disabled:
		return mailbox.Entry{}, nil
	case err != nil:
		return mailbox.Entry{}, err
	}
	e, err := a.o.Resolver.Entry(ctx, address)
	if errors.Is(err, mailbox.ErrNoMailbox) {
		return mailbox.Entry{}, nil
	}
	return e, err
}
