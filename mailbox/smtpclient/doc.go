// Package smtpclient speaks the client's side of SMTP (RFC 5321) and LMTP (RFC 2033) on one connection: greeting, EHLO or
// LHLO, TLS and AUTH, then transactions one after the other. Who connects where is decided by its users, and a [Pool]
// keeps their connections in between.
//
// The server is not trusted. Replies are bounded in lines, octets and time; an answer that makes no sense, or one that
// nobody asked for, ends the connection and is a temporary error; text of the server is kept as it came, to be escaped by
// whoever shows it. Addresses leave through [mailbox.Address.Wire] only, so nothing can be injected into a command.
//
// The message leaves byte for byte as it is, with dots stuffed (RFC 5321 section 4.5.2). Two things are seen to, as
// SMTP has no words for anything else: a message that does not end with CRLF gets one, and one that holds a bare CR or LF
// is not sent, because it could be read as two messages by a careless server. A message that the server cannot have as it
// is (too big, 8 bits, SMTPUTF8) is not offered, and never altered.
//
// What a server announces is used: PIPELINING (RFC 2920; MAIL and all RCPT in one write), SIZE (RFC 1870), 8BITMIME
// (RFC 6152), SMTPUTF8 (RFC 6531), DSN (RFC 3461), REQUIRETLS (RFC 8689), STARTTLS (RFC 3207), AUTH (RFC 4954; PLAIN and
// LOGIN, under TLS only). Enhanced codes (RFC 2034) are read wherever they stand. CHUNKING would save the one round trip of
// DATA, and is left alone.
//
// # Errors
//
// What the server refused is a *[mailbox.RemoteError] with its code, text and the command, per recipient where it was.
// A message that does not fit is [ErrTooBig], [ErrEightBit], [ErrRequireTLS] or [mailbox.ErrNoUTF8]: final. Everything
// else wraps [mailbox.ErrUnavailable] and is temporary: among it [ErrTLS], [ErrNoAuth] and [ErrStale], which say what can
// be done about it, and [mailbox.ErrInDoubt], after which the message may have been delivered.
package smtpclient
