// Package sign vouches for mail that leaves: it signs what our users send (DKIM, RFC 6376), and seals what is sent on for
// others (ARC, RFC 8617).
//
// The keys of a domain are files, DIR/DOMAIN/SELECTOR.pem, each with one private key in PKCS #8, mode 0600, in a folder
// of mode 0700. A key that others can read is not used. The newest RSA key and the newest Ed25519 key sign; a file
// SELECTOR.pem.disabled is a key that does not (yet, or any more). A domain without keys uses those of its parent, up to
// the one that was registered, which DMARC takes for the same (relaxed alignment, RFC 7489 section 3.1.1).
//
// Files are read when their domain first sends, kept for a bounded number of domains, and looked at again within
// seconds: a new key needs no restart, and a million domains cost nothing at the start.
package sign
