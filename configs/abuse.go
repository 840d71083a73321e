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

// Abuse is how much strangers may do over time. A host is an IPv4 address or an IPv6 /64, a network a /24 or a /48.
type Abuse struct {
	ExemptNetworks []netip.Prefix `toml:"exempt_networks"` // in no counter over time

	NetworkConnections int `toml:"network_connections"` // of a network, at once; 0: any number

	HostConnectionRate    Rate     `toml:"host_connection_rate"`
	HostMessageRate       Rate     `toml:"host_message_rate"`
	HostRecipientRate     Rate     `toml:"host_recipient_rate"`
	HostUnknownRate       Rate     `toml:"host_unknown_rate"` // of recipients that do not exist
	NetworkConnectionRate Rate     `toml:"network_connection_rate"`
	NetworkMessageRate    Rate     `toml:"network_message_rate"`
	NetworkRecipientRate  Rate     `toml:"network_recipient_rate"`
	NetworkUnknownRate    Rate     `toml:"network_unknown_rate"`
	SlowFrom              int      `toml:"slow_from"` // percent of a rate from which answers are slow
	Slowest               Duration `toml:"slowest"`   // answer, at the end of a rate

	HostLoginFailures    Rate            `toml:"host_login_failures"`
	NetworkLoginFailures Rate            `toml:"network_login_failures"`
	LoginFailures        Rate            `toml:"login_failures"`  // of one name
	LoginLock            DurationOrNever `toml:"login_lock"`      // how long, once there are too many
	LoginSlowest         Duration        `toml:"login_slowest"`   // answer, near a lock
	Hello                HelloRule       `toml:"hello"`           // which names of clients are accepted
	ListTimeout          Duration        `toml:"dnslist_timeout"` // for the answers of all of [Config.Lists]
}

// HelloRule is which names that clients give themselves are accepted.
type HelloRule string

// The rules.
const (
	HelloAny    HelloRule = "any"
	HelloSane   HelloRule = "sane"   // not one of ours, and no address without brackets
	HelloStrict HelloRule = "strict" // beside that, what a host in the internet may have as its name
)

// Greylist turns unknown senders away for a while.
type Greylist struct {
	Enabled     bool     `toml:"enabled"`
	Delay       Duration `toml:"delay"`        // from the first attempt to the one that is accepted
	RetryWithin Duration `toml:"retry_within"` // the longest time between the two
	Lifetime    Duration `toml:"lifetime"`     // for which what is known stays known after its last use
	AutoAllow   int      `toml:"auto_allow"`   // senders known from a network after which it is not asked again; 0: never
	Entries     int      `toml:"entries"`      // that are remembered, at most
}

// ListAction is what it means to be on a list.
type ListAction string

// The actions.
const (
	ListRefuse ListAction = "refuse"
	ListMark   ListAction = "mark"
	ListAllow  ListAction = "allow"
)

// List is a list of addresses in DNS (RFC 5782).
type List struct {
	Zone   mailbox.DomainName `toml:"zone"`
	Name   string             `toml:"name"` // for replies and the log; empty: the zone
	Action ListAction         `toml:"action"`
	Codes  []Codes            `toml:"codes"` // answers that count; empty: all but those that say that we are not served
}

func (l *List) setDefaults() { l.Action = ListRefuse }

func defaultAbuse() Abuse {
	return Abuse{
		NetworkConnections:    1000,
		HostConnectionRate:    Rate{1200, time.Minute},
		HostMessageRate:       Rate{3000, time.Minute},
		HostRecipientRate:     Rate{6000, time.Minute},
		HostUnknownRate:       Rate{100, 10 * time.Minute},
		NetworkConnectionRate: Rate{12_000, time.Minute},
		NetworkMessageRate:    Rate{20_000, time.Minute},
		NetworkRecipientRate:  Rate{40_000, time.Minute},
		NetworkUnknownRate:    Rate{1000, 10 * time.Minute},
		SlowFrom:              50,
		Slowest:               Duration(2 * time.Second),
		HostLoginFailures:     Rate{20, 15 * time.Minute},
		NetworkLoginFailures:  Rate{100, 15 * time.Minute},
		LoginFailures:         Rate{20, 15 * time.Minute},
		LoginLock:             DurationOrNever(15 * time.Minute),
		LoginSlowest:          Duration(5 * time.Second),
		Hello:                 HelloSane,
		ListTimeout:           Duration(5 * time.Second),
	}
}

func defaultGreylist() Greylist {
	return Greylist{
		Delay:       Duration(5 * time.Minute),
		RetryWithin: Duration(day),
		Lifetime:    Duration(35 * day),
		AutoAllow:   5,
		Entries:     100_000,
	}
}

// Rate is a number of things in a time span, written "1200/1m", or "never", which is the zero value: there is no limit.
type Rate struct {
	Count int
	Per   time.Duration
}

// UnmarshalText implements [encoding.TextUnmarshaler].
func (r *Rate) UnmarshalText(text []byte) error {
	if string(text) == never {
		*r = Rate{}
		return nil
	}
	wrong := fmt.Errorf(`want a number in a time, such as "1200/1m", or %q for no limit`, never)
	count, per, ok := strings.Cut(string(text), "/")
	n, err := strconv.ParseUint(count, 10, 31)
	if !ok || err != nil || n == 0 {
		return wrong
	}
	var d Duration
	if err := d.UnmarshalText([]byte(per)); err != nil {
		return wrong
	}
	*r = Rate{int(n), d.Std()}
	return nil
}

// String writes the rate as it is read.
func (r Rate) String() string {
	if r.Count == 0 {
		return never
	}
	return strconv.Itoa(r.Count) + "/" + Duration(r.Per).String()
}

// Codes are answers of a list: one address of 127.0.0.0/8, or a range of them, "127.0.0.2-127.0.0.11".
type Codes struct{ First, Last netip.Addr }

var listAnswers = netip.MustParsePrefix("127.0.0.0/8")

// UnmarshalText implements [encoding.TextUnmarshaler].
func (c *Codes) UnmarshalText(text []byte) error {
	first, last, ok := strings.Cut(string(text), "-")
	if !ok {
		last = first
	}
	a, err1 := netip.ParseAddr(first)
	b, err2 := netip.ParseAddr(last)
	if err1 != nil || err2 != nil || !listAnswers.Contains(a) || !listAnswers.Contains(b) || b.Less(a) {
		return errors.New(`want an answer such as "127.0.0.2", or a range of them, "127.0.0.2-127.0.0.11"`)
	}
	*c = Codes{a, b}
	return nil
}

// String writes the codes as they are read.
func (c Codes) String() string {
	if c.First == c.Last {
		return c.First.String()
	}
	return c.First.String() + "-" + c.Last.String()
}
