// Package filter has programs outside judge mail: rspamd, clamav-milter, opendkim and others that speak the protocol of
// Sendmail's filters, milter. We are the side of the mail server.
//
// A [Filter] is such a program as the configuration names it. A [Session] is one message on its way past it: who
// connected and how it called itself, the sender, each recipient, and then the message as it would be delivered. A
// session has a connection of its own, so that nothing which went wrong with one message can be taken for an answer
// about another one. What the filter wants changed is applied to the header and the body; every other octet stays. So
// the octets that were judged are those that are delivered.
//
// A filter is a program of the operator, but it takes hostile mail apart and may be overtaken by it. So it is not
// trusted with more than its task: its answers are bounded in size and time, fields that it writes cannot become
// several, and it can neither add nor redirect recipients, as who has the mail of a mailbox is for the directory to
// say.
//
// A filter that does not answer in time, breaks off or cannot be understood has failed, for the message at hand. Then
// the message is refused for now or goes on without it, as configured. One that cannot be reached, or has failed
// several times in a row, is left alone for some seconds, so that not every message waits for it.
package filter
