package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"mxbypass/configs"
	"mxbypass/mailbox"
	"mxbypass/routing/mx"
)

func (a *app) mxCommand() *cobra.Command {
	var servers []string
	var asJSON bool
	c := &cobra.Command{
		Use:   "mx DOMAIN",
		Short: "Tell where DNS sends the mail of a domain, and what is wrong with its MX records",
		Long: "Tell the MX state of a domain, who runs its MX hosts, and how its records differ from what that provider asks\n" +
			"for. DNS is asked now; without a configuration file the system's servers are asked, and no host is ours.\n\n" +
			"The exit code is 0 when all is well, 1 when something is wrong with the records, 75 when DNS did not tell.",
		Example: "  mxbypass mx exemple.org\n  mxbypass mx exemple.org --server 127.0.0.1:5353 --json",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			checker, err := a.mxChecker(cmd.Flags().Changed("config"), servers)
			if err != nil {
				return err
			}
			return a.mxCheck(cmd.Context(), checker, args[0], asJSON)
		},
	}
	c.Flags().StringSliceVar(&servers, "server", nil, "DNS server to ask instead: an `address`, with or without a port")
	c.Flags().BoolVar(&asJSON, "json", false, "for machines")
	c.AddCommand(a.mxPlanCommand())
	return c
}

func (a *app) mxPlanCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:     "plan [DOMAIN PROVIDER]",
		Short:   "Print the MX records to set for a provider; without one, list the providers",
		Example: "  mxbypass mx plan exemple.org google",
		Args:    cobra.MaximumNArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			providers, err := mx.EmbeddedProviders()
			if err != nil {
				return exit(exitSoftware, err)
			}
			if len(args) == 2 {
				return a.mxPlan(providers, args[0], args[1], asJSON)
			}
			return a.mxProviders(providers, asJSON)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "for machines")
	return c
}

// mxChecker asks the servers that are named here, or those of the configuration. A configuration file that nobody named
// need not be there.
func (a *app) mxChecker(named bool, servers []string) (mx.Checker, error) {
	providers, err := mx.EmbeddedProviders()
	if err != nil {
		return mx.Checker{}, exit(exitSoftware, err)
	}
	checker := mx.Checker{Providers: providers}
	options := mx.DNSOptions{}
	if named || !missing(a.configFile) {
		c, err := a.loadConfig()
		if err != nil {
			return mx.Checker{}, err
		}
		if checker.Own, err = ownHosts(c); err != nil {
			return mx.Checker{}, exit(exitConfig, err)
		}
		options.Timeout = c.DNS.Timeout.Std()
		for _, s := range c.DNS.Servers {
			options.Servers = append(options.Servers, s.String())
		}
	}
	code := exitConfig
	if len(servers) > 0 {
		options.Servers, code = servers, exitUsage
	}
	if checker.Resolver, err = mx.NewDNS(options); err != nil {
		return mx.Checker{}, exit(code, err)
	}
	return checker, nil
}

// ownHosts are the MX hosts that are ours.
func ownHosts(c *configs.Config) (mx.Own, error) {
	hostname, err := hostnameOf(c)
	if err != nil {
		return mx.Own{}, err
	}
	own := mx.Own{Hosts: []mailbox.DomainName{hostname}, Addrs: c.Addresses}
	for _, g := range c.Gateways {
		own.Hosts = append(own.Hosts, g.Host)
	}
	return own, nil
}

func (a *app) mxCheck(ctx context.Context, checker mx.Checker, name string, asJSON bool) error {
	domain, err := mailbox.ParseDomainName(name)
	if err != nil {
		return exit(exitUsage, fmt.Errorf("%s: %w", name, err))
	}
	report := checker.Check(ctx, domain)
	if asJSON {
		err = a.printJSON(mxReportJSON(report))
	} else {
		err = printMXReport(a.out, report)
	}
	switch {
	case err != nil:
		return exit(exitIO, err)
	case report.State.Kind == mx.Unknown:
		return exit(exitTemporary, nil)
	case report.Wrong():
		return exit(exitRefused, nil)
	}
	return nil
}

func (a *app) mxPlan(providers mx.Providers, name, word string, asJSON bool) error {
	domain, err := mailbox.ParseDomainName(name)
	if err != nil {
		return exit(exitUsage, fmt.Errorf("%s: %w", name, err))
	}
	provider, err := providers.Named(word)
	if err != nil {
		return exit(exitUsage, fmt.Errorf("%s: %w (mxbypass mx plan lists them)", word, err))
	}
	plan, err := provider.Plan(domain)
	if errors.Is(err, mx.ErrNoPlan) {
		err = fmt.Errorf("%w: the provider's own panel tells the host names to set for %s", err, domain)
	}
	if err != nil {
		return exit(exitUsage, err)
	}
	if asJSON {
		return a.printJSON(mxPlanJSON(plan))
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s at %s: set these MX records, and no others\n\n", domain, provider.Name)
	printPlanned(&b, plan.Records)
	if len(plan.Alternative) > 0 {
		fmt.Fprint(&b, "\nor instead\n\n")
		printPlanned(&b, plan.Alternative)
	}
	fmt.Fprintf(&b, "\nWhere a form asks for the host name of a record, write @ or leave it empty: %s there usually makes\n"+
		"records for %[1]s.%[1]s.\n", domain)
	if provider.Note != "" {
		fmt.Fprintf(&b, "\n%s\n", provider.Note)
	}
	return a.printText(b.String())
}

// providerJSON is a provider for machines.
type providerJSON struct {
	Name  string          `json:"name"`
	Kind  mx.ProviderKind `json:"kind"`
	Names []string        `json:"names,omitempty"`
	Plan  bool            `json:"plan"` // the records that it asks for are known
}

func (a *app) mxProviders(providers mx.Providers, asJSON bool) error {
	if asJSON {
		list := []providerJSON{}
		for _, p := range providers.All() {
			list = append(list, providerJSON{p.Name, p.Kind, p.Names, p.HasPlan()})
		}
		return a.printJSON(list)
	}
	var b strings.Builder
	b.WriteString("mxbypass mx plan DOMAIN PROVIDER knows the records of\n\n")
	t := newTable(&b)
	for _, p := range providers.All() {
		if p.HasPlan() {
			fmt.Fprintf(t, "  %s\t%s\n", p.Name, strings.Join(p.Names, ", "))
		}
	}
	_ = t.Flush() // into memory
	b.WriteString("\nand recognises the hosts of\n\n")
	for _, p := range providers.All() {
		switch {
		case p.HasPlan():
		case p.Kind == mx.HidesHost:
			fmt.Fprintf(&b, "  %s (a filter)\n", p.Name)
		default:
			fmt.Fprintf(&b, "  %s\n", p.Name)
		}
	}
	return a.printText(b.String())
}

func (a *app) printText(s string) error {
	if _, err := io.WriteString(a.out, s); err != nil {
		return exit(exitIO, err)
	}
	return nil
}

// printMXReport prints a report for people.
func printMXReport(w io.Writer, r mx.Report) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n  MX state  %s\n", r.State.Domain, r.State.Kind)
	if r.State.Err != nil {
		fmt.Fprintf(&b, "  because   %s\n", mailbox.Printable(r.State.Err.Error()))
	}
	if r.State.Provider != "" {
		fmt.Fprintf(&b, "  provider  %s\n", r.State.Provider)
	}
	printHosts(&b, "records", r.Records)
	if len(r.Doubled) > 0 {
		printHosts(&b, fmt.Sprintf("records at %s.%[1]s", r.State.Domain), r.Doubled)
	}
	if r.Plan != nil && r.Wrong() {
		fmt.Fprintf(&b, "\n%s asks for\n\n", r.Plan.Provider.Name)
		printPlanned(&b, r.Plan.Records)
		if r.Plan.Provider.Note != "" {
			fmt.Fprintf(&b, "\n%s\n", r.Plan.Provider.Note)
		}
	}
	switch {
	case len(r.Findings) > 0:
		b.WriteString("\n")
		t := newTable(&b)
		for _, f := range r.Findings {
			fmt.Fprintf(t, "  %s\t%s\n", f.Level, f.Text)
		}
		_ = t.Flush() // into memory
	case r.Plan != nil:
		fmt.Fprintf(&b, "\n  all as %s asks for\n", r.Plan.Provider.Name)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func printHosts(b *strings.Builder, title string, hosts []mx.Host) {
	if len(hosts) == 0 {
		return
	}
	fmt.Fprintf(b, "\n%s\n\n", title)
	t := newTable(b)
	fmt.Fprint(t, "  TTL\tpriority\tvalue\trun by\n")
	for _, h := range hosts {
		who := cmp.Or(h.Provider, "somebody else")
		if h.Ours {
			who = "us"
		}
		fmt.Fprintf(t, "  %d\t%d\t%s\t%s\n", h.TTL/time.Second, h.Preference, cmp.Or(h.Name.ASCII(), "(no host name)"), who)
	}
	_ = t.Flush() // into memory
}

func printPlanned(b *strings.Builder, records []mx.Record) {
	t := newTable(b)
	fmt.Fprint(t, "  TTL\tpriority\tvalue\n")
	for _, r := range records {
		fmt.Fprintf(t, "  %d\t%d\t%s\n", r.TTL/time.Second, r.Priority, r.Host)
	}
	_ = t.Flush() // into memory
}

func newTable(w io.Writer) *tabwriter.Writer { return tabwriter.NewWriter(w, 0, 0, 2, ' ', 0) }

// mxReport is a report for machines.
type mxReport struct {
	Domain   string      `json:"domain"`
	State    mx.Kind     `json:"state"`
	Error    string      `json:"error,omitempty"`
	Provider string      `json:"provider,omitempty"`
	Records  []mxRecord  `json:"records"`
	Doubled  []mxRecord  `json:"doubled,omitempty"` // those at DOMAIN.DOMAIN
	Plan     *mxPlanned  `json:"plan,omitempty"`
	Findings []mxFinding `json:"findings"`
}

// mxRecord is one MX record, in DNS or to be set.
type mxRecord struct {
	TTL      int64  `json:"ttl"` // seconds
	Priority uint16 `json:"priority"`
	Value    string `json:"value"` // empty: no host name
	Ours     bool   `json:"ours,omitempty"`
	Provider string `json:"provider,omitempty"`
}

type mxFinding struct {
	Level mx.Level `json:"level"`
	Code  string   `json:"code"`
	Text  string   `json:"text"`
}

// mxPlanned is the records to set.
type mxPlanned struct {
	Domain      string     `json:"domain"`
	Provider    string     `json:"provider"`
	Note        string     `json:"note,omitempty"`
	Records     []mxRecord `json:"records"`
	Alternative []mxRecord `json:"alternative,omitempty"`
}

func mxReportJSON(r mx.Report) mxReport {
	j := mxReport{
		Domain: r.State.Domain.ASCII(), State: r.State.Kind, Provider: r.State.Provider,
		Records: hostsJSON(r.Records), Doubled: hostsJSON(r.Doubled), Findings: []mxFinding{},
	}
	if r.State.Err != nil {
		j.Error = mailbox.Printable(r.State.Err.Error())
	}
	if r.Plan != nil {
		plan := mxPlanJSON(*r.Plan)
		j.Plan = &plan
	}
	for _, f := range r.Findings {
		j.Findings = append(j.Findings, mxFinding(f))
	}
	return j
}

func hostsJSON(hosts []mx.Host) []mxRecord {
	list := []mxRecord{}
	for _, h := range hosts {
		list = append(list, mxRecord{int64(h.TTL / time.Second), h.Preference, h.Name.ASCII(), h.Ours, h.Provider})
	}
	return list
}

func mxPlanJSON(p mx.Plan) mxPlanned {
	return mxPlanned{p.Domain.ASCII(), p.Provider.Name, p.Provider.Note, recordsJSON(p.Records), recordsJSON(p.Alternative)}
}

func recordsJSON(records []mx.Record) []mxRecord {
	list := []mxRecord{}
	for _, r := range records {
		list = append(list, mxRecord{TTL: int64(r.TTL / time.Second), Priority: r.Priority, Value: r.Host.ASCII()})
	}
	return list
}
