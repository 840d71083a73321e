package configs

import (
	"strings"
	"time"
)

// The rewritten senders of [Relay.SRSMaxAge] are dated by the day.
const (
	leastSRSAge = Duration(day)
	mostSRSAge  = Duration(365 * day)
)

func (k checker) relay() {
	r := k.Relay
	k.smarthost(r)
	oneOf(k, "relay.store_failure", r.StoreFailure, StoreFailureQueue, StoreFailureRefuse)

	var families [2]bool
	for i, a := range r.SourceAddresses {
		item, family := element("relay.source_addresses", i), 0
		if a.Is6() {
			family = 1
		}
		switch {
		case !a.IsValid():
		case a.IsUnspecified() || a.IsMulticast():
			k.at(item, "%q is no address to connect from", a)
		case families[family]:
			k.at(item, "%q: at most one IPv4 and one IPv6 address", a)
		default:
			families[family] = true
		}
	}

	switch {
	case r.SRSDomain.IsZero():
		k.needs("relay.srs_key_file", r.SRSKeyFile != "", "relay.srs_domain")
	case r.SRSKeyFile == "" && k.sound("relay.srs_key_file"):
		k.at("relay.srs_domain", "without %q senders cannot be rewritten", "relay.srs_key_file")
	}
	k.file("relay.srs_key_file", r.SRSKeyFile)
	if r.SRSMaxAge < leastSRSAge || r.SRSMaxAge > mostSRSAge {
		k.at("relay.srs_max_age", "%q: want %q to %q", r.SRSMaxAge, leastSRSAge, mostSRSAge)
	}
}

func (k checker) smarthost(r Relay) {
	oneOf(k, "relay.smarthost_tls", r.SmarthostTLS, TLSAuto, TLSRequired)
	if r.Smarthost.IsZero() {
		const smarthost = "relay.smarthost"
		k.needs("relay.smarthost_user", r.SmarthostUser != "", smarthost)
		k.needs("relay.smarthost_password_file", r.SmarthostPasswordFile != "", smarthost)
		k.needs("relay.smarthost_ca_file", r.SmarthostCAFile != "", smarthost)
		k.needs("relay.smarthost_tls", r.SmarthostTLS == TLSRequired, smarthost)
	}
	switch user := r.SmarthostUser; {
	case user == "":
		k.needs("relay.smarthost_password_file", r.SmarthostPasswordFile != "", "relay.smarthost_user")
	case strings.ContainsFunc(user, func(c rune) bool { return c < ' ' || c == 0x7f }):
		k.at("relay.smarthost_user", "%q: a control character in the name of a user", user)
	case r.SmarthostPasswordFile == "" && k.sound("relay.smarthost_password_file"):
		k.at("relay.smarthost_user", "%q has no password: set %q", user, "relay.smarthost_password_file")
	}
	if r.SmarthostCAFile != "" && !r.Smarthost.IsZero() && !r.TLSRequired() {
		k.at("relay.smarthost_ca_file", "means nothing while certificates are not looked at: set smarthost_tls = %q",
			TLSRequired)
	}
	k.file("relay.smarthost_password_file", r.SmarthostPasswordFile)
	k.file("relay.smarthost_ca_file", r.SmarthostCAFile)
}

// needs reports a key that has a value and means nothing without another one.
func (k checker) needs(path string, set bool, other string) {
	if set && k.sound(other) {
		k.at(path, "means nothing without %q", other)
	}
}

// file looks at the path of a file that may be left out. What is in it is read later; see [Config.Credentials].
func (k checker) file(path, value string) {
	if value != "" {
		k.absolute(path, value)
	}
}

func (k checker) queue() {
	q := &k.Queue
	oneOf(k, "queue.double_bounces", q.DoubleBounces, DoubleBouncesDrop, DoubleBouncesPostmaster)
	k.positive("queue.connections", q.Connections)
	k.positive("queue.connections_per_destination", q.ConnectionsPerDestination)
	k.positive("queue.first_connections", q.FirstConnections)
	k.positive("queue.recipients_per_message", q.RecipientsPerMessage)
	upTo(k, "queue.retry_max", &q.RetryMax, "queue.lifetime", q.Lifetime)
	upTo(k, "queue.retry_first", &q.RetryFirst, "queue.retry_max", q.RetryMax)
	upTo(k, "queue.connections_per_destination", &q.ConnectionsPerDestination, "queue.connections", q.Connections)
	upTo(k, "queue.first_connections", &q.FirstConnections, "queue.connections_per_destination",
		q.ConnectionsPerDestination)
	if notice := q.DelayNotice.Std(); notice >= q.Lifetime.Std() && k.doc.has("queue.delay_notice") &&
		k.sound("queue.lifetime") {
		k.at("queue.delay_notice", "%q: it must come before %q (%s); %q is for none", q.DelayNotice, "queue.lifetime",
			q.Lifetime, never)
	}
	// A schedule of less would turn a dead host into a busy loop.
	if q.RetryFirst < Duration(time.Second) {
		k.at("queue.retry_first", "%q: want %q or more", q.RetryFirst, Duration(time.Second))
	}
}

// upTo reports a value of the file that is greater than another one. A default gives way to what the file says.
func upTo[T int | Duration](k checker, path string, value *T, other string, most T) {
	switch {
	case *value <= most:
	case !k.doc.has(path):
		*value = most
	case k.sound(other):
		k.at(path, "%v is greater than %q (%v)", *value, other, most)
	}
}
