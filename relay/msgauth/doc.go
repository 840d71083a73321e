// Package msgauth finds out where a message from elsewhere comes from, and what the domain in its From field wants done
// with it: SPF (RFC 7208), DKIM (RFC 6376), ARC (RFC 8617), iprev (RFC 8601 section 3) and DMARC (RFC 7489, RFC 9989).
//
// [Checker.Check] asks all of these at once and puts the results into one Authentication-Results field (RFC 8601). What
// the message itself brings of such fields in our name is taken away. [Verdict.For] then says what it means for the mail
// of one hosted domain: nothing ("mark"), or that the message is refused or put aside ("enforce").
//
// # Mail that an upstream hands on
//
// A domain of ours may have its mail taken by somebody else first: its own MX at a provider, which sends on what is for
// us. From there every message comes with an address that no SPF record of its sender knows. So a domain names its
// upstreams, and for their mail
//
//   - SPF is judged for the hop before: the address from which the upstream says, in the Received fields that it wrote,
//     that it had the message; its sender is undone where the upstream has rewritten it (SRS), or taken from Return-Path;
//   - a chain of ARC whose newest sealer we trust, and which passes, says what the message was before it was changed;
//   - what forwarding can have broken (a signature of the From domain that does not fit any more, a hop or a sender that
//     is not known) is not held against the message. What had been without a valid origin already when the upstream took
//     it is put aside at most: refused, it would make the upstream send a report to whoever did not write it.
package msgauth
