// Package dnslist asks lists of addresses in DNS (RFC 5782) about a client: those that tell of bad ones, and those that
// tell of good ones.
//
// All lists are asked at the same time, when the client connects, while it is still being greeted. The answer is needed
// with the first recipient; by then it is usually there. A list that does not answer in time, or fails, is as if it had
// not been asked, and never keeps mail from anybody: it is said in the log. While a list of good clients has not
// answered, nobody is refused, as he may be on it.
//
// An address is listed when the answer is one of the list's codes. Unless they are given, these are the addresses of
// 127.0.0.0/8 without those by which lists say that they do not serve us: 127.0.0.1 (which no list gives, RFC 5782
// section 2.1), 127.0.0.255, 127.255.255.0/24. An answer from elsewhere comes from a domain that has been sold, or from
// a resolver that knows better, and counts as a failure.
package dnslist
