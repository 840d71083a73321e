package routing

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"mxbypass/mailbox"
)

// DefaultSeparator stands between the two parts of the mailbox in a bypass address, unless a gateway says otherwise.
const DefaultSeparator = "%"

// EverySite in the sites of a gateway stands for all of them.
const EverySite = "*"

// possibleSeparators are the characters that a dot-string may hold and a domain name may not, without "+" (subaddresses)
// and "!" (bang paths, which are never interpreted).
const possibleSeparators = "%=#$&'*/?^`{|}~"

// localhost is a name of ours on every machine, and never a gateway.
var localhost = mailbox.MustDomainName("localhost")

// Gateway is a host name of ours under which bypass addresses are accepted.
type Gateway struct {
	Host       mailbox.DomainName
	Sites      []string // whose domains it serves; [EverySite] for all
	Separators []string // one character each; empty: [DefaultSeparator]
}

// Gateways are all gateways of the configuration, ready to unfold addresses. The zero value has none.
type Gateways struct {
	byHost     map[mailbox.DomainName]*gateway
	separators string // of all gateways together, and always the default one
}

type gateway struct {
	host       mailbox.DomainName
	every      bool
	sites      []string
	separators string
}

// NewGateways checks the gateways and makes them ready. The error names every gateway that is wrong.
func NewGateways(list []Gateway) (Gateways, error) {
	gateways := Gateways{byHost: make(map[mailbox.DomainName]*gateway, len(list)), separators: DefaultSeparator}
	var errs []error
	for _, g := range list {
		if err := gateways.add(g); err != nil {
			errs = append(errs, fmt.Errorf("gateway %q: %w", g.Host, err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return Gateways{}, err
	}
	return gateways, nil
}

func (gs *Gateways) add(g Gateway) error {
	switch {
	case g.Host.IsZero():
		return errors.New("it has no host name")
	case g.Host.IsLiteral(), g.Host == localhost:
		return errors.New("address literals and localhost cannot be gateways")
	case gs.byHost[g.Host] != nil:
		return errors.New("it is there twice")
	case len(g.Sites) == 0:
		return errors.New("it serves no site")
	}
	separators := strings.Join(g.Separators, "")
	for _, s := range g.Separators {
		if len(s) != 1 || !strings.Contains(possibleSeparators, s) {
			return fmt.Errorf("separator %q: it must be one of %s", s, possibleSeparators)
		}
	}
	if separators == "" {
		separators = DefaultSeparator
	}
	gs.byHost[g.Host] = &gateway{
		host:       g.Host,
		every:      slices.Contains(g.Sites, EverySite),
		sites:      slices.Clone(g.Sites),
		separators: separators,
	}
	for _, s := range separators {
		if !strings.ContainsRune(gs.separators, s) {
			gs.separators += string(s)
		}
	}
	return nil
}

// has tells whether host is a gateway, exactly.
func (gs Gateways) has(host mailbox.DomainName) bool { return gs.byHost[host] != nil }

// folded tells whether the local part looks like a bypass address under any gateway.
func (gs Gateways) folded(local mailbox.LocalPart) bool {
	return strings.ContainsAny(string(local), gs.separators)
}

// Bypass is an unfolded bypass address: the identity of a mailbox and the gateway that it was reached by. It is all that
// is left of the address. Whether there is such a mailbox is for the directory to say; there is no host to go to in it,
// and no string that could be parsed a second time.
type Bypass struct {
	Local  mailbox.LocalPart  // a dot-string without any separator
	Domain mailbox.DomainName // a domain name, never an address literal

	gateway *gateway
}

// Gateway is the host name of the gateway.
func (b Bypass) Gateway() mailbox.DomainName { return b.gateway.host }

// Serves tells whether the gateway serves the site.
func (b Bypass) Serves(site string) bool {
	return b.gateway.every || slices.Contains(b.gateway.sites, site)
}

// AtGateway tells whether the inner domain is the gateway itself: u%mx@mx means u@mx.
func (b Bypass) AtGateway() bool { return b.Domain == b.gateway.host }

// Unfold splits a bypass address, once and at the last separator, into the identity of a mailbox. Nothing is decoded,
// and the outer host must be a gateway exactly. The answer is false when the path is no bypass address. The error wraps
// [ErrNested] (a separator is left, or another mail system could read one), [mailbox.ErrSyntax] or [mailbox.ErrTooLong].
func (gs Gateways) Unfold(path mailbox.Path) (Bypass, bool, error) {
	g := gs.byHost[path.Address.Domain]
	if g == nil {
		return Bypass{}, false, nil
	}
	folded := string(path.Address.Local)
	at := strings.LastIndexAny(folded, g.separators)
	if at < 0 {
		return Bypass{}, false, nil
	}
	local, domain := mailbox.LocalPart(folded[:at]), folded[at+1:]
	switch {
	case local == "" || domain == "":
		return Bypass{}, false, fmt.Errorf("%w: an empty part in a bypass address", mailbox.ErrSyntax)
	case strings.ContainsAny(string(local), g.separators+DefaultSeparator):
		return Bypass{}, false, ErrNested
	case !local.IsDotString():
		return Bypass{}, false, fmt.Errorf("%w: the local part in a bypass address must not need quotes",
			mailbox.ErrSyntax)
	}
	name, err := mailbox.ParseDomainName(domain)
	if err != nil {
		return Bypass{}, false, err
	}
	return Bypass{Local: local, Domain: name, gateway: g}, true, nil
}
