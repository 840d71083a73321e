// Package dsn writes delivery status notifications (RFC 3464, RFC 6533).
//
// A notification is a multipart/report (RFC 6522) of three parts: what happened, in words for the sender; the same in
// fields for programs, message/delivery-status; and what the sender needs to know its message again, message/rfc822 or
// text/rfc822-headers. Where an address is not ASCII the second part is message/global-delivery-status, where the
// original's header is not ASCII the third is message/global or message/global-headers.
//
// How much comes back: a report of failure has the whole message when RET=FULL asked for it, up to [MaxFull]; the header
// when RET=HDRS did; and when the client did not say, the whole message up to [MaxUnasked]. All other reports have the
// header (RFC 3461 section 4.3). Where less comes back than was asked for, the words say so.
//
// The original is not touched and never in memory as a whole: it is looked over once while the notification is composed
// (where its header ends, whether it is ASCII), and read again, each time that the notification is read.
//
// Nothing that is reported on is trusted: words of other servers, ENVID, ORCPT and the original itself may be hostile.
// A value is one line, bounded, without controls; what the sender must find again unchanged (its envelope id, its
// recipient) is left out or left in its encoded form when it cannot stand in a field. The boundary has 130 random bits,
// so that nothing that was written before can hold it.
//
// Notifications have a null reverse-path and are marked as automatic (RFC 3834), and none is composed about a message
// with a null reverse-path.
package dsn
