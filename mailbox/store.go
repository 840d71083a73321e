package mailbox

import (
	"context"
	"io"
	"strings"
)

// Recipient is one mailbox that a message goes to.
type Recipient struct {
	Mailbox  Mailbox
	Tag      LocalPart // of user+tag, without the delimiter; empty: none
	Original string    // the forward-path as the client wrote it, printable (X-Original-To)
	// Delivered is the address for Delivered-To: the mailbox, with the tag where there was one. A loop is seen by it.
	Delivered Address
	Report    Report // what the client wants to be told about it
}

// Content is the message as the client sent it: header and body with CRLF line ends, dots unstuffed, nothing else
// touched. It is complete and does not change; all methods may be called by several goroutines.
type Content interface {
	// Size is its length in octets.
	Size() int64
	// Buffers is the content in memory, in order, or nil when it is kept in a file. It must not be written to.
	Buffers() [][]byte
	// NewReader returns a reader of its own, from the first octet on.
	NewReader() io.Reader
}

// Message is what a store is given: an accepted message with its envelope and trace.
type Message struct {
	ID      string  // our identifier, in logs, replies and Received
	Reverse Address // the reverse-path; null for bounces
	UTF8    bool    // the client asked for SMTPUTF8: envelope or header may need it
	Trace   []byte  // fields of ours on top of the content, with CRLF: Received, and what we found out about the message
	Content Content

	// RequireTLS: it goes only where TLS and the name of the server are sure, and that is promised again (RFC 8689).
	RequireTLS bool

	Return     Return // RET: how much of it a report of failure brings back
	EnvelopeID string // ENVID as the client wrote it: xtext, printable ASCII without spaces; empty: none
}

// TraceFor gives the header fields that we put on top of the content in the copy of r (RFC 5321 section 4.4):
// Return-Path, Delivered-To, X-Original-To, and the trace that all copies have.
func (m *Message) TraceFor(r Recipient) []byte {
	var b strings.Builder
	b.Grow(256 + len(m.Trace))
	b.WriteString("Return-Path: <" + m.Reverse.Header() + ">\r\n")
	b.WriteString("Delivered-To: " + r.Delivered.Header() + "\r\n")
	b.WriteString("X-Original-To: " + Printable(r.Original) + "\r\n")
	b.Write(m.Trace)
	return []byte(b.String())
}

// Store keeps messages in the mailboxes of a site.
//
// Delivery has two phases, so that a message for several stores is in all of them or in none wherever that is possible:
//
//   - Prepare does all that can fail, short of making the message visible. It returns one result per recipient, in order:
//     nil (prepared), or why this recipient cannot have the message. Delivery is nil when nobody was prepared.
//   - Then exactly one of Commit and Abort is called, once. Commit makes the message visible and durable for every
//     prepared recipient; nil in its results means that a crash cannot lose the message any more. Commit's results are
//     per recipient of Prepare, in order; those who were refused by Prepare keep their error.
//
// Errors are those of errors.go, *[RemoteError], or anything else, which is temporary. Both phases honour the context;
// after its end the results are errors, and a late success may cost a duplicate but never a loss.
// Recipients of one call are different mailboxes, or one mailbox with different tags.
type Store interface {
	Prepare(ctx context.Context, m *Message, to []Recipient) (Delivery, []error)
}

// Delivery is a prepared message; see [Store].
type Delivery interface {
	Commit(ctx context.Context) []error
	Abort()
	// Certain tells whether Commit, after Prepare succeeded, fails only by a fault of the machine (a full disk, an I/O
	// error). Deliveries that are not certain are committed first, so that their refusal can still stop the others.
	Certain() bool
}
