// Package arc validates and extends the Authenticated Received Chain of a message (RFC 8617).
//
// Everybody who hands a message on can add a set of three fields: what he found out about it (ARC-Authentication-Results),
// a signature over the message as he saw it (ARC-Message-Signature), and a seal over all sets (ARC-Seal). So the last one
// can know what the first one saw before anybody changed the message, as far as he believes those between.
//
// Sets are numbered from 1, at most 50. A chain is whole (pass), broken (fail), or not there (none). What is wrong with
// one field breaks the whole chain; only that DNS did not answer is told apart, because it says nothing about the chain.
package arc
