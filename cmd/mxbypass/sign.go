package main

import (
	"log/slog"
	"path/filepath"

	"mxbypass/configs"
	"mxbypass/mailbox"
	"mxbypass/relay/sign"
)

// dkimFolder is where the signing keys are, in the state directory.
func dkimFolder(c *configs.Config) string { return filepath.Join(c.StateDir, "dkim") }

// openSigner makes what vouches for mail that leaves.
func openSigner(c *configs.Config, hostname mailbox.DomainName, log *slog.Logger) (*sign.Signer, error) {
	return sign.New(sign.Options{
		Keys:      sign.OpenKeys(dkimFolder(c)),
		Hostname:  hostname,
		MaxHeader: int64(c.Limits.HeaderSize),
		Log:       log,
	}), nil
}
