package guard

import (
	"errors"
	"net/netip"
	"slices"
	"strings"

	"mxbypass/mailbox"
)

// Errors of [Hello.Check].
var (
	// ErrOurName: a client elsewhere has given a name or an address of ours as its own.
	ErrOurName = errors.New("the client calls itself by our name")
	// ErrBareAddress: an address without brackets (RFC 5321 section 4.1.3).
	ErrBareAddress = errors.New("the client calls itself by an address without brackets")
	// ErrHelloName: what the client has given is no name that a host in the internet has.
	ErrHelloName = errors.New("the client has no proper name")
)

// Hello judges the names that clients give themselves in HELO and EHLO. It never asks DNS: that a name does not lead to
// the client is no reason to refuse it (RFC 5321 section 4.1.4).
type Hello struct {
	Names     []mailbox.DomainName // ours
	Addresses []netip.Addr         // ours, as the world sees them
	Strict    bool                 // only a name with a dot in it, or an address literal
}

// Check tells what is wrong with the name of a client. Who is on this machine or in a private network may be a part of
// us, and have our name.
func (h *Hello) Check(name string, client netip.Addr) error {
	client = plain(client)
	name = strings.TrimSuffix(name, ".")
	outside := client.IsValid() && client.IsGlobalUnicast() && !client.IsPrivate() && !slices.Contains(h.Addresses, client)
	if addr, ok := literal(name); ok {
		if outside && slices.Contains(h.Addresses, addr) {
			return ErrOurName
		}
		return nil
	}
	if _, err := netip.ParseAddr(name); err == nil {
		return ErrBareAddress
	}
	d, err := mailbox.ParseDomainName(name)
	switch {
	case err == nil && outside && slices.Contains(h.Names, d):
		return ErrOurName
	case h.Strict && (err != nil || !strings.Contains(d.ASCII(), ".")):
		return ErrHelloName
	}
	return nil
}

// literal reads an address literal. Many clients leave out the tag of IPv6, which is no harm.
func literal(s string) (netip.Addr, bool) {
	inner, ok := strings.CutPrefix(s, "[")
	if !ok {
		return netip.Addr{}, false
	}
	if inner, ok = strings.CutSuffix(inner, "]"); !ok {
		return netip.Addr{}, false
	}
	if len(inner) > 5 && strings.EqualFold(inner[:5], "IPv6:") {
		inner = inner[5:]
	}
	addr, err := netip.ParseAddr(inner)
	return plain(addr), err == nil
}
