package signature

import (
	"crypto"
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"strings"
)

// Draft is a field that signs something and is not yet signed.
type Draft struct{ text []byte }

// lineLength is what lines are folded at: 78 (RFC 5322 section 2.1.1) and no less where one word is longer.
const lineLength = 78

// NewDraft makes a field with those tags and an empty b= at their end. Values are folded at their colons.
func NewDraft(name string, tags []Tag) Draft {
	text := []byte(name + ":")
	length := len(text)
	put := func(word string, space string) {
		if length+len(space)+len(word) > lineLength {
			text, length, space = append(text, "\r\n\t"...), 1, ""
		}
		text = append(append(text, space...), word...)
		length += len(space) + len(word)
	}
	for _, t := range slices.Concat(tags, []Tag{{"b", ""}}) {
		words := strings.SplitAfter(t.Name+"="+t.Value, ":")
		if t.Name != "b" {
			words[len(words)-1] += ";"
		}
		for i, word := range words {
			if i == 0 {
				put(word, " ")
				continue
			}
			put(word, "")
		}
	}
	return Draft{text}
}

// Sign gives the field, with CRLF, signed with what comes before it: the text in its form, and the field itself, relaxed.
func (d Draft) Sign(key crypto.Signer, before []byte) ([]byte, error) {
	sum := sha256.Sum256(endless(AppendField(before, d.text, Relaxed)))
	value, err := sign(key, sum[:])
	if err != nil {
		return nil, err
	}
	text := slices.Clip(d.text)
	for rest := base64.StdEncoding.EncodeToString(value); rest != ""; {
		n := min(len(rest), lineLength-2)
		text = append(append(text, "\r\n\t"...), rest[:n]...)
		rest = rest[n:]
	}
	return append(text, "\r\n"...), nil
}

// SignMessage gives the field signed over a message: the fields of names, relaxed, in their order from the bottom up.
// Its tags must say so.
func (d Draft) SignMessage(key crypto.Signer, fields Fields, names []string) ([]byte, error) {
	return d.Sign(key, fields.appendSigned(nil, names, Relaxed))
}
