// Package wire is the gate between a client's connection and go-smtp: everything that comes from the network is read,
// judged and parsed here, once.
//
// go-smtp sees an ordinary net.Conn, and through it at most one command line at a time, always of our own making: the
// verb, and arguments that say nothing (a reverse-path and a forward-path are placeholders; the session takes the
// parsed ones from [Conn.Command]). Nothing that a client wrote can therefore be echoed, logged or parsed a second
// time. What is no valid command, or comes at the wrong place, is answered here and never gets to go-smtp.
//
// Message content does not pass through go-smtp at all. [Conn.ReadBody] reads it in large pieces from the connection,
// for DATA (only CRLF.CRLF ends it; RFC 5321 section 4.1.1.4) as well as for BDAT (RFC 3030), which go-smtp is told to
// be a DATA command. Bare CR, bare LF and NUL are refused after the real end of the content was read, so that octets of
// a message are never taken for commands. After a read error the connection is at its end, for the same reason.
//
// Replies are gathered and written in one piece when the next octet has to be waited for (RFC 2920 section 3.2), and
// every reply with 4xx or 5xx is counted: the client is slowed down, and after more of them hung up on.
//
// An idle connection owns no buffer here: what is read goes to the caller's buffer, and the surplus behind the first
// line to a shared one, given back as soon as it is used up.
package wire
