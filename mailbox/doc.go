// Package mailbox is the ground floor of mxbypass: what an address is, what a hosted domain and a mailbox are, what a
// message is, and the two contracts that several floors share, [Directory] and [Store].
//
// Addresses come from the wire through one parser, [ParsePath] or [ParseReversePath], and leave through one printer per
// purpose ([Address.Wire], [Address.Header], [Address.String] for logs and people). Between the two an address is never
// a string again: whatever was checked is what is delivered.
//
// Nothing here or in the packages below knows an SMTP reply code of ours. Errors are values (see errors.go); the relay
// maps them to replies in one table. The single exception is [RemoteError], which carries what another server said.
package mailbox
