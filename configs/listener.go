package configs

import (
	"net/netip"
	"slices"
)

// Protocol is what a listener speaks.
type Protocol string

// The protocols.
const (
	SMTP       Protocol = "smtp"
	LMTP       Protocol = "lmtp"
	Submission Protocol = "submission" // SMTP for users, who have to log in (RFC 6409)
)

// ListenerTLS is how clients of a listener get TLS.
type ListenerTLS string

// The ways.
const (
	ListenerAuto     ListenerTLS = "auto"     // STARTTLS when there is a certificate, else none
	ListenerPlain    ListenerTLS = "none"     // never
	ListenerStartTLS ListenerTLS = "starttls" // when the client asks for it (RFC 3207)
	ListenerImplicit ListenerTLS = "implicit" // from the first octet (RFC 8314)
)

// Listener is an address to listen on.
type Listener struct {
	Address       Endpoint       `toml:"address"`
	Protocol      Protocol       `toml:"protocol"`
	TLS           ListenerTLS    `toml:"tls"`
	Auth          bool           `toml:"auth"`           // users may log in, under TLS; for submission they have to
	ProxyNetworks []netip.Prefix `toml:"proxy_networks"` // who says in a PROXY header for whom it connects
	Filters       []string       `toml:"filters"`        // names of filters, in the order in which they are asked
}

func (l *Listener) setDefaults() {
	l.Protocol = SMTP
	l.TLS = ListenerAuto
	l.Auth = true
}

// Encryption is the way that is meant: never [ListenerAuto].
func (c *Config) Encryption(l Listener) ListenerTLS {
	switch {
	case l.TLS != ListenerAuto:
		return l.TLS
	case c.HasCertificate():
		return ListenerStartTLS
	}
	return ListenerPlain
}

// HasCertificate tells whether there is a certificate to show, from a file or an authority.
func (c *Config) HasCertificate() bool { return len(c.Certificates) > 0 || len(c.ACME.Names) > 0 }

func (k checker) listeners() {
	k.required("listener", len(k.Listeners) == 0, "without a [[listener]] nobody can connect")
	for i, l := range k.Listeners {
		path := element("listener", i)
		oneOf(k, path+".protocol", l.Protocol, SMTP, LMTP, Submission)
		k.encryption(path, l)
		for j, p := range l.ProxyNetworks {
			if p.Bits() == 0 {
				k.at(element(path+".proxy_networks", j), "%q: everybody could say to be anybody", p)
			}
		}
		for j, name := range l.Filters {
			if !slices.ContainsFunc(k.Filters, func(f Filter) bool { return f.Name == name }) {
				k.at(element(path+".filters", j), "there is no [[filter]] with the name %q", name)
			}
		}
		address := path + ".address"
		if !k.required(address, l.Address == Endpoint{} && k.sound(address), `where to listen, such as "0.0.0.0:25"`) {
			continue
		}
		if l.Address.Network == "tcp" {
			if _, _, ok := l.Address.ip(); !ok {
				k.at(address, "%q: want an IP address to listen on, not a name", l.Address)
				continue
			}
		}
		for j, other := range k.Listeners[:i] {
			if overlap(l.Address, other.Address) {
				k.at(address, "%q is taken by the listener in line %d (%s)", l.Address,
					k.doc.line(element("listener", j)), other.Address)
				break
			}
		}
	}
}

// encryption looks for what needs a certificate where there is none.
func (k checker) encryption(path string, l Listener) {
	if !oneOf(k, path+".tls", l.TLS, ListenerAuto, ListenerPlain, ListenerStartTLS, ListenerImplicit) || k.HasCertificate() {
		return
	}
	switch {
	case l.TLS == ListenerStartTLS || l.TLS == ListenerImplicit:
		k.at(path+".tls", "%q needs a certificate: a [[certificate]], or names in [acme]", l.TLS)
	case l.Protocol == Submission:
		k.at(path+".protocol", "%q needs a certificate, as passwords are sent under TLS only: a [[certificate]], "+
			"or names in [acme]", l.Protocol)
	}
}

// overlap tells whether two listeners cannot stand side by side. A listener on every address takes the port from the
// single ones: which of them would answer is a guess of the kernel.
func overlap(a, b Endpoint) bool {
	if a.Network != "tcp" || b.Network != "tcp" {
		return a == b
	}
	ipA, portA, okA := a.ip()
	ipB, portB, okB := b.ip()
	if !okA || !okB || portA != portB {
		return false
	}
	every := !ipA.IsValid() || !ipB.IsValid()
	every4 := ipA.IsUnspecified() && ipB.Is4() || ipB.IsUnspecified() && ipA.Is4()
	return every || every4 || ipA == ipB
}
