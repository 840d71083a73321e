package mx

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"

	"mxbypass/mailbox"
)

//go:embed providers.toml
var embeddedProviders []byte

// ErrNoProvider: nobody of that name is known.
var ErrNoProvider = errors.New("no such provider")

// ProviderKind says what a provider does with the mail.
type ProviderKind string

// The kinds of providers.
const (
	KeepsMail ProviderKind = "mailbox" // it keeps the mailboxes
	HidesHost ProviderKind = "gateway" // it filters, and hides who keeps the mailboxes
)

// Provider is a company that takes mail for the domains of others.
type Provider struct {
	Name  string
	Kind  ProviderKind
	Names []string // other words for it, for [Providers.Named]
	Note  string   // on its records, for people

	// What is known of mail that it sends on to others.
	SPF     []mailbox.DomainName // whose SPF records name the hosts that it sends from
	Inside  []netip.Prefix       // networks of its mail hosts alone, from which nothing leaves for others
	Sealers []mailbox.DomainName // whose ARC seals are its own

	hosts       []pattern
	records     []recordTemplate
	alternative []recordTemplate
}

// HasPlan tells whether it is known which records the provider asks for.
func (p Provider) HasPlan() bool { return len(p.records) > 0 }

// Runs tells whether the provider runs a host, by its name.
func (p Provider) Runs(host mailbox.DomainName) bool { return anyMatches(p.hosts, host) }

func anyMatches(patterns []pattern, host mailbox.DomainName) bool {
	for _, p := range patterns {
		if p.matches(host) {
			return true
		}
	}
	return false
}

// recordTemplate is a record that a provider asks for, before the domain is known.
type recordTemplate struct {
	ttl      time.Duration
	priority uint16
	host     string // may hold {id}
	accepts  []pattern
}

// Providers are the known providers. The zero value knows nobody.
type Providers struct{ list []Provider }

// EmbeddedProviders are the providers that mxbypass comes with.
func EmbeddedProviders() (Providers, error) { return ParseProviders(embeddedProviders) }

// providersFile is the form of providers.toml.
type providersFile struct {
	Provider []struct {
		Name        string       `toml:"name"`
		Kind        ProviderKind `toml:"kind"`
		Names       []string     `toml:"names"`
		Note        string       `toml:"note"`
		Hosts       []string     `toml:"hosts"`
		Records     []recordLine `toml:"records"`
		Alternative []recordLine `toml:"alternative"`
		SPF         []string     `toml:"spf"`
		Inside      []string     `toml:"inside"`
		Sealers     []string     `toml:"sealers"`
	} `toml:"provider"`
}

type recordLine struct {
	TTL      int      `toml:"ttl"` // seconds
	Priority int      `toml:"priority"`
	Host     string   `toml:"host"`
	Accepts  []string `toml:"accepts"`
}

// ParseProviders reads providers from a file like providers.toml, strictly. The error names everything that is wrong.
func ParseProviders(data []byte) (Providers, error) {
	var file providersFile
	if err := toml.NewDecoder(bytes.NewReader(data)).DisallowUnknownFields().Decode(&file); err != nil {
		return Providers{}, fmt.Errorf("providers: %w", err)
	}
	var ps Providers
	var errs []error
	words := make(map[string]string)
	for _, f := range file.Provider {
		p := Provider{Name: f.Name, Kind: f.Kind, Names: f.Names, Note: f.Note}
		var problems []error
		collect := func(err error) { problems = append(problems, err) }
		if p.Name == "" || p.Kind != KeepsMail && p.Kind != HidesHost || len(f.Hosts) == 0 {
			collect(errors.New("want a name, a kind and hosts"))
		}
		p.hosts = parsePatterns(f.Hosts, collect)
		p.records = parseTemplates(f.Records, collect)
		p.alternative = parseTemplates(f.Alternative, collect)
		p.SPF = parseNames(f.SPF, collect)
		p.Sealers = parseNames(f.Sealers, collect)
		for _, s := range f.Inside {
			network, err := netip.ParsePrefix(s)
			if err != nil || network != network.Masked() {
				collect(fmt.Errorf("inside: %q is no network", s))
			}
			p.Inside = append(p.Inside, network)
		}
		for _, word := range append([]string{p.Name}, p.Names...) {
			if other, taken := words[simplified(word)]; taken {
				collect(fmt.Errorf("the name %q is also one of %s", word, other))
			}
			words[simplified(word)] = p.Name
		}
		for _, err := range problems {
			errs = append(errs, fmt.Errorf("provider %q: %w", f.Name, err))
		}
		ps.list = append(ps.list, p)
	}
	if err := errors.Join(errs...); err != nil {
		return Providers{}, err
	}
	return ps, nil
}

func parseNames(list []string, collect func(error)) []mailbox.DomainName {
	var names []mailbox.DomainName
	for _, s := range list {
		name, err := mailbox.ParseDomainName(s)
		if err != nil {
			collect(fmt.Errorf("%q: %w", s, err))
		}
		names = append(names, name)
	}
	return names
}

func parsePatterns(list []string, collect func(error)) []pattern {
	var patterns []pattern
	for _, s := range list {
		p, err := parsePattern(s)
		if err != nil {
			collect(err)
		}
		patterns = append(patterns, p)
	}
	return patterns
}

func parseTemplates(list []recordLine, collect func(error)) []recordTemplate {
	var templates []recordTemplate
	for _, l := range list {
		if l.TTL <= 0 || l.TTL > math.MaxInt32 || l.Priority < 0 || l.Priority > math.MaxUint16 {
			collect(fmt.Errorf("record %q: TTL or priority out of range", l.Host))
			continue
		}
		if _, err := mailbox.ParseDomainName(strings.ReplaceAll(l.Host, idMark, "x")); err != nil {
			collect(fmt.Errorf("record %q: %w", l.Host, err))
		}
		templates = append(templates, recordTemplate{
			ttl:      time.Duration(l.TTL) * time.Second,
			priority: uint16(l.Priority),
			host:     l.Host,
			accepts:  parsePatterns(l.Accepts, collect),
		})
	}
	return templates
}

// All are the providers, in the order of the file.
func (ps Providers) All() []Provider { return ps.list }

// Of tells who runs a host.
func (ps Providers) Of(host mailbox.DomainName) (Provider, bool) {
	if host.IsZero() || host.IsLiteral() {
		return Provider{}, false
	}
	for _, p := range ps.list {
		if p.Runs(host) {
			return p, true
		}
	}
	return Provider{}, false
}

// Named finds a provider by what people call it: any of its names, without regard to case, spaces and punctuation, or
// the beginning of exactly one provider's names. The error wraps [ErrNoProvider].
func (ps Providers) Named(word string) (Provider, error) {
	word = simplified(word)
	var begins []Provider
	for _, p := range ps.list {
		begun := false
		for _, name := range append([]string{p.Name}, p.Names...) {
			if simplified(name) == word {
				return p, nil
			}
			begun = begun || strings.HasPrefix(simplified(name), word)
		}
		if begun {
			begins = append(begins, p)
		}
	}
	if len(begins) == 1 && word != "" {
		return begins[0], nil
	}
	return Provider{}, ErrNoProvider
}

// simplified keeps the letters and digits of a name, in lower case.
func simplified(s string) string {
	return strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' || '0' <= r && r <= '9' {
			return r
		}
		return -1
	}, strings.ToLower(s))
}
