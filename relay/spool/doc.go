// Package spool keeps the content of messages while they are on their way from the client to the stores: small ones in
// memory, large ones in a temporary file, and never more memory than was agreed.
//
// Nothing here is durable, by design. A message is acknowledged when a store has it; what the spool holds belongs to
// clients that still wait for their answer. Its files are therefore unlinked as soon as they are open and never synced:
// a crash leaves nothing behind.
//
// Memory is taken in chunks of two sizes, so that the usual message costs one small chunk, and is reserved against
// [Options.MemoryTotal] before it is taken. A message that grows beyond [Options.MemoryPerMessage], or that finds the
// budget used up, moves to a file; when that fails too, the client is asked to come again (RFC 5321, 452).
package spool
