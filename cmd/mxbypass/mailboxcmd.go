package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"mxbypass/mailbox"
	"mxbypass/mailbox/directory"
)

func (a *app) mailboxCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "mailbox",
		Short: "List and change the mailboxes and aliases of a directory",
		Long: "List and change mailboxes and aliases. An alias is added by naming where it leads: --alias-to.\n" +
			"A mailbox with copies keeps its mail and sends it on: --copy. Both may lead to addresses elsewhere.\n" +
			"A directory in a file is edited by hand; list and show work there too.\n" +
			"A running relay sees every change within a second, without a reload.",
		Args: cobra.ArbitraryArgs,
		RunE: needSubcommand,
	}
	cmd.AddCommand(a.mailboxAdd(), a.mailboxList(), a.mailboxShow(), a.mailboxSet(), a.mailboxRemove(), a.mailboxPasswd(),
		a.mailboxImport())
	return cmd
}

// entryFlags are the properties of a mailbox or an alias on the command line.
type entryFlags struct {
	aliasTo, copies []string
	disabled        bool
}

func (f *entryFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringSliceVar(&f.aliasTo, "alias-to", nil, "an alias to these `addresses`, with commas between them")
	cmd.Flags().StringSliceVar(&f.copies, "copy", nil,
		"an `address` that gets the mail of this mailbox as well; may be given again; empty: none")
	cmd.Flags().BoolVar(&f.disabled, "disabled", false, "refuse the mail of this mailbox for now")
}

// apply changes what was given on the command line.
func (f *entryFlags) apply(cmd *cobra.Command, e *mailbox.Entry) error {
	if cmd.Flags().Changed("disabled") {
		e.Disabled = f.disabled
	}
	if cmd.Flags().Changed("copy") {
		var err error
		if e.Copies, err = addressArgs(f.copies); err != nil {
			return err
		}
	}
	if !cmd.Flags().Changed("alias-to") {
		return nil
	}
	var err error
	if e.Alias, err = addressArgs(f.aliasTo); err != nil {
		return err
	}
	if len(e.Alias) == 0 {
		return exit(exitUsage, errors.New("--alias-to names no address"))
	}
	return nil
}

func addressArgs(args []string) ([]mailbox.Address, error) {
	var list []mailbox.Address
	for _, s := range args {
		a, err := addressArg(s)
		if err != nil {
			return nil, err
		}
		list = append(list, a)
	}
	return list, nil
}

func entryKind(e mailbox.Entry) string {
	if len(e.Alias) > 0 {
		return "alias"
	}
	return "mailbox"
}

func (a *app) mailboxAdd() *cobra.Command {
	var f entryFlags
	cmd := &cobra.Command{
		Use:   "add ADDRESS",
		Short: "Add a mailbox, or an alias with --alias-to, to a hosted domain",
		Args:  cobra.ExactArgs(1),
		RunE: onArgument(addressArg, func(cmd *cobra.Command, address mailbox.Address) error {
			entry := mailbox.Entry{Address: address}
			if err := f.apply(cmd, &entry); err != nil {
				return err
			}
			return a.withEditor(cmd.Context(), false, func(e directory.Editor) error {
				err := e.AddEntry(cmd.Context(), entry)
				if errors.Is(err, mailbox.ErrNoDomain) {
					return fmt.Errorf("%w: add it first, with mxbypass domain add", err)
				}
				if err != nil {
					return err
				}
				return a.say("added %s %s", entryKind(entry), address)
			})
		}),
	}
	f.add(cmd)
	return cmd
}

func (a *app) mailboxSet() *cobra.Command {
	var f entryFlags
	cmd := &cobra.Command{
		Use:   "set ADDRESS",
		Short: "Change a mailbox or an alias: what is not named stays",
		Args:  cobra.ExactArgs(1),
		RunE: onArgument(addressArg, func(cmd *cobra.Command, address mailbox.Address) error {
			return a.withEditor(cmd.Context(), false, func(e directory.Editor) error {
				err := e.SetEntry(cmd.Context(), address, func(e *mailbox.Entry) error { return f.apply(cmd, e) })
				if err != nil {
					return err
				}
				return a.say("changed %s", address)
			})
		}),
	}
	f.add(cmd)
	cmd.MarkFlagsOneRequired("alias-to", "copy", "disabled")
	return cmd
}

func (a *app) mailboxRemove() *cobra.Command {
	return &cobra.Command{
		Use:   "remove ADDRESS",
		Short: "Remove a mailbox or an alias; stored mail is not touched",
		Args:  cobra.ExactArgs(1),
		RunE: onArgument(addressArg, func(cmd *cobra.Command, address mailbox.Address) error {
			return a.withEditor(cmd.Context(), false, func(e directory.Editor) error {
				if err := e.RemoveEntry(cmd.Context(), address); err != nil {
					return err
				}
				return a.say("removed %s", address)
			})
		}),
	}
}

// entryObject is a mailbox or an alias in JSON.
type entryObject struct {
	Address  string   `json:"address"`
	Kind     string   `json:"kind"` // mailbox | alias
	Disabled bool     `json:"disabled"`
	AliasTo  []string `json:"alias_to,omitempty"`
	Copies   []string `json:"copies,omitempty"`
	Password bool     `json:"password,omitempty"` // there is one
}

func newEntryObject(e mailbox.Entry) entryObject {
	o := entryObject{Address: e.Address.Wire(), Kind: entryKind(e), Disabled: e.Disabled, Password: e.Password}
	for _, to := range e.Alias {
		o.AliasTo = append(o.AliasTo, to.Wire())
	}
	for _, to := range e.Copies {
		o.Copies = append(o.Copies, to.Wire())
	}
	return o
}

func entryLine(e mailbox.Entry) string {
	line := e.Address.String()
	if len(e.Alias) > 0 {
		line += "  alias to " + addressList(e.Alias)
	}
	if len(e.Copies) > 0 {
		line += "  copies to " + addressList(e.Copies)
	}
	if e.Password {
		line += "  password"
	}
	if e.Disabled {
		line += "  disabled"
	}
	return line
}

func addressList(list []mailbox.Address) string {
	text := make([]string, len(list))
	for i, a := range list {
		text[i] = a.String()
	}
	return strings.Join(text, ", ")
}

func (a *app) mailboxList() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list [DOMAIN]",
		Short: "List the mailboxes and aliases, of one domain or of all",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var name mailbox.DomainName
			if len(args) == 1 {
				var err error
				if name, err = domainArg(args[0]); err != nil {
					return err
				}
			}
			return a.withReader(cmd.Context(), func(d directory.Reader) error {
				if !name.IsZero() {
					if _, err := d.Domain(cmd.Context(), name); err != nil {
						return err
					}
				}
				return list(a, asJSON, d.Entries(cmd.Context(), name), entryLine,
					func(e mailbox.Entry) any { return newEntryObject(e) })
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object in a line for each")
	return cmd
}

func (a *app) mailboxShow() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show ADDRESS",
		Short: "Show a mailbox or an alias as it stands; mxbypass route tells what an address leads to",
		Args:  cobra.ExactArgs(1),
		RunE: onArgument(addressArg, func(cmd *cobra.Command, address mailbox.Address) error {
			return a.withReader(cmd.Context(), func(dir directory.Reader) error {
				d, err := dir.Domain(cmd.Context(), address.Domain)
				if err != nil {
					return err
				}
				e, err := dir.Entry(cmd.Context(), address.Fold())
				if err != nil {
					return err
				}
				if asJSON {
					return a.printJSON(newEntryObject(e))
				}
				return a.say("%s\n%s", entryKind(e)+" "+entryLine(e), "domain "+domainLine(d))
			})
		}),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
