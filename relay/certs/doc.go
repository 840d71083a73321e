// Package certs keeps the certificates that our listeners show, and says whom a client's certificate makes.
//
// Certificates come from files, which are looked at again while the relay runs, and from an authority by ACME (RFC 8555),
// which is shown by HTTP, in a handshake, or in DNS that a name is ours.
// A certificate that cannot be read, or had, never takes the place of one that works.
package certs
