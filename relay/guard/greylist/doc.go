// Package greylist turns mail from unknown senders away for some minutes. A server tries again; most of what sends spam
// does not.
//
// Known is a triple: the network of the client (/24 or /64), the sender and the recipient. Its first attempt is refused,
// and so are all until the delay is over; the next one makes it known, for as long as it is used now and then. A network
// of which several triples have become known is one of servers, and is not asked again.
//
// Digits in the local part of the sender do not count, so that a mailing list that numbers its bounces is known after
// its first message.
//
// # Bounds
//
// The triples that wait are bounded, and so are those of one network and the ones that are known. When all places of
// those that wait are taken by triples whose delay is not over, new ones are let through: a flood cannot keep honest
// mail out, it can only make the greylist useless while it lasts.
//
// # The file
//
// Everything is written to a file once a minute when something has changed, and at the end: a new file with a checksum,
// synced, put in the place of the old one. So the file is whole whatever happens, and a crash forgets a minute. A file
// that is damaged is moved aside. Addresses are kept as hashes only.
package greylist
