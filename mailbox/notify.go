package mailbox

// Notify says of what the sender wants to be told about one recipient (RFC 3461 section 4.1). The zero value: the client
// did not say; it is told of failures and delays.
type Notify uint8

// What there is to tell. NotifyNever stands alone.
const (
	NotifyNever Notify = 1 << iota
	NotifySuccess
	NotifyFailure
	NotifyDelay
)

// Success tells whether a delivery is to be reported.
func (n Notify) Success() bool { return n&NotifySuccess != 0 }

// Failure tells whether a failure is to be reported.
func (n Notify) Failure() bool { return n == 0 || n&NotifyFailure != 0 }

// Delay tells whether a delay is to be reported.
func (n Notify) Delay() bool { return n == 0 || n&NotifyDelay != 0 }

// WithoutSuccess gives what is left to be told when somebody else reports the delivery.
func (n Notify) WithoutSuccess() Notify {
	if n&NotifySuccess == 0 {
		return n
	}
	if n &^= NotifySuccess; n == 0 {
		return NotifyNever
	}
	return n
}

// Return says how much of the message a report of failure brings back (RFC 3461 section 4.3).
type Return string

// The values of RET.
const (
	ReturnUnset   Return = ""
	ReturnFull    Return = "FULL"
	ReturnHeaders Return = "HDRS"
)

// Report is what the client asked for about reports on one recipient.
type Report struct {
	Notify Notify
	// Original is ORCPT as the client wrote it: address type, ";", xtext (RFC 3461 section 4.2). It is printable ASCII
	// without spaces, checked when it was read. Empty: none.
	Original string
}
