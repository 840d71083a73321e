package msgauth

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"mxbypass/mailbox"
	"mxbypass/relay/header"
	"mxbypass/relay/msgauth/signature"
)

// Bounds of what is looked at. A list adds a signature to those of the author and his provider; nobody needs eight.
const (
	maxSignatures = 8  // that are verified
	maxParsed     = 64 // among which those are chosen
)

// The results of DKIM (RFC 8601 section 2.7.1) that are more than once in this file.
const (
	dkimPass = "pass"
	dkimFail = "fail"
)

// dkimResult is what one signature is worth.
type dkimResult struct {
	value     string
	why       string // printable once it is printed
	domain    mailbox.DomainName
	selector  string
	algorithm string
	identity  string // i=, when it is there
	start     string // of b=, to tell signatures apart (RFC 6008)
}

// candidate is a signature on its way to a result.
type candidate struct {
	dkimResult

	signed *signature.Message // nil: it cannot be verified, and the result says why
	key    signature.Key
	keyErr error
}

// checkDKIM verifies the signatures of a message (RFC 6376 section 6.1): those in the name of the From domains first, as
// they decide. left is how many were not looked at. The error is that of reading the body.
func (c *Checker) checkDKIM(ctx context.Context, h *header.Header, from []mailbox.DomainName) (
	results []dkimResult, left int, err error,
) {
	fields := h.All("DKIM-Signature")
	if len(fields) == 0 {
		return nil, 0, nil
	}
	var all []*candidate
	for _, f := range fields[:min(len(fields), maxParsed)] {
		all = append(all, parseDKIM(f, c.o.Now()))
	}
	slices.SortStableFunc(all, func(a, b *candidate) int { return rank(a, from) - rank(b, from) })
	all = all[:min(len(all), maxSignatures)]

	var keys sync.WaitGroup
	var forms []signature.Form
	for _, s := range all {
		if s.signed == nil {
			continue
		}
		forms = append(forms, s.signed.Body)
		keys.Go(func() {
			s.key, s.keyErr = signature.FindKey(ctx, c.o.Lookup.TXT, s.signed.Selector, s.signed.Domain)
		})
	}
	var bodies map[signature.Form][]byte
	if len(forms) > 0 {
		bodies, err = signature.BodyHashes(h.Body(), forms...)
	}
	keys.Wait()
	if err != nil {
		return nil, 0, err
	}
	signed := signature.NewFields(h.Fields)
	for _, s := range all {
		s.verify(bodies, signed)
		results = append(results, s.dkimResult)
	}
	return results, len(fields) - len(all), nil
}

// rank puts signatures of the From domains, or of others in their organisation as far as the names tell, before those of
// strangers, and these before what is no signature.
func rank(s *candidate, from []mailbox.DomainName) int {
	if s.signed == nil {
		return 2
	}
	for _, d := range from {
		if s.domain == d || below(s.domain.ASCII(), d.ASCII()) || below(d.ASCII(), s.domain.ASCII()) {
			return 0
		}
	}
	return 1
}

func below(name, parent string) bool { return strings.HasSuffix(name, "."+parent) }

// parseDKIM reads one field.
func parseDKIM(f header.Field, now time.Time) *candidate {
	m, err := signature.ParseMessage(f, now)
	if err != nil {
		s := &candidate{dkimResult: dkimResult{value: "neutral", why: err.Error()}}
		if errors.Is(err, signature.ErrPolicy) {
			s.value = "policy"
		}
		return s
	}
	s := &candidate{signed: m}
	s.selector, s.algorithm = m.Selector, m.Algorithm
	if s.domain, err = mailbox.ParseDomainName(m.Domain); err == nil {
		err = s.own(m.Tags)
	}
	if err != nil {
		s.signed, s.value, s.why = nil, "permerror", err.Error()
	}
	return s
}

// own reads the tags that are those of DKIM alone.
func (s *candidate) own(tags signature.Tags) error {
	if v, _ := tags.Get("v"); v != "1" {
		return errors.New("v= is not 1")
	}
	q, limited := tags.Get("q")
	if limited && !slices.Contains(strings.Split(strings.ReplaceAll(q, " ", ""), ":"), "dns/txt") {
		return errors.New("q= names no way to the key that is known")
	}
	b, _ := tags.Get("b")
	b = strings.Join(strings.Fields(b), "")
	s.start = b[:min(len(b), 8)]
	i, there := tags.Get("i")
	if !there {
		return nil
	}
	name, err := identityDomain(i)
	if err != nil || name != s.domain && !below(name.ASCII(), s.domain.ASCII()) {
		return errors.New("i= is not of the domain of d=")
	}
	s.identity = i
	return nil
}

// identityDomain gives the domain of an i= tag, which may have no local part.
func identityDomain(i string) (mailbox.DomainName, error) {
	return mailbox.ParseDomainName(i[strings.LastIndexByte(i, '@')+1:])
}

// verify gives the result of a signature that was read.
func (s *candidate) verify(bodies map[signature.Form][]byte, fields signature.Fields) {
	if s.signed == nil {
		return
	}
	if s.keyErr != nil {
		s.value, s.why = keyFailure(s.keyErr), s.keyErr.Error()
		return
	}
	if s.identity != "" && s.key.Strict {
		if name, err := identityDomain(s.identity); err != nil || name != s.domain {
			s.value, s.why = "permerror", "the key is not for subdomains"
			return
		}
	}
	if !s.signed.Fits(bodies[s.signed.Body]) {
		s.value, s.why = dkimFail, "the body has changed"
		return
	}
	if err := s.signed.Verify(s.key, s.signed.Hash(fields)); err != nil {
		s.value, s.why = dkimFail, fmt.Sprintf("the header has changed, or the key: %v", err)
		return
	}
	s.value = dkimPass
}

func keyFailure(err error) string {
	switch {
	case errors.Is(err, signature.ErrTemporary):
		return "temperror"
	case errors.Is(err, signature.ErrPolicy):
		return "policy"
	}
	return "permerror"
}
