// Package guard counts what clients do over time, and says when it becomes too much: connections, messages, recipients,
// recipients that do not exist, and logins that fail.
//
// # Who is counted
//
// A client counts twice: as a host, which is an IPv4 address or the /64 that every IPv6 host has to itself, and as part
// of a network, a /24 or a /48. Limits of a host stop the single one, limits of a network those who change the address.
// Networks that are exempt are in none of the counters over time. How many connections a network has at once is a limit
// of the moment, and holds for them as well.
//
// # How
//
// A limit is a rate, "1200 in a minute": a bucket of 1200 that fills again at 20 in a second. What is refused takes
// nothing from it, so that a client at its limit is as fast as the limit, and not shut out. From a share of it on,
// answers are slow, and the slower the nearer the limit: who sends too fast by mistake is slowed down before anything of
// it is refused, and who is refused has been told to come again later.
//
// A bucket is one point in time, that at which it is full again (the generic cell rate algorithm). A bucket that is full
// needs not be remembered, which makes the tables below small.
//
// # Memory
//
// Everything is kept in tables of fixed size, made of sets of eight places. Who needs a place in a full set takes that
// of the one whose bucket is the fullest. So a spray of addresses, however many there are, takes no memory and pushes out
// those who did next to nothing; whoever has used up much of a limit keeps its place. Hosts, networks and each of the
// counters of logins have tables of their own. Where in a table an address is found is the secret of the process.
//
// # Logins
//
// Failures are counted for the host, its network and the name of the login, whether there is such a mailbox or not. Too
// many of them lock it for a while: nobody else is asked for, nothing is said about the password. A lock of a name would
// let anybody lock its owner out; therefore a network from which a login has succeeded is remembered with its name, and
// from there neither that lock nor that of the host holds, but a counter that belongs to both.
package guard
