// Package tlspolicy decides how sure a connection to a server elsewhere has to be before it is given mail.
//
// # The order
//
// What the operator says of a destination comes first. Then a host whose TLSA records are secure has to fit them (DANE,
// RFC 7672); then the MTA-STS policy of the domain counts (RFC 8461), for hosts without such records; then TLS is used
// where it is offered, whoever it is with (RFC 7435). DANE comes before MTA-STS because a policy must not weaken records
// that are signed (RFC 8461 section 2).
//
// # No downgrade
//
// A rule that cannot be met means that the host is not used: mail waits, and says why. Where it cannot be known whether
// there is a rule (TLSA records that cannot be looked up in a zone that is signed) the host is not used either.
// Policies of MTA-STS that were seen once hold to their end.
//
// # What a message can want
//
// REQUIRETLS (RFC 8689) wants a server that is known for sure: by DANE, by an MTA-STS policy, by MX records that are
// secure, or because the operator or the recipient's address names it; with a certificate for its name. "TLS-Required: No"
// sets aside what the recipient's domain wants, and not what the operator does.
package tlspolicy
