package signature

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"mxbypass/mailbox"
	"mxbypass/relay/header"
)

// Signature is a field that signs something.
type Signature struct {
	Tags      Tags
	Algorithm string // a=
	Domain    string // d=, in A-labels
	Selector  string // s=, in A-labels

	raw   []byte
	value []byte // b=
	blank span   // where it stands in raw
}

// Parse reads what every signature has: a=, b=, d=, s=. The error wraps [ErrInvalid].
func Parse(f header.Field) (*Signature, error) {
	colon := slices.Index(f.Raw, ':')
	if colon < 0 {
		return nil, fmt.Errorf("%w: no field", ErrInvalid)
	}
	tags, err := ParseTags(f.Raw[colon+1:])
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	s := &Signature{Tags: tags, raw: f.Raw}
	if s.Algorithm, err = s.need("a"); err != nil {
		return nil, err
	}
	if s.Algorithm != RSA && s.Algorithm != Ed25519 {
		return nil, fmt.Errorf("%w: %w: the algorithm %q", ErrInvalid, ErrPolicy, s.Algorithm)
	}
	if s.Domain, err = s.name("d"); err != nil {
		return nil, err
	}
	if s.Selector, err = s.name("s"); err != nil {
		return nil, err
	}
	if s.value, err = s.base64("b"); err != nil {
		return nil, err
	}
	s.blank, _ = tags.span("b")
	s.blank.start += colon + 1
	s.blank.end += colon + 1
	if _, _, err := s.Time("t"); err != nil {
		return nil, err
	}
	return s, nil
}

// need gives the value of a tag that must be there.
func (s *Signature) need(tag string) (string, error) {
	v, _ := s.Tags.Get(tag)
	if v == "" {
		return "", fmt.Errorf("%w: no %s=", ErrInvalid, tag)
	}
	return v, nil
}

func (s *Signature) name(tag string) (string, error) {
	v, err := s.need(tag)
	if err != nil {
		return "", err
	}
	name, err := mailbox.ParseDomainName(v)
	if err != nil {
		return "", fmt.Errorf("%w: %s=: %w", ErrInvalid, tag, err)
	}
	return name.ASCII(), nil
}

func (s *Signature) base64(tag string) ([]byte, error) {
	v, err := s.need(tag)
	if err != nil {
		return nil, err
	}
	octets, err := base64.StdEncoding.Strict().DecodeString(bare(v))
	if err != nil {
		return nil, fmt.Errorf("%w: %s= is not base64", ErrInvalid, tag)
	}
	return octets, nil
}

// maxDigits of a time (RFC 6376 section 3.5: at least up to the year 200,000).
const maxDigits = 12

// Time gives a time tag, and whether it is there. The error wraps [ErrInvalid].
func (s *Signature) Time(tag string) (time.Time, bool, error) {
	v, ok := s.Tags.Get(tag)
	if !ok {
		return time.Time{}, false, nil
	}
	n, err := strconv.ParseUint(v, 10, 63)
	if err != nil || len(v) > maxDigits {
		return time.Time{}, false, fmt.Errorf("%w: %s= is no time", ErrInvalid, tag)
	}
	return time.Unix(int64(n), 0), true, nil
}

// Sum hashes what the signature is over: the text before it, and the field itself as it is signed: without the value of
// b= (RFC 6376 section 3.7), without a last CRLF. What is behind the text in its array is lost.
func (s *Signature) Sum(text []byte, form Form) []byte {
	raw := slices.Concat(s.raw[:s.blank.start], s.raw[s.blank.end:])
	sum := sha256.Sum256(endless(AppendField(text, raw, form)))
	return sum[:]
}

func endless(field []byte) []byte {
	if n := len(field); n >= 2 && field[n-2] == '\r' && field[n-1] == '\n' {
		return field[:n-2]
	}
	return field
}

// Verify checks the signature of what was hashed with a key. The error wraps [ErrInvalid].
func (s *Signature) Verify(k Key, hashed []byte) error { return k.Verify(s.Algorithm, hashed, s.value) }

// Message is a signature over a message: DKIM-Signature, ARC-Message-Signature.
type Message struct {
	Signature
	Fields   []string // h=, lower case
	Header   Form     // c=
	Body     Form
	BodyHash []byte // bh=
}

// ParseMessage reads a signature over a message that holds at that time. The error wraps [ErrInvalid]; so does that about
// l=, because anything could stand behind the part of the body that is signed.
func ParseMessage(f header.Field, now time.Time) (*Message, error) {
	s, err := Parse(f)
	if err != nil {
		return nil, err
	}
	m := &Message{Signature: *s}
	if m.BodyHash, err = m.base64("bh"); err != nil {
		return nil, err
	}
	fields, err := m.need("h")
	if err != nil {
		return nil, err
	}
	m.Fields = list(strings.ToLower(fields))
	if err := m.forms(); err != nil {
		return nil, err
	}
	expires, limited, err := m.Time("x")
	_, partial := m.Tags.Get("l")
	switch {
	case err != nil:
		return nil, err
	case !slices.Contains(m.Fields, "from"):
		return nil, fmt.Errorf("%w: From is not signed", ErrInvalid)
	case limited && now.After(expires):
		return nil, fmt.Errorf("%w: it has expired", ErrInvalid)
	case partial:
		return nil, fmt.Errorf("%w: %w: only a part of the body is signed", ErrInvalid, ErrPolicy)
	}
	return m, nil
}

// forms reads c=: one form for header and body, either of which may be left out.
func (m *Message) forms() error {
	m.Header, m.Body = Simple, Simple
	c, ok := m.Tags.Get("c")
	if !ok {
		return nil
	}
	first, second, both := strings.Cut(c, "/")
	m.Header = Form(first)
	if both {
		m.Body = Form(second)
	}
	for _, f := range []Form{m.Header, m.Body} {
		if f != Simple && f != Relaxed {
			return fmt.Errorf("%w: c= names no form that is known", ErrInvalid)
		}
	}
	return nil
}

// Hash is what the signature is over: the fields of h= and the signature itself.
func (m *Message) Hash(fields Fields) []byte {
	return m.Sum(fields.appendSigned(nil, m.Fields, m.Header), m.Header)
}

// Fits tells whether the body has that hash.
func (m *Message) Fits(bodyHash []byte) bool {
	return subtle.ConstantTimeCompare(bodyHash, m.BodyHash) == 1
}

// BodyHashes hashes a body in all of the forms at once. The error is that of reading it.
func BodyHashes(body io.Reader, forms ...Form) (map[Form][]byte, error) {
	all := map[Form]*Body{}
	var writers []io.Writer
	for _, f := range forms {
		if all[f] == nil {
			all[f] = NewBody(f, sha256.New())
			writers = append(writers, all[f])
		}
	}
	if err := skipLine(body); err != nil {
		return nil, err
	}
	if _, err := io.Copy(io.MultiWriter(writers...), body); err != nil {
		return nil, fmt.Errorf("body: %w", err)
	}
	sums := map[Form][]byte{}
	for f, b := range all {
		sums[f] = b.Sum()
	}
	return sums, nil
}

// BodyHash gives the value of bh= for a body in that form. The error is that of reading it.
func BodyHash(body io.Reader, form Form) (string, error) {
	sums, err := BodyHashes(body, form)
	return base64.StdEncoding.EncodeToString(sums[form]), err
}

// skipLine passes over the empty line that ends a header.
func skipLine(body io.Reader) error {
	var line [2]byte
	_, err := io.ReadFull(body, line[:])
	if errors.Is(err, io.EOF) {
		return nil // a message without a body
	}
	if err != nil {
		return fmt.Errorf("body: %w", err)
	}
	return nil
}
