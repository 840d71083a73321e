// Package login knows who a user is by name and password, and which senders are his.
//
// A failure tells nothing. Whether the name is unknown, an alias, disabled or without a password, or the password is
// wrong: as much memory and time is spent, and the answer comes a whole number of seconds after the question, beside the
// time that it had to wait for others. So the cost of somebody's hash is not seen either.
//
// Trying a password costs 64 MiB and a good part of a second. That many at once are bounded, and those that wait too; a
// login that succeeded a while ago is known by a digest of all that made it succeed, the hash in the directory included:
// it is asked for every time, so a new password, a disabled mailbox or domain end what was remembered.
package login
