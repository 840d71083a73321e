package main

import (
	"path/filepath"

	"mxbypass/configs"
	"mxbypass/mailbox"
	"mxbypass/relay/sign"
)

// dkimFolder is where the signing keys are.
func dkimFolder(c *configs.Config) string { return filepath.Join(c.StateDir, "dkim") }

// newSigner makes what vouches for mail that leaves.
func newSigner(c *configs.Config, hostname mailbox.DomainName, keys *sign.Keys) *sign.Signer {
	return sign.New(sign.Options{
		Keys:       keys,
		Hostname:   hostname,
		SealDomain: c.Sign.SealDomain,
		MaxHeader:  int64(c.Limits.HeaderSize) + headerRoom,
	})
}

// headerRoom is what we and filters may add to a header that was as long as it may be.
const headerRoom = 1 << 20
