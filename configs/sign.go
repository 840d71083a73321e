package configs

import "mxbypass/mailbox"

// Sign is what vouches for mail that leaves. Keys are files in the state directory: see "mxbypass dkim".
type Sign struct {
	SealDomain mailbox.DomainName `toml:"seal_domain"` // zero: the one of the hostname that has a key
}

func defaultSign() Sign { return Sign{} }
