package sign

import (
	"slices"

	"mxbypass/relay/msgauth/signature"
)

// What a reader sees and what tells how a body is shown is signed once more than it is there, so that a second one cannot
// be added (RFC 6376 section 8.15).
var closed = []string{
	"from", "to", "cc", "subject", "date", "message-id", "reply-to",
	"mime-version", "content-type", "content-transfer-encoding",
}

// The rest is signed as often as it is there (RFC 6376 section 5.4.1; RFC 8058 section 4 for lists): whoever sends a
// message on may add to it.
var open = []string{
	"sender", "in-reply-to", "references", "resent-date", "resent-from", "resent-to", "resent-cc", "resent-message-id",
	"list-id", "list-help", "list-unsubscribe", "list-unsubscribe-post", "list-subscribe", "list-post", "list-owner",
	"list-archive",
}

// maxTimes bounds how often a name is signed: no honest message comes near.
const maxTimes = 100

// signedNames gives h= for a message of ours.
func signedNames(fields signature.Fields) []string {
	var names []string
	for _, name := range closed {
		names = append(names, slices.Repeat([]string{name}, min(fields.Count(name), maxTimes)+1)...)
	}
	for _, name := range open {
		names = append(names, slices.Repeat([]string{name}, min(fields.Count(name), maxTimes))...)
	}
	return names
}

// sealedNames gives h= of an ARC-Message-Signature: signatures that are there belong to it as well (RFC 8617
// section 4.1.2).
func sealedNames(fields signature.Fields) []string {
	const dkim = "dkim-signature"
	return append(signedNames(fields), slices.Repeat([]string{dkim}, min(fields.Count(dkim), maxTimes))...)
}
