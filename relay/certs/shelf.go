package certs

import (
	"cmp"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/tls"
	"errors"
	"slices"
	"strings"
)

// shelf has certificates by the names that they are for. It does not change.
type shelf struct {
	all    []*tls.Certificate
	names  map[string][]*tls.Certificate // "mx.example.org"; "*.example.org" stands for one label
	unsaid []*tls.Certificate            // for clients that say no name, or one that nobody has
}

// newShelf orders certificates: the first of all is for whoever says no name. Of several for one name, those whose keys
// cost the least come first: a signature of P-256 takes a tenth of the time of RSA's.
func newShelf(all []*tls.Certificate) *shelf {
	s := &shelf{all: all, names: map[string][]*tls.Certificate{}}
	for _, c := range all {
		for _, name := range c.Leaf.DNSNames {
			name = strings.ToLower(name)
			if !slices.Contains(s.names[name], c) {
				s.names[name] = append(s.names[name], c)
			}
		}
	}
	for _, list := range s.names {
		slices.SortStableFunc(list, func(a, b *tls.Certificate) int { return cmp.Compare(costs(a), costs(b)) })
	}
	s.unsaid = all[:1]
	if names := all[0].Leaf.DNSNames; len(names) > 0 {
		s.unsaid = s.names[strings.ToLower(names[0])]
	}
	return s
}

func costs(c *tls.Certificate) int {
	switch c.Leaf.PublicKey.(type) {
	case *ecdsa.PublicKey:
		return 0
	case *rsa.PublicKey:
		return 2
	}
	return 1
}

var errNoCertificate = errors.New("no certificate suits the client")

// choose gives the certificate for a client.
func (s *shelf) choose(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if name := strings.ToLower(hello.ServerName); name != "" {
		if c := suits(hello, s.names[name]); c != nil {
			return c, nil
		}
		if _, parent, ok := strings.Cut(name, "."); ok {
			if c := suits(hello, s.names["*."+parent]); c != nil {
				return c, nil
			}
		}
	}
	// None has that name: what is shown then is looked at by few, and must only be one that the client understands.
	unnamed := *hello
	unnamed.ServerName = ""
	if c := suits(&unnamed, s.unsaid); c != nil {
		return c, nil
	}
	if c := suits(&unnamed, s.all); c != nil {
		return c, nil
	}
	return nil, errNoCertificate
}

// suits gives the first of a list that the client supports.
func suits(hello *tls.ClientHelloInfo, list []*tls.Certificate) *tls.Certificate {
	for _, c := range list {
		if hello.SupportsCertificate(c) == nil {
			return c
		}
	}
	return nil
}
