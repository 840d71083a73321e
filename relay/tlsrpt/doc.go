// Package tlsrpt counts how TLS with servers elsewhere fares, and sends domains that ask for it a report of each day
// (RFC 8460).
//
// Sessions are counted in memory, for every domain that mail goes to, and written to one file a day; a crash loses the
// counts of a few minutes. Whether a domain wants a report is asked for when the day is over, so that mail costs no lookup.
// Reports go out within some hours after midnight (UTC), by mail through the queue or over HTTPS, as the domain wants it;
// what does not succeed is tried again for some days.
//
// Nothing is unbounded: domains of a day, failures of a domain, and the words kept of each.
package tlsrpt
