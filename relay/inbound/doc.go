// Package inbound receives mail by SMTP (RFC 5321) and LMTP (RFC 2033): it accepts connections within limits, runs the
// dialogue, takes in messages, and hands them over for delivery before it says 250.
//
// Three parts share the work. The listener ([Server], listener.go) counts connections and ends them. The gate (package
// wire) stands between each socket and go-smtp: it frames and parses commands and reads content. The session
// (session.go) is what go-smtp calls: it asks for routes and collects the recipients of one transaction (envelope.go), then
// takes the message and answers (data.go).
//
// A transaction begins with MAIL and has one snapshot of the configuration, its [Core]. It is destroyed by the end of
// data, RSET, a new greeting, and every end of the connection; nothing of it is left for the next one.
//
// What a client is told comes from package reply, what the operator is told goes through package maillog.
package inbound
