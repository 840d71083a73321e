package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"mxbypass/configs"
	"mxbypass/mailbox"
	"mxbypass/mailbox/directory"
	"mxbypass/mailbox/password"
)

// passwdFlags say where the password comes from.
type passwdFlags struct {
	hash   string
	remove bool
}

func (a *app) mailboxPasswd() *cobra.Command {
	var f passwdFlags
	cmd := &cobra.Command{
		Use:   "passwd ADDRESS",
		Short: "Give a mailbox a password, so that its user can log in and send",
		Long: "Give a mailbox a password, or take it away. It is asked for twice on a terminal, and else read from the\n" +
			"standard input, in one line. Only its hash is kept, an argon2id. A hash that another server made is taken\n" +
			"with --hash: argon2id, bcrypt or SHA-512-crypt, also with a prefix of Dovecot, such as {BLF-CRYPT}.\n" +
			"A directory in a file is edited by hand: the line to put into it is printed.",
		Args: cobra.ExactArgs(1),
		RunE: onArgument(addressArg, func(cmd *cobra.Command, address mailbox.Address) error {
			c, err := a.loadConfig()
			if err != nil {
				return err
			}
			if c.Directory.Driver == configs.DriverFile {
				return a.passwdLine(cmd.Context(), c, address, f)
			}
			return a.withEditor(cmd.Context(), false, func(e directory.Editor) error {
				return a.passwd(cmd.Context(), e, address, f)
			})
		}),
	}
	cmd.Flags().StringVar(&f.hash, "hash", "", "take this `hash` for that of the password; -: read it as passwords are")
	cmd.Flags().BoolVar(&f.remove, "remove", false, "take the password away: nobody logs in")
	cmd.MarkFlagsMutuallyExclusive("hash", "remove")
	return cmd
}

// passwd changes the password in a database.
func (a *app) passwd(ctx context.Context, e directory.Editor, address mailbox.Address, f passwdFlags) error {
	entry, err := withPassword(ctx, e, address)
	if err != nil {
		return err
	}
	if f.remove {
		if err := e.SetSecret(ctx, entry.Address, ""); err != nil {
			return err
		}
		return a.say("%s has no password now", entry.Address)
	}
	hash, err := a.newSecret(entry.Address, f)
	if err != nil {
		return err
	}
	if err := e.SetSecret(ctx, entry.Address, hash); err != nil {
		return err
	}
	return a.say("%s has a new password", entry.Address)
}

// passwdLine prints the line for the file of a directory.
func (a *app) passwdLine(ctx context.Context, c *configs.Config, address mailbox.Address, f passwdFlags) error {
	if f.remove {
		return exit(exitNoPermission, fmt.Errorf("the directory is the file %s: remove the line from it",
			c.Directory.Path))
	}
	return a.withReader(ctx, func(d directory.Reader) error {
		entry, err := withPassword(ctx, d, address)
		if err != nil {
			return err
		}
		hash, err := a.newSecret(entry.Address, f)
		if err != nil {
			return err
		}
		fmt.Fprintf(a.errOut, "put this into %s, below [domain.passwords] of %s:\n", mailbox.Printable(c.Directory.Path),
			address.Domain)
		return a.say("%q = %q", string(entry.Address.Local), hash)
	})
}

// withPassword returns the mailbox of an address, which is one that can have a password.
func withPassword(ctx context.Context, d mailbox.Directory, address mailbox.Address) (mailbox.Entry, error) {
	if _, err := d.Domain(ctx, address.Domain); err != nil {
		return mailbox.Entry{}, err
	}
	entry, err := d.Entry(ctx, address.Fold())
	if err == nil && len(entry.Alias) > 0 {
		err = directory.Invalidf("%s is an alias: only a mailbox has a password", entry.Address)
	}
	return entry, err
}

// newSecret asks for the new password, and gives its hash.
func (a *app) newSecret(of mailbox.Address, f passwdFlags) (string, error) {
	if f.hash != "" && f.hash != "-" {
		return f.hash, badSecret(password.Check(f.hash))
	}
	what, check := "password", password.Usable
	if f.hash == "-" {
		what, check = "hash of the password", password.Check
	}
	secret, err := a.askSecret("New "+what+" of "+of.String()+": ", check)
	if err != nil {
		return "", err
	}
	if f.hash == "-" {
		return secret, nil
	}
	hash, err := password.Hash(secret)
	return hash, badSecret(err)
}

// badSecret gives an error of package password its exit code.
func badSecret(err error) error {
	if err == nil {
		return nil
	}
	return exit(exitData, err)
}
