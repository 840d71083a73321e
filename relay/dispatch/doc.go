// Package dispatch brings queued mail away: it decides what is tried when, gives it to servers and stores, and writes
// what became of it.
//
// # The way of a message
//
// [Dispatcher.Accept] writes it to the queue. Where its destinations can be served now, the same commit leases it, and it
// goes to workers with the content that is in memory; otherwise the loop finds it in the queue when its destination is
// due. A worker takes a group (recipients of one message with one sender), has a connection, records the attempt, sends,
// and writes the outcome together with the reports that follow from it, before it takes the next group. So a crash
// repeats what was under way and nothing else, and nobody is reported on twice.
//
// # Destinations
//
// What shares connections shares its fate. A destination is in memory while there is work for it; how many workers it may
// have grows with success and falls with failures (as in Postfix: by 1/n up, by one down), and as many failures without
// an answer between them as there may be workers make it down. Then one row says until when, its mail is not touched, and
// fresh mail for it is queued without asking. One connection asks again; the first answer, whatever it is, wakes all.
// A connection is had before a message is leased: a dead host costs its mail no attempts. Who hangs up in the middle of a
// message may mean that message; then it alone waits. What was being said when a destination went down comes after what
// waits for it: one message that a server cannot stand keeps the others for one wait at most.
//
// A destination that fails for good (no such domain) fails all mail that comes up within a while, and is then asked again.
//
// Workers are limited in all, and destinations take turns for them: while somebody waits, a worker gives its place away
// after each group. A destination that has not answered yet gets one worker while connections are scarce, so that a few
// hosts that hang do not hold them all.
//
// # Messages and recipients
//
// What a server says about a message or a recipient concerns that one: tried again after a wait that doubles, failed for
// good, or given up at the end of its lifetime. Items whose destination does not answer are reported on in time by a
// sweep that looks for those alone.
//
// Reports have a null sender. What cannot be reported is given to the postmaster mailbox once, or dropped, and logged.
// A report that cannot be routed now keeps the failed recipient in the queue until it can.
//
// While the queue cannot be written, workers wait with what they have done: nothing more is sent that could not be
// recorded.
package dispatch
