// Package directory is what all directories share: the rules that names must keep, and the interfaces by which the
// commands list and change what a directory holds. The directories are in the packages below, one for each driver:
// file (a TOML file, read again when it changes) and sqldir (SQLite, live).
//
// The rules are in one place, [Rules] with mailbox.CheckMailboxName and mailbox.CheckDomainName, and they are asked when
// something is made and again by mailbox.Resolver when it is used. Keys are folded: a directory finds an address by its
// folded local part and the A-labels of its domain, and gives it back as it was written.
package directory
