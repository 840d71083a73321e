package main

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"

	"mxbypass/configs"
	"mxbypass/mailbox"
	"mxbypass/relay/sign"
)

// dkimFolder is where the signing keys are.
func dkimFolder(c *configs.Config) string { return filepath.Join(c.StateDir, "dkim") }

// openSigner makes what vouches for mail that leaves. That a domain has no key is no mistake: keys may come later. But
// who names a domain to seal with wants to hear of it.
func openSigner(c *configs.Config, hostname mailbox.DomainName, log *slog.Logger) (*sign.Signer, error) {
	s := sign.New(sign.Options{
		Keys:       sign.OpenKeys(dkimFolder(c), log),
		Hostname:   hostname,
		SealDomain: c.Sign.SealDomain,
		MaxHeader:  int64(c.Limits.HeaderSize) + headerRoom,
	})
	if seal := c.Sign.SealDomain; !seal.IsZero() {
		domain, err := s.Sealing()
		if err == nil && domain.IsZero() {
			err = errors.New("no RSA key signs for it")
		}
		if err != nil {
			log.Warn("mail that is sent on is not sealed", "domain", seal.ASCII(),
				"remedy", fmt.Sprintf("mxbypass dkim create %s --type rsa", seal), "error", err)
		}
	}
	return s, nil
}

// headerRoom is what we and filters may add to a header that was as long as it may be.
const headerRoom = 1 << 20
