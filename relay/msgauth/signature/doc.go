// Package signature is what DKIM-Signature (RFC 6376), ARC-Message-Signature and ARC-Seal (RFC 8617) have in common: lists
// of tags, the forms in which header and body are hashed, keys in DNS, and the two algorithms, rsa-sha256 and
// ed25519-sha256 (RFC 8463). It hashes as it reads: a body is never in memory whole.
//
// Lines end in CRLF, as [mailbox.Content] promises; a CR or LF by itself is an octet like any other, so that none can be
// added, taken away or turned into a line end behind the back of a signature.
package signature
