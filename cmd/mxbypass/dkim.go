package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"log/slog"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"mxbypass/mailbox"
	"mxbypass/relay/msgauth/signature"
	"mxbypass/relay/sign"
)

func (a *app) dkimCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dkim",
		Short: "Make and show the keys that sign outgoing mail",
		Long: "Make and show the keys that sign outgoing mail (DKIM), in files of the state directory. The newest RSA and the\n" +
			"newest Ed25519 key of a domain sign; a running relay sees every change within seconds. A domain without keys\n" +
			"uses those of its parent. The RSA key of the gateway's own domain also seals what is sent on (ARC).",
		Args: cobra.ArbitraryArgs,
		RunE: needSubcommand,
	}
	cmd.AddCommand(a.dkimCreate(), a.dkimList(), a.dkimShow(), a.dkimEnable(true), a.dkimEnable(false))
	return cmd
}

// withKeys opens the folder of keys for do, and gives every error its exit code.
func (a *app) withKeys(do func(*sign.Keys) error) error {
	c, err := a.loadConfig()
	if err != nil {
		return err
	}
	err = do(sign.OpenKeys(dkimFolder(c), slog.New(slog.DiscardHandler)))
	var coded *exitError
	switch {
	case err == nil || errors.As(err, &coded):
		return err
	case errors.Is(err, sign.ErrNoKey):
		return exit(exitNoUser, err)
	case errors.Is(err, sign.ErrExists):
		return exit(exitCantCreate, err)
	case errors.Is(err, sign.ErrSelector):
		return exit(exitData, err)
	case errors.Is(err, fs.ErrPermission):
		return exit(exitNoPermission, err)
	}
	return exit(exitIO, err)
}

// keyKinds are the kinds of keys on the command line.
var keyKinds = map[string][]string{
	"rsa": {signature.RSA}, "ed25519": {signature.Ed25519}, "both": {signature.RSA, signature.Ed25519},
}

// kindOf is the short name of an algorithm.
func kindOf(algorithm string) string {
	if algorithm == signature.Ed25519 {
		return "ed25519"
	}
	return "rsa"
}

func (a *app) dkimCreate() *cobra.Command {
	var selector, kind string
	var disabled, asJSON bool
	cmd := &cobra.Command{
		Use:   "create DOMAIN",
		Short: "Make keys for a domain, and print the DNS records to publish",
		Long: "Make keys for a domain, and print the DNS records to publish. They sign within seconds; with --disabled they\n" +
			"sign after \"mxbypass dkim enable\", when the records can be seen everywhere. Old keys stay, and do not sign any\n" +
			"more: what they have signed can be verified as long as their records are there.",
		Example: "  mxbypass dkim create exemple.org --disabled",
		Args:    cobra.ExactArgs(1),
		RunE: onArgument(domainArg, func(_ *cobra.Command, domain mailbox.DomainName) error {
			algorithms, ok := keyKinds[kind]
			if !ok {
				return exit(exitUsage, fmt.Errorf("--type %q: rsa, ed25519 or both", kind))
			}
			return a.withKeys(func(keys *sign.Keys) error {
				var made []sign.Key
				for _, algorithm := range algorithms {
					// A selector has one key: two of them need two names.
					name := selector
					if name == "" || len(algorithms) > 1 {
						name = cmp.Or(selector, time.Now().Format("20060102")) + "-" + kindOf(algorithm)
					}
					key, err := keys.Create(domain, name, algorithm, !disabled)
					if err != nil {
						return errors.Join(a.printKeys(made, asJSON), err)
					}
					made = append(made, key)
				}
				return a.printKeys(made, asJSON)
			})
		}),
	}
	cmd.Flags().StringVar(&selector, "selector", "",
		"the `name` of the key in DNS; with two keys, what their names begin with; empty: the date of today")
	cmd.Flags().StringVar(&kind, "type", "both", "the `kind` of key: rsa (2048 bits), ed25519, both")
	cmd.Flags().BoolVar(&disabled, "disabled", false, "the keys do not sign yet")
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object in a line for each")
	return cmd
}

func (a *app) dkimEnable(enable bool) *cobra.Command {
	use, short, done := "enable", "Let a key sign", "enabled"
	if !enable {
		use, short, done = "disable", "Let a key sign no more; it is kept", "disabled"
	}
	return &cobra.Command{
		Use:   use + " DOMAIN SELECTOR",
		Short: short,
		Args:  cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			domain, err := domainArg(args[0])
			if err != nil {
				return err
			}
			return a.withKeys(func(keys *sign.Keys) error {
				if err := keys.Enable(domain, args[1], enable); err != nil {
					return err
				}
				return a.say("%s %s of %s", done, args[1], domain)
			})
		},
	}
}

// keyObject is a key in JSON. Nothing in it is secret.
type keyObject struct {
	Domain    string `json:"domain"`
	Selector  string `json:"selector"`
	Algorithm string `json:"algorithm"`
	Enabled   bool   `json:"enabled"`
	Signs     bool   `json:"signs"` // the newest of its kind that is enabled
	Modified  string `json:"modified"`
	File      string `json:"file"`
	Name      string `json:"name"`   // of the record
	Record    string `json:"record"` // its text
	Published string `json:"published,omitempty"`
}

// marked is a key with what depends on the others, or on DNS.
type marked struct {
	sign.Key
	signs     bool
	published string // see checkKeys; empty: nobody asked
}

// mark finds out which of the keys of a domain, the newest first, sign.
func mark(keys []sign.Key) []marked {
	var all []marked
	seen := map[string]bool{}
	for _, k := range keys {
		all = append(all, marked{Key: k, signs: k.Enabled && !seen[k.Algorithm]})
		seen[k.Algorithm] = seen[k.Algorithm] || k.Enabled
	}
	return all
}

func (k marked) object() any {
	return keyObject{
		Domain: k.Domain.ASCII(), Selector: k.Selector, Algorithm: k.Algorithm, Enabled: k.Enabled, Signs: k.signs,
		Modified: k.Modified.UTC().Format(time.RFC3339), File: k.File, Name: k.Name(), Record: k.Record(),
		Published: k.published,
	}
}

func (k marked) state() string {
	switch {
	case k.signs:
		return "signs"
	case k.Enabled:
		return "older"
	}
	return "disabled"
}

func (k marked) line() string {
	return fmt.Sprintf("%s  %s  %s  %s  %s", k.Domain, k.Selector, k.Algorithm, k.state(), k.Modified.Format(time.DateOnly))
}

// printKeys prints the keys that were just made.
func (a *app) printKeys(keys []sign.Key, asJSON bool) error {
	return a.showKeys(mark(keys), asJSON)
}

// showKeys prints keys with their records.
func (a *app) showKeys(keys []marked, asJSON bool) error {
	if asJSON {
		return list(a, true, sequence(keys), marked.line, marked.object)
	}
	for i, k := range keys {
		if i > 0 {
			if err := a.say(""); err != nil {
				return err
			}
		}
		text := fmt.Sprintf("; %s, %s, %s\n; file %s\n", k.Selector, k.Algorithm, k.state(), mailbox.Printable(k.File))
		if k.published != "" {
			text += fmt.Sprintf("; in DNS: %s\n", k.published)
		}
		if err := a.say("%s; name %s\n; text %s\n%s", text, k.Name(), k.Record(), k.ZoneLine()); err != nil {
			return err
		}
	}
	return nil
}

func sequence[T any](items []T) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for _, item := range items {
			if !yield(item, nil) {
				return
			}
		}
	}
}

func (a *app) dkimList() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list [DOMAIN]",
		Short: "List the keys of all domains, or of one",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			return a.withKeys(func(keys *sign.Keys) error {
				domains, err := domainsOf(keys, args)
				if err != nil {
					return err
				}
				var problems []error
				err = list(a, asJSON, allKeys(keys, domains, &problems), marked.line, marked.object)
				return errors.Join(append(problems, err)...)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object in a line for each")
	return cmd
}

// domainsOf gives the domains that have keys, in order, or the one that is named.
func domainsOf(keys *sign.Keys, args []string) ([]mailbox.DomainName, error) {
	if len(args) > 0 {
		domain, err := domainArg(args[0])
		return []mailbox.DomainName{domain}, err
	}
	var domains []mailbox.DomainName
	for domain, err := range keys.Domains() {
		if err != nil {
			return nil, err
		}
		domains = append(domains, domain)
	}
	slices.SortFunc(domains, func(a, b mailbox.DomainName) int { return cmp.Compare(a.ASCII(), b.ASCII()) })
	return domains, nil
}

// allKeys gives the keys of domains. What is wrong with one of them is no reason not to show the others.
func allKeys(keys *sign.Keys, domains []mailbox.DomainName, problems *[]error) iter.Seq2[marked, error] {
	return func(yield func(marked, error) bool) {
		for _, domain := range domains {
			all, err := keys.Of(domain)
			if err != nil {
				*problems = append(*problems, unusable(err))
			}
			for _, k := range mark(all) {
				if !yield(k, nil) {
					return
				}
			}
		}
	}
}

// unusable gives what is wrong with keys its exit code.
func unusable(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return exit(exitNoPermission, err)
	}
	return exit(exitData, err)
}

func (a *app) dkimShow() *cobra.Command {
	var check, asJSON bool
	cmd := &cobra.Command{
		Use:   "show DOMAIN [SELECTOR]",
		Short: "Show the DNS records of the keys of a domain: as a line of a zone file, and as name and text",
		Long: "Show the DNS records of the keys of a domain: as a line of a zone file, and as name and text. With --check DNS\n" +
			"is asked for them; the exit code is 1 when a key that signs is not there, 75 when DNS did not tell.",
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			domain, err := domainArg(args[0])
			if err != nil {
				return err
			}
			return a.withKeys(func(keys *sign.Keys) error {
				all, err := keys.Of(domain)
				if err != nil {
					err = unusable(err)
				}
				found := mark(all)
				if len(args) == 2 {
					found = slices.DeleteFunc(found, func(k marked) bool { return k.Selector != args[1] })
				}
				if len(found) == 0 && err == nil {
					return exit(exitNoUser, fmt.Errorf("%s has no such key (mxbypass dkim create %[1]s makes one)", domain))
				}
				if check {
					err = errors.Join(err, a.checkKeys(cmd.Context(), found))
				}
				return errors.Join(a.showKeys(found, asJSON), err)
			})
		},
	}
	cmd.Flags().BoolVar(&check, "check", false, "ask DNS whether they are published")
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object in a line for each")
	return cmd
}
