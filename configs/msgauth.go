package configs

import (
	"time"

	"mxbypass/mailbox"
)

// MsgAuth is how the origin of mail from elsewhere is judged.
type MsgAuth struct {
	Policy         mailbox.Authentication `toml:"policy"`          // of domains that have none of their own
	AuthServID     mailbox.DomainName     `toml:"authserv_id"`     // our name in Authentication-Results; zero: Hostname
	TrustedSealers []mailbox.DomainName   `toml:"trusted_sealers"` // whose ARC seals are believed
	Timeout        Duration               `toml:"timeout"`         // of all questions about a message
}

func defaultMsgAuth() MsgAuth {
	return MsgAuth{Policy: mailbox.AuthenticationMark, Timeout: Duration(10 * time.Second)}
}

func (k checker) msgauth() {
	m := k.MsgAuth
	oneOf(k, "msgauth.policy", m.Policy, mailbox.AuthenticationOff, mailbox.AuthenticationMark, mailbox.AuthenticationEnforce)
	if k.sound("limits.store_timeout") && m.Timeout >= k.Limits.StoreTimeout && k.doc.has("msgauth.timeout") {
		k.at("msgauth.timeout", "%s: not less than %q, within which a message has to be answered", m.Timeout.Std(),
			"limits.store_timeout")
	}
	for i, d := range m.TrustedSealers {
		for _, before := range m.TrustedSealers[:i] {
			if d == before {
				k.at(element("msgauth.trusted_sealers", i), "%q is there twice", d)
			}
		}
	}
}
