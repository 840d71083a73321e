// Package routing decides where the mail of one recipient goes: from a forward-path and a client to a [Route].
package routing
