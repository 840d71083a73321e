// Package maillog is the log of mail's life: one method for each event, with fixed keys, so that the log is an
// interface that people and programs can rely on.
//
//	msg            level  keys
//	connected      info   conn client listener
//	turned away    info   client listener reply (suppressed)
//	greeted        debug  conn helo protocol
//	secured        debug  conn tls cipher (certificate: info)
//	no tls         info   conn error
//	logged in      info   conn login
//	login failed   info   conn login reply error
//	routed         info   conn id from to action site gateway mx provider why
//	received       info   conn id from size recipients (tls login) duration
//	judged         info   conn id why
//	discarded      info   conn id to
//	delivered      info   conn id to mailbox site gateway provider duration
//	deferred       info   conn id to stage reply error
//	refused        info   conn id to stage reply error
//	disconnected   info   conn messages refused (suppressed) duration
//
//	queued            info  id from size recipients destinations direct
//	sent              info  id from to destination purpose host tls reply attempts delay
//	deferred          info  id from to destination purpose reason next (doubt) attempts delay
//	in doubt          info  id from to destination purpose attempts delay
//	bounced, given up info  id from to destination purpose reason attempts delay
//	quarantined       info  id from to destination purpose error attempts delay
//	notified          info  id about to action recipients
//	to postmaster     info  id about reason
//	dropped           warn  about to action reason
//	destination down  warn  destination reason failures next
//	destination up    info  destination
//
//	started, reloaded, stopped, reload failed (error), suppressed (connections turned_away)
//
// Durations are in seconds, sizes in octets. Keys without a value are left out. Whatever came from the network is made
// printable and cut to a length. What the network could flood the log with is bounded: events of one connection that
// cost the client nothing are counted after the first ones, and connections beyond a rate are summed up once in a
// while. Messages that were received, and what became of them, are never left out.
//
// Lines are gathered for at most a tenth of a second before they are written, because a system call for each line costs
// more than the line. Errors are written at once, and [Log.Close] writes what is left.
package maillog
