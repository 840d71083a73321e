package configs

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"mxbypass/mailbox"
)

// SmarthostTLS says when the connection to the smarthost must be encrypted, with a certificate that fits its name.
type SmarthostTLS string

// The ways. [Relay.TLSRequired] tells what follows from them.
const (
	TLSAuto     SmarthostTLS = "auto"     // required with a user or smtps; else encrypted when that is offered
	TLSRequired SmarthostTLS = "required" // always
)

// StoreFailure is what becomes of a recipient whose store cannot take a message now, when others could have it.
type StoreFailure string

// The ways.
const (
	StoreFailureQueue  StoreFailure = "queue"  // it waits in the queue, and the client gets 250
	StoreFailureRefuse StoreFailure = "refuse" // the client hears of it, and tries again
)

// Relay is by which way mail for elsewhere leaves.
type Relay struct {
	Smarthost             Smarthost    `toml:"smarthost"`               // zero: by the MX records of each domain
	SmarthostUser         string       `toml:"smarthost_user"`          // empty: no AUTH
	SmarthostPasswordFile string       `toml:"smarthost_password_file"` // absolute path
	SmarthostCAFile       string       `toml:"smarthost_ca_file"`       // absolute path; empty: the system's
	SmarthostTLS          SmarthostTLS `toml:"smarthost_tls"`

	SourceAddresses []netip.Addr `toml:"source_addresses"` // at most one IPv4 and one IPv6; empty: the system's choice
	StoreFailure    StoreFailure `toml:"store_failure"`

	SRSDomain  mailbox.DomainName `toml:"srs_domain"`   // of rewritten senders; zero: none is rewritten
	SRSKeyFile string             `toml:"srs_key_file"` // absolute path
	SRSMaxAge  Duration           `toml:"srs_max_age"`  // of a rewritten sender that is still honoured
}

// TLSRequired tells whether nothing goes to the smarthost without TLS and a certificate that fits.
func (r Relay) TLSRequired() bool {
	return r.SmarthostTLS == TLSRequired || r.SmarthostUser != "" || r.Smarthost.Implicit
}

// DoubleBounces is what becomes of a report that cannot be delivered.
type DoubleBounces string

// The ways.
const (
	DoubleBouncesDrop       DoubleBounces = "drop"
	DoubleBouncesPostmaster DoubleBounces = "postmaster" // to the postmaster mailbox
)

// Queue is how mail waits, and how it is tried again. RetryFirst <= RetryMax, and FirstConnections <=
// ConnectionsPerDestination <= Connections.
type Queue struct {
	RetryFirst     Duration        `toml:"retry_first"`     // after the first failure; then twice as long each time
	RetryMax       Duration        `toml:"retry_max"`       // never longer than this
	Lifetime       Duration        `toml:"lifetime"`        // then it is given up
	ReportLifetime Duration        `toml:"report_lifetime"` // the same for mail with a null sender
	DelayNotice    DurationOrNever `toml:"delay_notice"`    // when the sender is told that it takes long
	DoubleBounces  DoubleBounces   `toml:"double_bounces"`

	Connections               int      `toml:"connections"`                 // to servers, in all
	ConnectionsPerDestination int      `toml:"connections_per_destination"` // at most
	FirstConnections          int      `toml:"first_connections"`           // per destination, to begin with
	RecipientsPerMessage      int      `toml:"recipients_per_message"`      // of one transaction
	ConnectTimeout            Duration `toml:"connect_timeout"`
	IdleLimit                 Duration `toml:"idle_limit"` // how long an unused connection is kept
}

func defaultRelay() Relay {
	return Relay{SmarthostTLS: TLSAuto, StoreFailure: StoreFailureQueue, SRSMaxAge: Duration(21 * day)}
}

func defaultQueue() Queue {
	return Queue{
		RetryFirst:                Duration(5 * time.Minute),
		RetryMax:                  Duration(4 * time.Hour),
		Lifetime:                  Duration(5 * day),
		ReportLifetime:            Duration(day),
		DelayNotice:               DurationOrNever(4 * time.Hour),
		DoubleBounces:             DoubleBouncesDrop,
		Connections:               200,
		ConnectionsPerDestination: 20,
		FirstConnections:          5,
		RecipientsPerMessage:      100,
		ConnectTimeout:            Duration(30 * time.Second),
		IdleLimit:                 Duration(5 * time.Second),
	}
}

// Smarthost is the server that takes all mail for elsewhere, written "smtp://host:587", or "smtps://host:465" for one
// that speaks TLS from the first octet. The ports that stand here are those of a URL without one: 587 is for mail of
// users (RFC 6409), 465 the same with TLS (RFC 8314). The zero value is none.
type Smarthost struct {
	Host     mailbox.NextHop
	Implicit bool // TLS from the first octet
}

const (
	plainScheme    = "smtp://"
	implicitScheme = "smtps://"
	plainPort      = 587
	implicitPort   = 465
)

// UnmarshalText implements [encoding.TextUnmarshaler].
func (s *Smarthost) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		return nil
	}
	rest, implicit := strings.CutPrefix(string(text), implicitScheme)
	port := implicitPort
	if !implicit {
		var ok bool
		if rest, ok = strings.CutPrefix(rest, plainScheme); !ok {
			if scheme, _, found := strings.Cut(rest, "://"); found {
				return fmt.Errorf(`unknown scheme %q: want "smtp://host:587" or "smtps://host:465"`, scheme)
			}
			return errors.New(`want "smtp://host:587" or "smtps://host:465"`)
		}
		port = plainPort
	}
	if strings.Contains(rest, "@") {
		return errors.New("want a server alone: the user is smarthost_user, and the password stands in a file")
	}
	if strings.LastIndexByte(rest, ':') <= strings.LastIndexByte(rest, ']') {
		rest += ":" + strconv.Itoa(port)
	}
	host, err := mailbox.ParseNextHop(plainScheme + rest)
	if err != nil {
		return fmt.Errorf(`%q is no server: want "smtp://host:587" or "smtps://host:465", with a host name or an IP address`,
			rest)
	}
	*s = Smarthost{host, implicit}
	return nil
}

// IsZero tells whether there is no smarthost.
func (s Smarthost) IsZero() bool { return s == Smarthost{} }

// String writes the smarthost as it is read, always with its port.
func (s Smarthost) String() string {
	if s.Implicit {
		return implicitScheme + strings.TrimPrefix(s.Host.String(), plainScheme)
	}
	return s.Host.String()
}
