package inbound

import (
	"context"
	"crypto/tls"
	"net/netip"
	"time"

	"mxbypass/mailbox"
	"mxbypass/relay/filter"
	"mxbypass/relay/guard"
	"mxbypass/relay/guard/dnslist"
	"mxbypass/relay/login"
	"mxbypass/relay/msgauth"
	"mxbypass/relay/msgauth/arc"
)

// Trust is what a configuration has for knowing whom and what to trust. What is nil is not asked.
type Trust struct {
	TLS         *tls.Config
	Certificate func(tls.ConnectionState) (name string, ok bool) // whether the client's makes it a trusted one
	Logins      Logins
	Lists       *dnslist.Lists
	Greylist    Greylist
	Judge       Judge
	Signer      Signer
	Filters     map[string]*filter.Filter
	// Hello judges the name that a client gives itself.
	Hello func(name string, client netip.Addr) error
}

// Logins knows users; see package login.
type Logins interface {
	Authenticate(ctx context.Context, name, password string) (login.Identity, error)
	MayUse(ctx context.Context, id login.Identity, sender mailbox.Address) (bool, error)
}

// Greylist turns unknown senders away for a while; see package greylist.
type Greylist interface {
	Check(client netip.Addr, sender, recipient mailbox.Address) (wait time.Duration, err error)
}

// Judge finds out where a message comes from; see package msgauth.
type Judge interface {
	Check(ctx context.Context, m *msgauth.Message) (*msgauth.Verdict, error)
	// WithoutClaims takes away what a message claims that we have found out about it.
	WithoutClaims(c mailbox.Content) (mailbox.Content, error)
}

// Signer vouches for what leaves; see package sign.
type Signer interface {
	Sign(ctx context.Context, c mailbox.Content) ([]byte, error)
	Seal(ctx context.Context, c mailbox.Content, results []byte, chain arc.Chain) ([]byte, error)
}

// Guard counts what clients do over time; see package guard.
type Guard interface {
	Connect(client netip.Addr) (release func(), v guard.Verdict)
	Message(client netip.Addr) guard.Verdict
	Recipient(client netip.Addr) guard.Verdict
	Unknown(client netip.Addr) guard.Verdict
	LoginAllowed(client netip.Addr, name string) guard.Verdict
	LoginFailed(client netip.Addr, name string)
	LoginSucceeded(client netip.Addr, name string)
}
