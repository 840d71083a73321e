package msgauth

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"blitiri.com.ar/go/spf"

	"mxbypass/mailbox"
	"mxbypass/relay/header"
	"mxbypass/routing/mx"
)

// maxHops is how many Received fields are looked at for the hop before an upstream. Microsoft writes four or five.
const maxHops = 16

// upstreams are those who send a domain of ours its mail on.
type upstreams struct {
	networks []netip.Prefix
	names    []mailbox.DomainName // of SPF records
	sealers  []mailbox.DomainName // whose ARC seals are theirs
	unknown  []string             // what could not be found out, for people
}

// upstreamsOf gives the upstreams of a domain; "auto" is replaced by what is known of those who run its external MX.
func (c *Checker) upstreamsOf(ctx context.Context, d mailbox.Domain) upstreams {
	var u upstreams
	for _, s := range d.Upstreams {
		network, name, err := mailbox.ParseUpstream(s)
		switch {
		case err != nil: // the directory holds none
		case network.IsValid():
			u.networks = append(u.networks, network)
		case !name.IsZero():
			u.names = append(u.names, name)
			u.sealers = append(u.sealers, c.sealersOf(name)...)
		case c.o.MXOf != nil:
			c.addProviders(&u, c.o.MXOf(ctx, d.Name))
		}
	}
	return u
}

// sealersOf are those of the provider whose SPF record a name is.
func (c *Checker) sealersOf(spfName mailbox.DomainName) []mailbox.DomainName {
	for _, p := range c.o.Providers.All() {
		if slices.Contains(p.SPF, spfName) {
			return p.Sealers
		}
	}
	return nil
}

// isInside tells whether an address is one between hosts of a provider, which no mail comes from otherwise.
func (c *Checker) isInside(addr netip.Addr) bool {
	return slices.ContainsFunc(c.o.Providers.All(), func(p mx.Provider) bool {
		return slices.ContainsFunc(p.Inside, func(n netip.Prefix) bool { return n.Contains(addr) })
	})
}

func (c *Checker) addProviders(u *upstreams, state mx.State) {
	if state.Kind == mx.Unknown {
		u.unknown = append(u.unknown, fmt.Sprintf("the MX of %s", state.Domain))
	}
	var seen []string
	for _, host := range state.Hosts {
		p, ok := c.o.Providers.Of(host.Name)
		if host.Ours || !ok || slices.Contains(seen, p.Name) {
			continue
		}
		seen = append(seen, p.Name)
		u.names = append(u.names, p.SPF...)
		u.sealers = append(u.sealers, p.Sealers...)
	}
}

// has tells whether an address is one of the upstreams', and by what. unsure says what DNS did not tell.
func (c *Checker) has(ctx context.Context, u upstreams, addr netip.Addr) (why, unsure string) {
	addr = plain(addr)
	for _, n := range u.networks {
		if n.Contains(addr) {
			return n.String(), ""
		}
	}
	unsure = strings.Join(u.unknown, ", ")
	for _, name := range u.names {
		switch value, _ := c.spf(ctx, addr, name.ASCII(), "postmaster@"+name.ASCII()); value {
		case spf.Pass:
			return name.ASCII(), ""
		case spf.TempError:
			unsure = "SPF of " + name.ASCII()
		}
	}
	return "", unsure
}

// forwarded is what is known of a message that an upstream has sent on.
type forwarded struct {
	why     string          // by what the client is an upstream; empty: it is none
	unsure  string          // DNS did not tell whether it is
	before  netip.Addr      // the hop before; not valid: not found
	by      string          // which host of the upstream says so
	sender  mailbox.Address // the sender at that hop
	known   bool            // whether that is known
	sealers []mailbox.DomainName
	spf     *spfResult  // of that hop and sender; nil: one of them is not known
	judged  []judgement // by From domain
}

// checkUpstream finds out whether the client is an upstream of a domain, and what it says of the hop before.
func (c *Checker) checkUpstream(ctx context.Context, m *Message, h *header.Header, d mailbox.Domain) forwarded {
	if len(d.Upstreams) == 0 {
		return forwarded{}
	}
	u := c.upstreamsOf(ctx, d)
	f := forwarded{sealers: u.sealers}
	if f.why, f.unsure = c.has(ctx, u, m.Client); f.why == "" {
		return f
	}
	f.before, f.by = c.hopBefore(ctx, u, h)
	f.sender, f.known = originalSender(m.Reverse, h, d.Name)
	return f
}

// hopBefore follows the Received fields from the top, as long as an upstream has written them: the first was written by
// the client, and so was the next one as long as the address in the one above is inside. The first address outside is
// that of the hop before.
func (c *Checker) hopBefore(ctx context.Context, u upstreams, h *header.Header) (netip.Addr, string) {
	received := h.All("Received")
	for _, f := range received[:min(len(received), maxHops)] {
		step := parseReceived(f.Value())
		if !outside(step.from) || c.isInside(step.from) {
			continue
		}
		if why, unsure := c.has(ctx, u, step.from); why != "" {
			continue
		} else if unsure != "" {
			return netip.Addr{}, ""
		}
		return step.from, step.by
	}
	return netip.Addr{}, ""
}

// originalSender gives the sender that a message had before an upstream wrote its own: undone where that can be (SRS),
// else out of the topmost Return-Path field. A sender that was not rewritten is the one that it was.
func originalSender(reverse mailbox.Address, h *header.Header, ours mailbox.DomainName) (mailbox.Address, bool) {
	if original, rewritten := undoSRS(reverse); rewritten {
		return original, !original.IsNull()
	}
	if reverse.Domain != ours && !strings.Contains(strings.ToLower(string(reverse.Local)), "+caf_=") {
		return reverse, !reverse.IsNull()
	}
	paths := h.All("Return-Path")
	if len(paths) == 0 {
		return mailbox.Address{}, false
	}
	p, err := mailbox.ParseReversePath(strings.Trim(paths[0].Value(), "<> \t"), true)
	return p.Address, err == nil && !p.Address.IsNull() && p.Address != reverse
}

// undoSRS reads the sender in a rewritten one: SRS0=hash=day=domain=local, with any of the separators, after a
// "user+" and without the 0 as Microsoft has it, and behind the first "==" of SRS1.
func undoSRS(a mailbox.Address) (original mailbox.Address, rewritten bool) {
	local := string(a.Local)
	upper := strings.ToUpper(local)
	switch at := cmp.Or(1+strings.Index(upper, "+SRS="), 1+strings.Index(upper, "+SRS0=")); {
	case strings.HasPrefix(upper, "SRS0") && len(local) > 5:
		local = local[5:]
	case strings.HasPrefix(upper, "SRS1"):
		_, rest, _ := strings.Cut(local, "==")
		local = rest
	case at > 0:
		_, local, _ = strings.Cut(local[at:], "=")
	default:
		return mailbox.Address{}, false
	}
	parts := strings.SplitN(local, "=", 4) // hash, day, domain, local part
	if len(parts) < 4 {
		return mailbox.Address{}, true
	}
	domain, err := mailbox.ParseDomainName(parts[2])
	if err != nil {
		return mailbox.Address{}, true
	}
	return mailbox.Address{Local: mailbox.LocalPart(parts[3]), Domain: domain}, true
}
