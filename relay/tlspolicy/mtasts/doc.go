// Package mtasts finds the policies by which domains say how their mail servers are to be known (MTA-STS, RFC 8461), and
// keeps them on disk.
//
// A policy is announced by a TXT record and fetched over HTTPS. It holds until it is too old, whatever DNS says
// meanwhile: whoever can forge answers can hide a new policy, and keeps nobody from using the one that is known. A policy
// that cannot be fetched, or makes no sense, leaves the one before in force. Policies in use are fetched again long before
// they end, so that a domain is without one only when it has taken it back, or could not show one for its whole age.
//
// Where nothing is known and nothing can be found, there is no policy: the first contact is a matter of trust, as the RFC
// says in section 10.2.
package mtasts
