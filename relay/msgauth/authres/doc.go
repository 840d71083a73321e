// Package authres writes and reads Authentication-Results (RFC 8601): what a server has found out about where a message
// comes from, under its authserv-id.
//
// What is written comes from others in part (addresses, names, words of their DNS), so the printer quotes whatever is not
// a plain word, replaces what is not printable and bounds every value; nothing can end the field or look like another
// result in it. The reader is for the fields of others: those of sealers that we trust, and those that claim to be ours.
package authres
