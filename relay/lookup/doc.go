// Package lookup asks DNS, for all of a relay: policies and keys (TXT), MX, addresses, names of addresses (PTR), and
// what DANE needs (TLSA).
//
// Answers are kept as long as their TTL allows, "no" as well (RFC 2308), within a bound that is one of memory and not of
// their number; failures are kept for seconds, so that a dead DNS costs little. Who asks what somebody else is asking
// waits for that answer. There is nothing to close: a lookup runs in the goroutine of whoever began it, and when he gives
// up, one of those who wait goes on.
//
// An error is a [net.DNSError] itself, not wrapped, as package net gives it: IsNotFound says that there are no such
// records or no such name, everything else is temporary. So what was written for [net.Resolver] understands it.
package lookup
