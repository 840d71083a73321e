package outbound

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"

	"mxbypass/mailbox"
	"mxbypass/mailbox/smtpclient"
)

// Scope is what a failure is about.
type Scope uint8

// The scopes.
const (
	ScopeDestination Scope = iota + 1 // nothing for this hop can be delivered now (DNS, connecting, greeting, TLS, AUTH)
	ScopeMessage                      // this message (MAIL, DATA, size), for all of its recipients
	ScopeRecipient                    // this recipient
)

// Failure is why something could not be delivered.
type Failure struct {
	Scope     Scope
	Permanent bool   // trying again is of no use
	InDoubt   bool   // the connection was lost after the final dot: it may have been delivered
	Host      string // the server: "name[address]"; empty: none was reached
	MTA       string // its name for Remote-MTA; empty: none
	Command   string // in answer to what: "connect", "MAIL", …; "DNS" for a lookup
	Code      int    // of its reply; 0: there was none
	Enhanced  [3]int // RFC 3463; always set: the server's, or one that fits
	Text      string // the server's words as they came, bounded; or ours
	TLS       string // how the connection was encrypted, or whose rule for that was not met; empty: neither
	Err       error  // the cause, for the log
}

// Error implements error, safely printable.
func (f *Failure) Error() string {
	text := mailbox.Printable(oneLine(f.Text))
	switch {
	case f.Host != "" && f.Code != 0:
		return fmt.Sprintf("%s answered %s with %d %s", mailbox.Printable(f.Host), f.Command, f.Code, text)
	case f.Host != "":
		return mailbox.Printable(f.Host) + ": " + text
	}
	return text
}

// Unwrap gives the cause.
func (f *Failure) Unwrap() error { return f.Err }

// maxText bounds what is kept of words, in octets.
const maxText = 1000

// shorten cuts what is longer than limit.
func shorten(s string, limit int) string {
	const cut = "..."
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:max(limit-len(cut), 0)], "") + cut
}

// oneLine joins lines.
func oneLine(s string) string { return strings.ReplaceAll(s, "\n", " / ") }

// words gives an error in one printable line.
func words(err error) string {
	if err == nil {
		return "no reason given"
	}
	return mailbox.Printable(shorten(strings.ReplaceAll(err.Error(), "\n", "; "), maxText))
}

// dnsFailure is one of a lookup.
func dnsFailure(permanent bool, enhanced [3]int, text string, err error) *Failure {
	return &Failure{Scope: ScopeDestination, Permanent: permanent, Command: "DNS", Enhanced: enhanced, Text: text, Err: err}
}

// errTooLong is why a transaction was broken off by us.
var errTooLong = fmt.Errorf("the transaction took longer than %v", maxTransaction)

// failureOf judges an error of a connection or a transaction with a server.
func failureOf(err error, host, mta string) *Failure {
	var known *Failure
	if errors.As(err, &known) {
		return known
	}
	f := &Failure{Host: host, MTA: mta, Err: err}
	var said *mailbox.RemoteError
	switch {
	case errors.As(err, &said):
		f.refusal(said)
	case errors.Is(err, mailbox.ErrInDoubt):
		f.Scope, f.InDoubt, f.Command, f.Enhanced = ScopeMessage, true, "end of data", [3]int{4, 4, 2}
		f.Text = "the connection was lost after the whole message was sent; it may have been delivered"
	case errors.Is(err, smtpclient.ErrContent):
		*f = Failure{Scope: ScopeMessage, Enhanced: [3]int{4, 3, 0}, Text: "the message cannot be read from the queue", Err: err}
	case errors.Is(err, mailbox.ErrNoUTF8):
		f.ours([3]int{5, 6, 7}, "the message needs SMTPUTF8, which the server does not offer")
	case errors.Is(err, smtpclient.ErrEightBit):
		f.ours([3]int{5, 6, 3}, "the message needs 8BITMIME, which the server does not offer, and it is never altered")
	case errors.Is(err, smtpclient.ErrRequireTLS):
		f.ours([3]int{5, 7, 30}, "the message needs REQUIRETLS, which the server does not offer")
	case errors.Is(err, mailbox.ErrTooBig):
		f.ours([3]int{5, 3, 4}, "the message is bigger than the server takes")
	case errors.Is(err, errTooLong): // another message may be smaller, or have fewer recipients
		f.Scope, f.Enhanced, f.Text = ScopeMessage, [3]int{4, 4, 2}, errTooLong.Error()
	default:
		f.network(err)
	}
	return f
}

// network judges an error that is none of a message: there is nobody to speak with.
func (f *Failure) network(err error) {
	f.Scope, f.Enhanced, f.Text = ScopeDestination, [3]int{4, 4, 2}, words(err)
	var lost *smtpclient.LostError
	var dial *net.OpError
	switch {
	case errors.As(err, &lost):
		f.Command, f.Text = lost.Command, lost.Command+": "+lossOf(lost.Err)
		if lost.Command == smtpclient.MailData { // the next message may be smaller, or not upset what looks into it
			f.Scope = ScopeMessage
		}
	case errors.As(err, &dial) && dial.Op == "dial":
		f.Command, f.Enhanced, f.Text = "connect", [3]int{4, 4, 1}, "connect: "+lossOf(dial.Err)
	}
	if errors.Is(err, smtpclient.ErrTLS) {
		f.Enhanced = [3]int{4, 7, 5}
		if lost == nil {
			f.Command = "STARTTLS"
		}
	}
}

// lossOf says why a connection is of no more use.
func lossOf(err error) string {
	switch {
	case errors.Is(err, io.EOF):
		return "the server closed the connection"
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "no answer in time"
	}
	var system *os.SyscallError
	if errors.As(err, &system) { // the call and the addresses say nothing new
		err = system.Err
	}
	return words(err)
}

// ours is what we found out ourselves about the message and this server: final, because the message stays as it is.
func (f *Failure) ours(enhanced [3]int, text string) {
	f.Scope, f.Permanent, f.Command, f.Enhanced, f.Text = ScopeMessage, true, "MAIL", enhanced, text
}

// refusal judges what a server said.
func (f *Failure) refusal(said *mailbox.RemoteError) {
	f.Command, f.Code, f.Enhanced, f.Text = said.Command, said.Code, said.Enhanced, said.Text
	f.Permanent = said.Code/100 == 5
	switch said.Command {
	case "RCPT":
		f.Scope = ScopeRecipient
	case "MAIL", "DATA", smtpclient.MailData, "end of data":
		f.Scope = ScopeMessage
	default: // the server does not speak with us at all: another time it may, or another server
		f.Scope, f.Permanent = ScopeDestination, false
	}
	switch {
	case said.Code == 530 && said.Command != "RCPT":
		// It wants TLS or AUTH of us (RFC 3207 section 4, RFC 4954 section 6), whatever the mail is.
		f.Scope, f.Permanent = ScopeDestination, false
	case said.Code == 421 && said.Command != smtpclient.MailData && said.Command != "end of data":
		// The server goes away, whatever it was asked.
		f.Scope, f.Permanent = ScopeDestination, false
	case said.Code == 503: // our order of commands is right: it is confused
		f.Permanent = false
	case said.Code == 552 && said.Command == "RCPT": // too many recipients, RFC 5321 section 4.5.3.1.10
		f.Permanent = false
	}
	class := 4
	if f.Permanent {
		class = 5
	}
	f.Enhanced[0] = class // the rest stays as it was said, or unknown
}
