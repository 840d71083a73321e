package sqldir

import (
	"context"
	"errors"
	"fmt"
	"os"

	"mxbypass/mailbox"
	"mxbypass/mailbox/directory"
)

// AddDomain implements directory.Editor.
func (d *Directory) AddDomain(ctx context.Context, domain mailbox.Domain) error {
	if err := d.o.Rules.Domain(domain); err != nil {
		return err
	}
	return d.change(ctx, func(t *tx) error {
		if _, err := t.Domain(ctx, domain.Name); !errors.Is(err, mailbox.ErrNoDomain) {
			return orExists(err, "domain "+domain.Name.ASCII())
		}
		if err := t.insertDomain(ctx, domain); err != nil {
			return err
		}
		if err := t.checkInto(ctx, domain.Name); err != nil {
			return err
		}
		return t.rules.CatchAll(ctx, t, domain)
	})
}

// checkInto checks what leads into a domain that was elsewhere before, or that had another half.
func (t *tx) checkInto(ctx context.Context, name mailbox.DomainName) error {
	const into = "SELECT DISTINCT local, domain FROM target WHERE to_domain = ?"
	users, err := t.addresses(ctx, into, name.ASCII())
	if err != nil {
		return err
	}
	for _, by := range users {
		if err := t.rules.Targets(ctx, t, by); errors.Is(err, directory.ErrInvalid) {
			return fmt.Errorf("%w: with the policy split it leads to the other half of %s until its mailboxes are there",
				err, name)
		} else if err != nil {
			return err
		}
	}
	return nil
}

// orExists is for what was looked for and should not be there.
func orExists(err error, what string) error {
	if err != nil {
		return err
	}
	return fmt.Errorf("%s %w", what, directory.ErrExists)
}

// SetDomain implements directory.Editor.
func (d *Directory) SetDomain(ctx context.Context, name mailbox.DomainName, change func(*mailbox.Domain) error) error {
	return d.change(ctx, func(t *tx) error {
		domain, err := t.Domain(ctx, name)
		if err != nil {
			return err
		}
		before := domain.MX
		if err := change(&domain); err != nil {
			return err
		}
		domain.Name = name
		if err := t.rules.Domain(domain); err != nil {
			return err
		}
		if err := t.updateDomain(ctx, domain); err != nil {
			return err
		}
		if before.HasOtherHalf() && !domain.MX.HasOtherHalf() {
			if err := t.checkInto(ctx, name); err != nil {
				return err
			}
		}
		return t.rules.CatchAll(ctx, t, domain)
	})
}

// RemoveDomain implements directory.Editor.
func (d *Directory) RemoveDomain(ctx context.Context, name mailbox.DomainName, all bool) error {
	return d.change(ctx, func(t *tx) error {
		var full bool
		row := t.tx.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM entry WHERE domain = ?)", name.ASCII())
		if err := row.Scan(&full); err != nil {
			return err
		}
		if full && !all {
			return fmt.Errorf("domain %s is %w: it has mailboxes or aliases", name, directory.ErrInUse)
		}
		n, err := t.exec(ctx, "DELETE FROM domain WHERE name = ?", name.ASCII())
		if err != nil {
			return err
		}
		if n == 0 {
			return fmt.Errorf("%s: %w", name, mailbox.ErrNoDomain)
		}
		// What is in the domain went with it; this is what leads into it from elsewhere.
		const targets = "SELECT local, domain FROM target WHERE to_domain = ? LIMIT 1"
		const catchAlls = "SELECT '', name FROM domain WHERE catch_all_domain = ? AND catch_all_domain <> '' LIMIT 1"
		for _, query := range []string{targets, catchAlls} {
			users, err := t.addresses(ctx, query, name.ASCII())
			if err != nil {
				return err
			}
			for _, by := range users {
				who, err := t.user(ctx, by)
				if err != nil {
					return err
				}
				return fmt.Errorf("domain %s is %w: %s leads into it", name, directory.ErrInUse, who)
			}
		}
		return nil
	})
}

// user names what leads somewhere: an entry by its key, or the catch-all of a domain.
func (t *tx) user(ctx context.Context, by mailbox.Address) (string, error) {
	if by.Local == "" {
		return "the catch-all of " + by.Domain.ASCII(), nil
	}
	e, err := t.Entry(ctx, by)
	if err == nil && len(e.Alias) == 0 {
		return "a copy of " + by.String(), nil
	}
	return "alias " + by.String(), err
}

// AddEntry implements directory.Editor.
func (d *Directory) AddEntry(ctx context.Context, e mailbox.Entry) error {
	if err := d.o.Rules.Entry(e); err != nil {
		return err
	}
	return d.change(ctx, func(t *tx) error {
		if _, err := t.Domain(ctx, e.Address.Domain); err != nil {
			return err
		}
		if old, err := t.Entry(ctx, e.Address.Fold()); !errors.Is(err, mailbox.ErrNoMailbox) {
			return orExists(err, kind(old)+" "+e.Address.String())
		}
		if err := t.insertEntry(ctx, e, ""); err != nil {
			return err
		}
		return t.checkTargets(ctx, e)
	})
}

func kind(e mailbox.Entry) string {
	if len(e.Alias) > 0 {
		return "alias"
	}
	return "mailbox"
}

func (t *tx) checkTargets(ctx context.Context, e mailbox.Entry) error {
	if len(targets(e)) == 0 {
		return nil
	}
	return t.rules.Targets(ctx, t, e.Address)
}

// SetEntry implements directory.Editor.
func (d *Directory) SetEntry(ctx context.Context, a mailbox.Address, change func(*mailbox.Entry) error) error {
	return d.change(ctx, func(t *tx) error {
		e, err := t.Entry(ctx, a.Fold())
		if err != nil {
			return err
		}
		var secret string
		if e.Password {
			if secret, err = t.Secret(ctx, a.Fold()); err != nil {
				return err
			}
		}
		address := e.Address
		if err := change(&e); err != nil {
			return err
		}
		e.Address = address
		if err := t.rules.Entry(e); err != nil {
			return err
		}
		if err := t.deleteEntry(ctx, address); err != nil {
			return err
		}
		if len(e.Alias) > 0 {
			secret = ""
		}
		if err := t.insertEntry(ctx, e, secret); err != nil {
			return err
		}
		return t.checkTargets(ctx, e)
	})
}

// SetSecret implements directory.Editor.
func (d *Directory) SetSecret(ctx context.Context, a mailbox.Address, hash string) error {
	if hash != "" {
		if err := d.o.Rules.Secret(a, hash); err != nil {
			return err
		}
		if err := private(d.o.Path); err != nil {
			return err
		}
	}
	return d.change(ctx, func(t *tx) error {
		e, err := t.Entry(ctx, a.Fold())
		if err != nil {
			return err
		}
		if len(e.Alias) > 0 {
			return directory.Invalidf("%s is an alias: only a mailbox has a password", e.Address)
		}
		return t.setSecret(ctx, a.Fold(), hash)
	})
}

// private refuses to put passwords where everybody on the machine may read or change them.
func private(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if mode := info.Mode().Perm(); mode&0o006 != 0 {
		return directory.Invalidf("no passwords go into %s, which everybody may read or change (mode %04o): chmod 640, and its "+
			"-wal and -shm", path, uint32(mode))
	}
	return nil
}

// RemoveEntry implements directory.Editor.
func (d *Directory) RemoveEntry(ctx context.Context, a mailbox.Address) error {
	return d.change(ctx, func(t *tx) error {
		if err := t.deleteEntry(ctx, a); err != nil {
			return err
		}
		return t.checkUsers(ctx, a)
	})
}

// checkUsers finds what leads to a, which has just been deleted: to it, or to it with a tag.
func (t *tx) checkUsers(ctx context.Context, a mailbox.Address) error {
	key := a.Fold()
	args := []any{key.Domain.ASCII(), key.Wire(), key.Wire(), key.Wire()}
	if t.rules.Delimiter != "" {
		from := string(key.Local) + t.rules.Delimiter
		args[2], args[3] = from, from+"\U0010ffff"
	}
	const where = " = ?1 AND (%[1]s = ?2 OR %[1]s > ?3 AND %[1]s < ?4)"
	leads := fmt.Sprintf("SELECT DISTINCT local, domain FROM target WHERE to_domain"+where, "key")
	users, err := t.addresses(ctx, leads, args...)
	if err != nil {
		return err
	}
	for _, by := range users {
		if err := t.rules.Targets(ctx, t, by); err != nil {
			return t.inUse(ctx, a, by, err)
		}
	}
	catchAlls := fmt.Sprintf("SELECT '', name FROM domain WHERE catch_all_domain <> '' AND catch_all_domain"+where,
		"catch_all_key")
	if users, err = t.addresses(ctx, catchAlls, args...); err != nil {
		return err
	}
	for _, by := range users {
		domain, err := t.Domain(ctx, by.Domain)
		if err != nil {
			return err
		}
		if err := t.rules.CatchAll(ctx, t, domain); err != nil {
			return t.inUse(ctx, a, by, err)
		}
	}
	return nil
}

// inUse: the check said that by leads nowhere now, or that the directory cannot answer.
func (t *tx) inUse(ctx context.Context, a, by mailbox.Address, err error) error {
	if !errors.Is(err, directory.ErrInvalid) {
		return err
	}
	who, err := t.user(ctx, by)
	if err != nil {
		return err
	}
	return fmt.Errorf("%s is %w: %s leads to it", a, directory.ErrInUse, who)
}
