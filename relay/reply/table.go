package reply

import (
	"context"
	"errors"

	"mxbypass/mailbox"
	"mxbypass/relay/filter"
	"mxbypass/relay/guard"
	"mxbypass/relay/guard/dnslist"
	"mxbypass/relay/guard/greylist"
	"mxbypass/relay/login"
	"mxbypass/relay/msgauth"
	"mxbypass/relay/sign"
	"mxbypass/relay/spool"
	"mxbypass/routing"
)

// row is one line of the table: what an error means to a client.
type row struct {
	err      error
	code     int
	enhanced [3]int
	text     string // what is the matter, and the remedy where there is one
}

// unknown is the reply to every error without a row. "Unknown" is never "no".
var unknown = row{nil, 451, [3]int{4, 3, 0}, "temporary problem on this server, try again later"}

// table is searched from the top, with errors.Is: the first row that fits is the answer. Rows for what went wrong come
// before rows for the kind of thing that went wrong.
var table = []row{
	// The connection and the dialogue.
	{ErrShutdown, 421, [3]int{4, 3, 2}, "this server is shutting down, try again shortly"},
	{ErrTooManyConnections, 421, [3]int{4, 3, 2}, "too many connections, try again later"},
	{ErrTooManyFromClient, 421, [3]int{4, 7, 0}, "too many connections from your address, try again later"},
	{ErrTooManyErrors, 421, [3]int{4, 7, 0}, "too many errors, closing the connection"},
	{ErrTooManyTransactions, 421, [3]int{4, 7, 0}, "too many messages in this connection, open a new one"},
	{ErrIdle, 421, [3]int{4, 4, 2}, "timeout, closing the connection"},
	{ErrSequence, 503, [3]int{5, 5, 1}, "bad sequence of commands"},
	{ErrParameter, 501, [3]int{5, 5, 4}, "invalid parameter"},
	{ErrNeedsTLS, 530, [3]int{5, 7, 10}, "REQUIRETLS needs a TLS connection"},
	{ErrNoPlainAuth, 538, [3]int{5, 7, 11}, "a password needs a TLS connection, use STARTTLS first"},
	{ErrNeedsAuth, 530, [3]int{5, 7, 0}, "authentication required: this port is for users, who log in"},
	{login.ErrWrong, 535, [3]int{5, 7, 8}, "wrong user name or password"},
	{login.ErrBusy, 454, [3]int{4, 7, 0}, "too many logins at once, try again later"},
	{login.ErrUnavailable, 454, [3]int{4, 7, 0}, "logins cannot be verified now, try again later"},
	{ErrNotYourSender, 553, [3]int{5, 7, 1}, "the sender address does not belong to your login"},
	{ErrEarlyTalker, 554, [3]int{5, 5, 1}, "you spoke before you were greeted, closing the connection"},
	{ErrTooManyRecipients, 452, [3]int{4, 5, 3}, "too many recipients, send the message again for the others"},
	{ErrNoRecipients, 554, [3]int{5, 5, 1}, "no valid recipients"},

	// The message.
	{spool.ErrTooBig, 552, [3]int{5, 3, 4}, "message too big for this server"},
	{mailbox.ErrTooBig, 552, [3]int{5, 3, 4}, "message too big for the mailbox server"},
	{ErrHeaderTooBig, 552, [3]int{5, 3, 4}, "the header of the message is too big for this server"},
	{ErrLineTooLong, 554, [3]int{5, 6, 0}, "a line of the message is too long"},
	{ErrBareControl, 554, [3]int{5, 6, 0}, "bare CR, bare LF and NUL are not accepted in a message; lines end with CR LF"},
	{ErrTooManyHops, 554, [3]int{5, 4, 6}, "too many hops: the message seems to loop"},
	{ErrLoop, 554, [3]int{5, 4, 6}, "mail loop: the message was already delivered to this mailbox"},

	{ErrNotYourFrom, 550, [3]int{5, 7, 1}, "the address in the From field does not belong to your login"},

	// What clients may do over time, and what is known of them.
	{guard.ErrNetworkFull, 421, [3]int{4, 7, 0}, "too many connections from your network, try again later"},
	{guard.ErrTooOften, 421, [3]int{4, 7, 0}, "you connect too often, try again later"},
	{guard.ErrTooFast, 450, [3]int{4, 7, 1}, "you send too fast, try again later"},
	{guard.ErrTooManyUnknown, 450, [3]int{4, 7, 1}, "too many recipients that do not exist, try again later"},
	{guard.ErrLocked, 454, [3]int{4, 7, 0}, "too many failed logins, try again later"},
	{guard.ErrOurName, 550, [3]int{5, 7, 1}, "you are not who you say: that is a name or an address of ours"},
	{guard.ErrBareAddress, 501, [3]int{5, 5, 4}, "an address stands in brackets, such as [192.0.2.1]"},
	{guard.ErrHelloName, 501, [3]int{5, 5, 4}, "want the full name of your host, or its address in brackets"},
	{dnslist.ErrListed, 550, [3]int{5, 7, 1}, "your address is on a list"},
	{greylist.ErrGreylisted, 451, [3]int{4, 7, 1}, "you are not known yet, try again in some minutes"},

	// Filters. What is wrong with one that is down may be anything of what comes below.
	{filter.ErrDown, 451, [3]int{4, 7, 1}, "a filter cannot be asked now, try again later"},
	{filter.ErrFieldTooBig, 552, [3]int{5, 3, 4}, "a field in the header of the message is too big for the filters of " +
		"this server"},

	{msgauth.ErrRejected, 550, [3]int{5, 7, 1}, "refused by the DMARC policy of the domain in the From field"},
	{msgauth.ErrUnsure, 451, [3]int{4, 7, 0}, "where the message comes from cannot be verified now, try again later"},

	{ErrHeldBack, 451, [3]int{4, 3, 0}, "held back with another recipient, try again later"},

	// The machine, and the servers behind it.
	{mailbox.ErrInDoubt, 451, [3]int{4, 4, 2}, "the mailbox server was lost before it answered, try again later"},
	{mailbox.ErrNoSpace, 452, [3]int{4, 3, 1}, "not enough space on this server, try again later"},
	{spool.ErrBusy, 452, [3]int{4, 3, 1}, "too many messages in flight, try again later"},

	{sign.ErrKeys, 451, [3]int{4, 3, 5}, "the keys that sign for your domain cannot be used, the operator has to mend them"},

	// Addresses.
	{mailbox.ErrNoUTF8, 550, [3]int{5, 6, 7}, "the message needs SMTPUTF8, which the mailbox server does not offer"},
	{mailbox.ErrNeedsUTF8, 553, [3]int{5, 6, 7}, "an address that is not ASCII needs SMTPUTF8"},
	{ErrSender, 501, [3]int{5, 1, 7}, "invalid sender address"},
	{mailbox.ErrTooLong, 501, [3]int{5, 1, 3}, "address too long"},
	{mailbox.ErrSyntax, 501, [3]int{5, 1, 3}, "invalid address"},

	// Routes.
	{routing.ErrNotHosted, 550, [3]int{5, 7, 1}, "the domain is not hosted here: a bypass address never relays"},
	{routing.ErrBypassOff, 550, [3]int{5, 7, 1}, "the domain is hosted here, but may not be reached by bypass addresses"},
	{routing.ErrNotServed, 550, [3]int{5, 7, 1}, "the domain is hosted, but not served by this gateway: " +
		"use the gateway of its own server"},
	{routing.ErrNotGateway, 550, [3]int{5, 7, 1}, "not a gateway of ours: a bypass address needs its exact name"},
	{routing.ErrNested, 550, [3]int{5, 7, 1}, "a bypass address has one hop only"},
	{routing.ErrRelayDenied, 550, [3]int{5, 7, 1}, "relay access denied: the domain is not hosted here"},
	{routing.ErrOtherHalf, 450, [3]int{4, 4, 0}, "the other half of the domain cannot be asked now, try again later"},
	{routing.ErrBackToSource, 554, [3]int{5, 4, 6}, "mail loop: the mail would go back to the network that it came from"},
	{routing.ErrReturnOnly, 550, [3]int{5, 7, 1}, "this address takes reports only"},
	{routing.ErrBadReturn, 550, [3]int{5, 7, 1}, "this return address is forged or too old"},
	{routing.ErrMXUnknown, 451, [3]int{4, 4, 3}, "the MX records of the domain cannot be looked up now, try again later"},

	// Mailboxes.
	{mailbox.ErrNoDomain, 550, [3]int{5, 7, 1}, "the domain is not hosted here"},
	{mailbox.ErrNoMailbox, 550, [3]int{5, 1, 1}, "no such mailbox here"},
	{mailbox.ErrDisabled, 450, [3]int{4, 2, 1}, "the mailbox is disabled for now"},
	{mailbox.ErrAliasLoop, 451, [3]int{4, 3, 5}, "the aliases of this address loop, the operator has to mend them"},
	{mailbox.ErrOverQuota, 452, [3]int{4, 2, 2}, "the mailbox is full"},
	{mailbox.ErrUnavailable, 451, [3]int{4, 3, 0}, "the mailbox cannot be reached now, try again later"},

	// The time that an answer may take.
	{context.DeadlineExceeded, 451, [3]int{4, 3, 0}, "this took too long, try again later"},
	{context.Canceled, 451, [3]int{4, 3, 2}, "interrupted, try again later"},
}

func (r row) reply() Reply { return Reply{r.code, r.enhanced, r.text} }

func lookup(err error) row {
	for _, r := range table {
		if errors.Is(err, r.err) {
			return r
		}
	}
	return unknown
}

// For gives the reply to an error; nil is 250. The refusal of another server is passed on with its code and text, as far
// as they make sense to our client, and so is that of a filter; everything else is looked up in the table. An unknown
// error is temporary, and its detail is not told.
func For(err error) Reply {
	if err == nil {
		return Reply{250, [3]int{2, 0, 0}, "OK"}
	}
	var remote *mailbox.RemoteError
	if errors.As(err, &remote) {
		return forRemote(remote)
	}
	var rejected *filter.Rejection
	if errors.As(err, &rejected) {
		return Reply{rejected.Code, rejected.Enhanced, plainText(rejected.Text, maxRemoteText)}
	}
	r := lookup(err).reply()
	var listed *dnslist.ListedError
	if errors.As(err, &listed) {
		r.Text += ": " + plainText(listed.Told(), maxRemoteText)
	}
	var forged *msgauth.Rejection
	if errors.As(err, &forged) {
		r.Text = forged.Error()
	}
	if errors.Is(err, mailbox.ErrOverQuota) && saysFinal(err) {
		r.Code, r.Enhanced[0] = 552, 5
	}
	return r
}

// saysFinal looks for a Temporary method that says no: only the store knows whether a full mailbox will have room
// again.
func saysFinal(err error) bool {
	var t interface{ Temporary() bool }
	return errors.As(err, &t) && !t.Temporary()
}

// Worst gives the error that decides about several recipients which share one answer: a temporary one before a final
// one, the first of each; ErrHeldBack only when nothing else is temporary; nil when there is no error.
func Worst(errs ...error) error {
	var held, final error
	for _, err := range errs {
		switch {
		case err == nil:
		case errors.Is(err, ErrHeldBack):
			held = err
		case !For(err).Permanent():
			return err
		case final == nil:
			final = err
		}
	}
	if held != nil {
		return held
	}
	return final
}
