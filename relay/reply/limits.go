package reply

import "errors"

// Errors of receiving: the limits of the listener and the session. They stand here, beside the table that says what
// they mean to a client, because nothing below the relay knows of connections and sessions.
var (
	// ErrTooManyConnections: the listener has all the connections that it may have.
	ErrTooManyConnections = errors.New("too many connections")
	// ErrTooManyFromClient: this client address has all the connections that it may have.
	ErrTooManyFromClient = errors.New("too many connections from this client")
	// ErrTooManyErrors: too many commands of this connection were refused.
	ErrTooManyErrors = errors.New("too many errors")
	// ErrTooManyTransactions: too many messages in this connection.
	ErrTooManyTransactions = errors.New("too many messages in this connection")
	// ErrTooManyRecipients: the message has all the recipients that it may have; the client sends it again for the
	// rest.
	ErrTooManyRecipients = errors.New("too many recipients")
	// ErrNoRecipients: no recipient was accepted.
	ErrNoRecipients = errors.New("no valid recipients")
	// ErrIdle: the client said nothing for too long, or too little.
	ErrIdle = errors.New("the client is too slow")
	// ErrShutdown: the relay is stopping.
	ErrShutdown = errors.New("shutting down")
	// ErrSequence: a command at the wrong place.
	ErrSequence = errors.New("bad sequence of commands")
	// ErrParameter: a parameter of MAIL or RCPT that is malformed, unknown or was not announced.
	ErrParameter = errors.New("invalid parameter")
	// ErrSender: the reverse-path is no address. It is joined with the error that says why.
	ErrSender = errors.New("invalid sender address")
	// ErrNeedsTLS: the client asked for REQUIRETLS on a connection that has none.
	ErrNeedsTLS = errors.New("REQUIRETLS without TLS")
	// ErrNoPlainAuth: a password was about to be sent without TLS.
	ErrNoPlainAuth = errors.New("AUTH without TLS")
	// ErrNeedsAuth: this listener takes mail from users that have logged in only.
	ErrNeedsAuth = errors.New("authentication required")
	// ErrNotYourSender: the reverse-path is no address of the login.
	ErrNotYourSender = errors.New("the sender is not one of the login")
	// ErrNotYourFrom: the From field has an address that is none of the login.
	ErrNotYourFrom = errors.New("the From field is not one of the login")
	// ErrEarlyTalker: the client spoke before it was greeted.
	ErrEarlyTalker = errors.New("the client spoke before the greeting")
	// ErrHeaderTooBig: the header of the message is longer than allowed.
	ErrHeaderTooBig = errors.New("header too big")
	// ErrLineTooLong: a line of the message is longer than allowed.
	ErrLineTooLong = errors.New("line too long")
	// ErrBareControl: a bare CR, a bare LF or a NUL in the message.
	ErrBareControl = errors.New("bare CR, bare LF or NUL in the message")
	// ErrTooManyHops: too many Received fields.
	ErrTooManyHops = errors.New("too many hops")
	// ErrLoop: the message was already delivered to this recipient.
	ErrLoop = errors.New("mail loop")
	// ErrHeldBack: this recipient could have the message, but another one must be tried again, and there is one answer
	// for both.
	ErrHeldBack = errors.New("held back with another recipient")
)
