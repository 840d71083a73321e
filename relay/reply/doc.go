// Package reply holds the one table that turns errors into SMTP replies (RFC 5321 section 4.2, RFC 3463), and the
// sentences that clients read.
//
// The floors below return errors that say what happened; none of them knows a code. Everything that a client is told
// goes through this package, which keeps three promises: an error that the table does not know is temporary and its
// detail stays in the log; nothing that came from the network gets into a reply unescaped or unbounded; and a reply
// never names a recipient otherwise than the client wrote it, so that it gives away neither where an alias leads nor
// which catch-all took the message.
package reply
