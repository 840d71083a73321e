package main

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"mxbypass/mailbox"
	"mxbypass/mailbox/directory"
)

func (a *app) domainCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "domain",
		Short: "List and change the hosted domains of a directory",
		Long: "List and change the hosted domains. A directory in a file is edited by hand; list and show work there too.\n" +
			"A running relay sees every change within a second, without a reload.",
		Args: cobra.ArbitraryArgs,
		RunE: needSubcommand,
	}
	cmd.AddCommand(a.domainAdd(), a.domainList(), a.domainShow(), a.domainSet(), a.domainRemove())
	return cmd
}

// domainFlags are the properties of a domain on the command line.
type domainFlags struct {
	site, mx, external, catchAll string
	bypass, disabled             bool
	authentication               string
	upstreams                    []string
}

func (f *domainFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.site, "site", "", "the `site` that keeps its mailboxes")
	flags.StringVar(&f.mx, "mx", string(mailbox.PolicyAuto), "how far plain mail follows its MX: auto, local, external, split")
	flags.StringVar(&f.external, "external", "",
		"the `way` of its external mail: mx, smtp://host:port; empty: as all mail for elsewhere")
	flags.BoolVar(&f.bypass, "bypass", true, "may be reached by bypass addresses")
	flags.BoolVar(&f.disabled, "disabled", false, "refuse all of its mail for now")
	flags.StringVar(&f.catchAll, "catch-all", "", "the mailbox `address` that takes unknown names; empty: none")
	flags.StringVar(&f.authentication, "authentication", "",
		"what becomes of mail that fails DMARC: off, mark, enforce; empty: as the configuration says")
	flags.StringSliceVar(&f.upstreams, "upstream", nil,
		"`who` forwards its mail here: a network, the name of an SPF record, auto; may be given again; empty: nobody")
}

// apply changes what was given on the command line.
func (f *domainFlags) apply(cmd *cobra.Command, d *mailbox.Domain) error {
	given := cmd.Flags().Changed
	if given("site") {
		d.Site = f.site
	}
	if given("mx") {
		d.MX = mailbox.MXPolicy(f.mx)
	}
	if given("external") {
		var err error
		if d.External, err = mailbox.ParseExternal(f.external); err != nil {
			return exit(exitData, fmt.Errorf("external %q: %w", f.external, err))
		}
	}
	if given("bypass") {
		d.Bypass = f.bypass
	}
	if given("disabled") {
		d.Disabled = f.disabled
	}
	if given("authentication") {
		d.Authentication = mailbox.Authentication(f.authentication)
	}
	if given("upstream") {
		var err error
		if d.Upstreams, err = mailbox.ParseUpstreams(f.upstreams); err != nil {
			return exit(exitData, fmt.Errorf("upstream %w", err))
		}
	}
	if !given("catch-all") {
		return nil
	}
	d.CatchAll = mailbox.Address{}
	if f.catchAll == "" {
		return nil
	}
	var err error
	d.CatchAll, err = addressArg(f.catchAll)
	return err
}

func (a *app) domainAdd() *cobra.Command {
	var f domainFlags
	cmd := &cobra.Command{
		Use:   "add DOMAIN --site SITE",
		Short: "Add a hosted domain",
		Long:  "Add a hosted domain. A database that is missing is made.",
		Args:  cobra.ExactArgs(1),
		RunE: onArgument(domainArg, func(cmd *cobra.Command, name mailbox.DomainName) error {
			d := mailbox.Domain{Name: name, MX: mailbox.PolicyAuto, Bypass: true}
			if err := f.apply(cmd, &d); err != nil {
				return err
			}
			return a.withEditor(cmd.Context(), true, func(e directory.Editor) error {
				if err := e.AddDomain(cmd.Context(), d); err != nil {
					return err
				}
				return a.say("added domain %s", name)
			})
		}),
	}
	f.add(cmd)
	_ = cmd.MarkFlagRequired("site") // fails only when there is no such flag
	return cmd
}

func (a *app) domainSet() *cobra.Command {
	var f domainFlags
	cmd := &cobra.Command{
		Use:   "set DOMAIN",
		Short: "Change a hosted domain: what is not named stays",
		Args:  cobra.ExactArgs(1),
		RunE: onArgument(domainArg, func(cmd *cobra.Command, name mailbox.DomainName) error {
			return a.withEditor(cmd.Context(), false, func(e directory.Editor) error {
				err := e.SetDomain(cmd.Context(), name, func(d *mailbox.Domain) error { return f.apply(cmd, d) })
				if err != nil {
					return err
				}
				return a.say("changed domain %s", name)
			})
		}),
	}
	f.add(cmd)
	cmd.MarkFlagsOneRequired("site", "mx", "external", "bypass", "disabled", "catch-all", "authentication",
		"upstream")
	return cmd
}

func (a *app) domainRemove() *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "remove DOMAIN",
		Short: "Remove a hosted domain; stored mail is not touched",
		Args:  cobra.ExactArgs(1),
		RunE: onArgument(domainArg, func(cmd *cobra.Command, name mailbox.DomainName) error {
			return a.withEditor(cmd.Context(), false, func(e directory.Editor) error {
				if err := e.RemoveDomain(cmd.Context(), name, force); err != nil {
					return err
				}
				return a.say("removed domain %s", name)
			})
		}),
	}
	cmd.Flags().BoolVar(&force, "force", false, "remove its mailboxes and aliases with it")
	return cmd
}

// domainObject is a domain in JSON.
type domainObject struct {
	Name     string `json:"name"`
	Unicode  string `json:"unicode"`
	Site     string `json:"site"`
	MX       string `json:"mx"`
	External string `json:"external"` // mx, smtp://host:port; empty: as all mail for elsewhere
	Bypass   bool   `json:"bypass"`
	Disabled bool   `json:"disabled"`
	CatchAll string `json:"catch_all"`
	// Authentication is off, mark or enforce; empty: as the configuration says.
	Authentication string   `json:"authentication"`
	Upstreams      []string `json:"upstreams,omitempty"`

	Mailboxes *int `json:"mailboxes,omitempty"` // only of one domain: counting takes time
	Aliases   *int `json:"aliases,omitempty"`
}

func newDomainObject(d mailbox.Domain) domainObject {
	o := domainObject{
		Name: d.Name.ASCII(), Unicode: d.Name.Unicode(), Site: d.Site, MX: string(d.MX),
		External: d.External.String(), Bypass: d.Bypass, Disabled: d.Disabled,
		Authentication: string(d.Authentication), Upstreams: d.Upstreams,
	}
	if !d.CatchAll.IsNull() {
		o.CatchAll = d.CatchAll.Wire()
	}
	return o
}

func domainLine(d mailbox.Domain) string {
	line := fmt.Sprintf("%s  site=%s  mx=%s", d.Name, mailbox.Printable(d.Site), d.MX)
	if way := d.External.String(); way != "" {
		line += "  external=" + way
	}
	line += fmt.Sprintf("  bypass=%v", d.Bypass)
	if d.Authentication != "" {
		line += "  authentication=" + string(d.Authentication)
	}
	if len(d.Upstreams) > 0 {
		line += "  upstreams=" + strings.Join(d.Upstreams, ",")
	}
	if !d.CatchAll.IsNull() {
		line += "  catch-all=" + d.CatchAll.String()
	}
	if d.Disabled {
		line += "  disabled"
	}
	return line
}

func (a *app) domainList() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the hosted domains",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withReader(cmd.Context(), func(d directory.Reader) error {
				return list(a, asJSON, d.Domains(cmd.Context()), domainLine,
					func(d mailbox.Domain) any { return newDomainObject(d) })
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object in a line for each")
	return cmd
}

func (a *app) domainShow() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show DOMAIN",
		Short: "Show a hosted domain",
		Args:  cobra.ExactArgs(1),
		RunE: onArgument(domainArg, func(cmd *cobra.Command, name mailbox.DomainName) error {
			return a.withReader(cmd.Context(), func(dir directory.Reader) error {
				d, err := dir.Domain(cmd.Context(), name)
				if err != nil {
					return err
				}
				var mailboxes, aliases int
				for e, err := range dir.Entries(cmd.Context(), name) {
					switch {
					case err != nil:
						return err
					case len(e.Alias) > 0:
						aliases++
					default:
						mailboxes++
					}
				}
				o := newDomainObject(d)
				o.Mailboxes, o.Aliases = &mailboxes, &aliases
				if asJSON {
					return a.printJSON(o)
				}
				return a.say("domain          %s\nsite            %s\nmx              %s\nexternal        %s\n"+
					"bypass          %v\ndisabled        %v\ncatch-all       %s\nauthentication  %s\nupstreams       %s\n"+
					"mailboxes       %d\naliases         %d", mailbox.Printable(o.Unicode), mailbox.Printable(o.Site), o.MX,
					cmp.Or(o.External, "as all mail for elsewhere"), o.Bypass, o.Disabled, orNone(o.CatchAll),
					cmp.Or(o.Authentication, "as the configuration says"), orNone(strings.Join(o.Upstreams, " ")), mailboxes,
					aliases)
			})
		}),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return mailbox.Printable(s)
}
