// Package password keeps passwords as hashes that cost time and memory to try, and verifies them. New ones are argon2id
// (RFC 9106). Those of other mail servers are verified as they are, so that nobody has to choose a new password when
// mailboxes move here: argon2id, bcrypt and SHA-512-crypt, with the prefixes of Dovecot or without.
//
// What a hash costs stands in the hash, and hashes come from directories that others fill. So the cost is bounded: a hash
// beyond it is [ErrHash], whether it is read, imported or verified.
package password
