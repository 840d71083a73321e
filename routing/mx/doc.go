// Package mx tells the MX state of a domain: who, as DNS has it, takes the mail of that domain.
//
// From the ground up:
//
//   - [Resolver] is the question to DNS, and [DNS] its one implementation, on github.com/miekg/dns. Nothing else here
//     knows that library. An answer says what it is (found, no data, no such domain, failed) and how long it may be kept.
//   - [Cache.State] is what routing asks: the answer out of a bounded cache, or one shared lookup. It has no error; DNS
//     that does not tell is the state unknown, which is never a "no".
//   - [Providers] are the companies that are known by their MX hosts, and the records that they ask for: data
//     (providers.toml), not code. They are advice for people, never an authorisation.
//   - [Checker.Check] holds the records of a domain against what its provider asks for, for `mxbypass mx`.
//
// A host is "ours" when it is one of the names in [Own] or resolves to one of the addresses there. Addresses are looked up
// only when addresses are configured, and not for hosts that are known to be a provider's. When an address lookup fails,
// the host counts as not ours, unless no other host is ours: then it would make the difference between external and
// mixed, and the state is unknown.
package mx
