// Package lmtp is the store of mailboxes that are kept by another server: a Dovecot or Cyrus spoken to in LMTP, or
// another server of ours, an SMTP next hop. The dialogue itself is package smtpclient's; here are the connections that are
// kept, and the two phases of [mailbox.Store].
//
// Prepare takes a connection and gives MAIL and RCPT, so that the server has answered for every recipient before the
// message is visible anywhere; Commit gives DATA; Abort takes it back with RSET. Between the two the connection is
// taken. A delivery is not certain: the server can still refuse the message itself.
//
// # Connections
//
// At most Options.Connections are open; who needs one waits in line, as long as its context allows. An unused one is kept
// for Options.IdleLimit. Before reuse it is looked at, and one that turns out to be dead while the envelope is given is
// replaced by a new one, once. A message for more than 100 recipients needs several transactions at a time, and takes
// all of their connections in one step, so that two such messages cannot wait for each other.
//
// # What the server is given
//
// RCPT names the mailbox with its tag (user+tag@domain), which the server takes apart by its own rules. On top of the
// content stands our Received, and in a transaction with a single recipient X-Original-To; a copy that serves several
// recipients must not tell one about the others. Return-Path is left to the server that makes the final delivery
// (RFC 5321 section 4.4), and so is Delivered-To: Dovecot writes both itself, and the next relay of ours behind an SMTP
// next hop would take it for the sign of a loop, since it delivers to the same address. A loop among next hops ends at the
// limit of Received fields. What the sender wants to be told (RFC 3461) goes along to a server that announces DSN.
//
// # Errors
//
// What the server refused is a *mailbox.RemoteError with its code and text. A server without SMTPUTF8 cannot have a
// message that needs it: [mailbox.ErrNoUTF8], final; nor can one that announces a limit have a bigger one:
// [mailbox.ErrTooBig], final. Everything else (no connection, a timeout, the end of the context, an answer that makes no
// sense) wraps [mailbox.ErrUnavailable] and is temporary; when it happened after the complete message was sent it also
// wraps [mailbox.ErrInDoubt].
package lmtp
