package smtpclient

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"mxbypass/mailbox"
)

// Mail is what one transaction carries.
type Mail struct {
	Message *mailbox.Message
	Trace   []byte // header fields on top of the content, each with CRLF
	To      []Rcpt
	Known   *Octets // what is known of the content; nil: it is looked at where it must be, and 8 bits are sent to everybody

	// RequireTLS says REQUIRETLS in MAIL (RFC 8689). That the server is known for sure is the caller's promise; one that
	// does not announce it under TLS is not given the message ([ErrRequireTLS]).
	RequireTLS bool
}

// Rcpt is one recipient of a transaction.
type Rcpt struct {
	Address mailbox.Address
	Report  mailbox.Report // passed on to a server that knows DSN (RFC 3461)
}

// Octets says what a message needs to travel.
type Octets struct {
	EightBit   bool // 8BITMIME: not given to a server that does not announce it
	UTF8Header bool // SMTPUTF8
}

// fit looks whether the server can have the message as it is, and tells so for recipients whose address it cannot have.
func (t *Transaction) fit() error {
	c, m, known := t.c, t.mail.Message, t.mail.Known
	if t.mail.RequireTLS && !c.KeepsTLS() {
		return fmt.Errorf("%s: %w", c.opts.Host, ErrRequireTLS)
	}
	if size := t.size(); c.maxSize > 0 && size > c.maxSize { // RFC 1870 section 6.1
		return fmt.Errorf("%s: %w: %d octets are more than %d", c.opts.Host, ErrTooBig, size, c.maxSize)
	}
	if !c.Announces("SMTPUTF8") {
		if needed, err := needsUTF8(m, known); err != nil {
			return fmt.Errorf("%w: %w", ErrContent, err)
		} else if needed {
			return fmt.Errorf("%s: %w", c.opts.Host, mailbox.ErrNoUTF8)
		}
		for i, to := range t.mail.To {
			if to.Address.NeedsUTF8() {
				t.results[i] = fmt.Errorf("%s: %w", c.opts.Host, mailbox.ErrNoUTF8)
			}
		}
	}
	if known != nil && known.EightBit && !c.Announces("8BITMIME") { // RFC 6152 section 3
		return fmt.Errorf("%s: %w", c.opts.Host, ErrEightBit)
	}
	return nil
}

// size is that of the message as RFC 1870 section 3 has it: without stuffed dots.
func (t *Transaction) size() int64 { return t.mail.Message.Content.Size() + int64(len(t.mail.Trace)) }

// appendMail appends the MAIL command with the parameters that the server knows.
func (t *Transaction) appendMail(p []byte) []byte {
	m, c, known := t.mail.Message, t.c, t.mail.Known
	p = append(p, "MAIL FROM:<"...)
	p = append(p, m.Reverse.Wire()...)
	p = append(p, '>')
	if c.Announces("SIZE") {
		p = append(p, " SIZE="...)
		p = strconv.AppendInt(p, t.size(), 10)
	}
	if (known == nil || known.EightBit) && c.Announces("8BITMIME") {
		p = append(p, " BODY=8BITMIME"...)
	}
	if c.Announces("SMTPUTF8") && t.wantsUTF8() {
		p = append(p, " SMTPUTF8"...)
	}
	if t.mail.RequireTLS {
		p = append(p, " REQUIRETLS"...)
	}
	if c.Announces("DSN") { // RFC 3461 sections 4.3 and 4.4
		p = appendParameter(p, " RET=", string(m.Return))
		p = appendParameter(p, " ENVID=", m.EnvelopeID)
	}
	return append(p, "\r\n"...)
}

// wantsUTF8 tells whether the transaction is one of SMTPUTF8 where that can be had: the client had it so, or an address
// of this part of the way needs it.
func (t *Transaction) wantsUTF8() bool {
	return t.mail.Message.UTF8 || slices.ContainsFunc(t.mail.To, func(to Rcpt) bool { return to.Address.NeedsUTF8() })
}

func (t *Transaction) appendRcpt(p []byte, to Rcpt) []byte {
	p = append(p, "RCPT TO:<"...)
	p = append(p, to.Address.Wire()...)
	p = append(p, '>')
	if to.Report != (mailbox.Report{}) && t.c.Announces("DSN") { // RFC 3461 sections 4.1 and 4.2
		p = appendParameter(p, " NOTIFY=", notifyWord(to.Report.Notify))
		p = appendParameter(p, " ORCPT=", to.Report.Original)
	}
	return append(p, "\r\n"...)
}

// appendParameter appends a parameter that has a value. One that would end the command, or begin another parameter,
// is left out: such values are checked when they are read, but they come by many ways.
func appendParameter(p []byte, name, value string) []byte {
	if value == "" || strings.ContainsFunc(value, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return p
	}
	return append(append(p, name...), value...)
}

// notifyWord writes NOTIFY; empty: the client did not say.
func notifyWord(n mailbox.Notify) string {
	if n&mailbox.NotifyNever != 0 {
		return "NEVER"
	}
	var words []string
	for _, w := range []struct {
		flag mailbox.Notify
		word string
	}{{mailbox.NotifySuccess, "SUCCESS"}, {mailbox.NotifyFailure, "FAILURE"}, {mailbox.NotifyDelay, "DELAY"}} {
		if n&w.flag != 0 {
			words = append(words, w.word)
		}
	}
	return strings.Join(words, ",")
}

// needsUTF8 tells whether the message can only travel with SMTPUTF8 (RFC 6531 section 3.4), whatever its recipients:
// the client asked for it, and the sender or the header is not ASCII.
func needsUTF8(m *mailbox.Message, known *Octets) (bool, error) {
	switch {
	case !m.UTF8:
		return false, nil
	case m.Reverse.NeedsUTF8():
		return true, nil
	case known != nil:
		return known.UTF8Header, nil
	}
	s := headerScan{}
	err := copyContent(&s, m.Content)
	if s.done {
		return s.found, nil
	}
	return s.found, err
}
