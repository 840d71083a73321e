// Package dmarc finds what a domain wants done with messages that bear its name in From and do not come from it (DMARC:
// RFC 7489, and RFC 9989 which obsoletes it), and which other names belong to the same organisation.
//
// # Where the two standards differ
//
// The organisational domain is, by RFC 7489, the one that was registered under a public suffix, by a list of these; by
// RFC 9989 the last one on a walk from the name to the root that has a record, unless records say where the border is
// (psd=). Senders of today were made for either, so that we use both:
//
//   - a record with psd= is believed, as the domain knows best;
//   - else names with the same registered domain belong together, as everybody has assumed for a decade;
//   - else, above a public suffix, a name and the parent in which its walk ends belong together. Neighbours do not, as
//     they would by the walk alone, when a public suffix has a record and forgets psd=y.
//
// A policy is that of the From domain; else of its organisational domain, as its policy for subdomains (sp=, and np= for
// names that do not exist); else of what the walk finds above that. The walk asks for at most eight names, all at once.
//
// pct= of RFC 7489 is kept to, as domains that use it mean it; its modern form is t=y.
package dmarc
