// Package srs rewrites the senders of mail that is redirected, and finds back to them: the Sender Rewriting Scheme. The
// server that gets redirected mail asks SPF whether we may send for the domain of the sender; so the sender becomes an
// address in a domain of ours, from which a report goes home.
//
//	SRS0=HASH=TT=domain=local@ours          stands for local@domain
//	SRS1=HASH=other==HASH=TT=domain=local@ours  stands for SRS0=HASH=TT=domain=local@other
//
// HASH is 40 bits of an HMAC-SHA-256 over all that follows it, TT the day on which it was made: both in base 32, so that
// a server on the way that folds the case of a local part does no harm. The second form keeps addresses short when
// another one has rewritten before us; a report then goes to that one, who knows how to go on, and who says how long: the
// second form has no day of its own. The separator after SRS0 and SRS1 may come back as "-" or "+", as some have it.
//
// The forms are those of libsrs2 and Mail::SRS, and so of postsrsd and Exim, which pass each other over in chains by them.
// What stands in HASH and TT is for their maker alone to read: ours are longer, and not case-sensitive as theirs are.
package srs

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"errors"
	"fmt"
	"strings"
	"time"

	"mxbypass/mailbox"
	"mxbypass/routing"
)

const (
	// MinKey is the least length of a key in octets.
	MinKey = 16
	// DefaultMaxAge is how long a rewritten address is honoured: longer than any server tries to deliver a report.
	DefaultMaxAge = 21 * 24 * time.Hour

	hashSize = 5    // octets; 8 characters
	days     = 1024 // after so many the day begins again: two characters
	day      = 24 * time.Hour
)

// encoding is that of hash and day: RFC 4648 section 6.
var encoding = base32.StdEncoding.WithPadding(base32.NoPadding)

const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"

// Errors of [Rewriter.Forward]: the sender stays as it is.
var (
	// ErrLong: the rewritten local part would be longer than [mailbox.MaxLocalPart].
	ErrLong = errors.New("the rewritten sender would be too long")
	// ErrNotRewritable: a null sender, one of the rewritten addresses' own domain, or one that has no domain name.
	ErrNotRewritable = errors.New("this sender is not rewritten")
)

// Options of a rewriter.
type Options struct {
	Domain mailbox.DomainName // of the rewritten addresses
	Keys   [][]byte           // the first one signs, all of them verify
	MaxAge time.Duration      // zero: DefaultMaxAge
	Now    func() time.Time   // nil: time.Now
}

// Rewriter rewrites senders. It is safe for concurrent use and never changes.
type Rewriter struct{ o Options }

var _ routing.Returner = (*Rewriter)(nil)

// New makes a rewriter. The error says what is wrong with the options.
func New(o Options) (*Rewriter, error) {
	switch {
	case o.Domain.IsZero() || o.Domain.IsLiteral():
		return nil, errors.New("SRS: the domain must be a name")
	case len(o.Keys) == 0:
		return nil, errors.New("SRS: no key")
	case o.MaxAge < 0 || o.MaxAge > days/2*day:
		return nil, fmt.Errorf("SRS: an age must be between zero and %d days", days/2)
	}
	for _, k := range o.Keys {
		if len(k) < MinKey {
			return nil, fmt.Errorf("SRS: a key has %d octets, at least %d are needed", len(k), MinKey)
		}
	}
	if o.MaxAge == 0 {
		o.MaxAge = DefaultMaxAge
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Rewriter{o}, nil
}

// Domain is that of the rewritten addresses.
func (r *Rewriter) Domain() mailbox.DomainName { return r.o.Domain }

// Forward gives the address that stands for a sender. The error wraps [ErrLong] or [ErrNotRewritable].
func (r *Rewriter) Forward(sender mailbox.Address) (mailbox.Address, error) {
	if sender.IsNull() || sender.Domain.IsZero() || sender.Domain.IsLiteral() || sender.Domain == r.o.Domain {
		return mailbox.Address{}, fmt.Errorf("%s: %w", sender, ErrNotRewritable)
	}
	local, domain := string(sender.Local), sender.Domain.ASCII()
	form, signed := "SRS0=", r.stamp()+"="+domain+"="+local
	// Of others' addresses only the usual spelling is known: what was folded on the way is an address like any other.
	if rest, ok := strings.CutPrefix(local, "SRS0"); ok && cutSeparator(rest) != "" {
		form, signed = "SRS1=", domain+"="+rest // the separator that it had is kept: only its maker can read it
	} else if host, opaque, ok := foreign(local); ok {
		// The maker of an SRS1 is passed over, the first one stays. When that is us, the address is ours already.
		first := mailbox.Address{Local: mailbox.LocalPart("SRS0" + opaque), Domain: r.o.Domain}
		if host != r.o.Domain {
			form, signed = "SRS1=", host.ASCII()+"="+opaque
		} else if _, err := r.Reverse(first.Local); err == nil {
			return first, nil
		}
	}
	a := mailbox.Address{Local: mailbox.LocalPart(form + sum(r.o.Keys[0], signed) + "=" + signed), Domain: r.o.Domain}
	if len(a.Local) > mailbox.MaxLocalPart {
		return mailbox.Address{}, fmt.Errorf("%s: %w", sender, ErrLong)
	}
	return a, nil
}

// foreign takes an SRS1 of somebody else apart: who has rewritten first, and what stood after SRS0 there.
func foreign(local string) (host mailbox.DomainName, opaque string, ok bool) {
	rest, ok := strings.CutPrefix(local, "SRS1")
	if !ok || cutSeparator(rest) == "" {
		return host, "", false
	}
	_, rest, _ = strings.Cut(rest[1:], "=")
	name, opaque, _ := strings.Cut(rest, "=")
	host, err := mailbox.ParseDomainName(name)
	return host, opaque, err == nil && cutSeparator(opaque) != ""
}

// Reverse implements [routing.Returner].
func (r *Rewriter) Reverse(local mailbox.LocalPart) (mailbox.Address, error) {
	zero, one := cutForm(string(local), "SRS0"), cutForm(string(local), "SRS1")
	if zero == "" && one == "" {
		return mailbox.Address{}, routing.ErrNotRewritten
	}
	hash, signed, ok := strings.Cut((zero + one)[1:], "=")
	if !ok || !r.signed(hash, signed) {
		return mailbox.Address{}, fmt.Errorf("%w: it was not made here", routing.ErrBadReturn)
	}
	if one != "" {
		host, opaque, _ := strings.Cut(signed, "=")
		return address("SRS0"+opaque, host)
	}
	stamp, rest, _ := strings.Cut(signed, "=")
	if !r.fresh(stamp) {
		return mailbox.Address{}, fmt.Errorf("%w: it is too old", routing.ErrBadReturn)
	}
	host, user, _ := strings.Cut(rest, "=")
	return address(user, host)
}

// address makes an address of what was signed. It was one when it was signed; on the way its case may have been folded.
func address(local, domain string) (mailbox.Address, error) {
	l, err := mailbox.ParseLocalPart(local)
	if err != nil {
		return mailbox.Address{}, fmt.Errorf("%w: %v", routing.ErrBadReturn, err)
	}
	d, err := mailbox.ParseDomainName(domain)
	if err != nil || l == "" {
		return mailbox.Address{}, fmt.Errorf("%w: no address", routing.ErrBadReturn)
	}
	return mailbox.Address{Local: l, Domain: d}, nil
}

// cutForm gives what follows "SRS0" or "SRS1", with its separator; empty when local does not start so.
func cutForm(local, form string) string {
	if len(local) < len(form) || !strings.EqualFold(local[:len(form)], form) {
		return ""
	}
	return cutSeparator(local[len(form):])
}

// cutSeparator gives s when it starts with a separator that something follows.
func cutSeparator(s string) string {
	if len(s) < 2 || strings.IndexByte("=-+", s[0]) < 0 {
		return ""
	}
	return s
}

// sum signs. The case of letters makes no difference, because servers on the way may change it.
func sum(key []byte, signed string) string {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(strings.ToLower(signed)))
	return encoding.EncodeToString(h.Sum(nil)[:hashSize])
}

func (r *Rewriter) signed(hash, signed string) bool {
	ok := 0
	for _, k := range r.o.Keys {
		ok |= subtle.ConstantTimeCompare([]byte(strings.ToUpper(hash)), []byte(sum(k, signed)))
	}
	return ok == 1
}

func (r *Rewriter) today() int { return int(r.o.Now().Unix() / int64(day/time.Second) % days) }

func (r *Rewriter) stamp() string {
	n := r.today()
	return string([]byte{alphabet[n>>5], alphabet[n&31]})
}

// fresh tells whether a stamp is not too old. One of tomorrow is taken: clocks differ.
func (r *Rewriter) fresh(stamp string) bool {
	if len(stamp) != 2 {
		return false
	}
	stamp = strings.ToUpper(stamp)
	high, low := strings.IndexByte(alphabet, stamp[0]), strings.IndexByte(alphabet, stamp[1])
	if high < 0 || low < 0 {
		return false
	}
	age := (r.today() - (high<<5 | low) + days) % days
	return age == days-1 || time.Duration(age)*day <= r.o.MaxAge
}
