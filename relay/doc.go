// Package relay is the running relay: listeners that receive, a router that decides, stores that keep, and the order in
// which they start, change and stop as one.
//
// A configuration becomes [Parts]. [Relay.Start] binds every listener before the first one serves, or none.
// [Relay.Reload] builds the new beside the old and switches in one step: a transaction that began with the old parts
// ends with them, and they are closed when the last one has. What cannot start leaves everything as it was.
// [Relay.Shutdown] drains: nobody new is let in, transactions in progress come to their end within a deadline.
//
// What survives a reload is the [delivery.Ledger], the log, and every socket whose address is still wanted: no
// connection is refused meanwhile.
package relay
