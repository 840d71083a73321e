// Package routing decides where the mail of one recipient goes: from a forward-path and a client to a [Route].
//
// A bypass address is unfolded once, by [Gateways.Unfold], to a [Bypass]: the identity of a mailbox, with the gateway
// that it was reached by. Nothing that takes a Bypass can answer with a next hop, so no configuration turns a bypass
// address into a relay; only the directory itself can name an address elsewhere. Plain addresses follow the policy of
// their domain and its MX state; see the decision table in ARCHITECTURE.md. What leaves says why it may ([Purpose]) and
// by which way ([Hop]). Each route carries the steps that led to it, formatted only when somebody reads them.
package routing
