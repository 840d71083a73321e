package arc

import (
	"bytes"
	"crypto"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"mxbypass/relay/header"
	"mxbypass/relay/msgauth/signature"
)

// SealInput is what a new set is made from.
type SealInput struct {
	Results string // the payload of an Authentication-Results field of ours, folded or not: authserv-id; results
	Chain   Chain  // what Validate has said of the message as it came in
	Domain  string // d=, the name in A-labels
	// Selector, Key: the RSA key of the domain, whose public half DNS has.
	Selector string
	Key      crypto.Signer
	Fields   []string  // h=, lower case, "from" among them; see signature.Draft
	Time     time.Time // t=
}

// Seal gives the next set for the message whose header is h, as it is to leave: three fields with CRLF, to be put on top.
// It is nil when there must be no further set: the chain was broken when its last sealer saw it, it is full, nobody could
// find out whether it is whole, or somebody has added to it since (a filter of ours that seals itself).
func Seal(h *header.Header, in SealInput) ([]byte, error) {
	all, err := collect(h.Fields)
	instance := all.highest + 1
	switch {
	case in.Chain.Temporary, all.ended, instance > MaxInstances, all.highest != in.Chain.Instances:
		return nil, nil
	case in.Chain.Status == Pass && err != nil:
		return nil, fmt.Errorf("ARC: the chain has changed since it was validated: %w", err)
	case in.Chain.Status != Pass:
		all.sets = nil // a seal on a broken chain covers its own set only (RFC 8617 section 5.1.2)
	}
	payload := strings.Trim(in.Results, " \t\r\n")
	if plain := strings.NewReplacer("\r\n ", " ", "\r\n\t", " ").Replace(payload); strings.ContainsAny(plain, "\r\n") {
		return nil, errors.New("ARC: the results do not make one field")
	}
	i := strconv.Itoa(instance)
	next := set{results: header.NewField(ResultsField, "i="+i+"; "+payload)}

	algorithm, t := signature.Algorithm(in.Key), strconv.FormatInt(in.Time.Unix(), 10)
	body, err := signature.BodyHash(h.Body(), signature.Relaxed)
	if err != nil {
		return nil, fmt.Errorf("ARC: %w", err)
	}
	draft := signature.NewDraft(SignatureField, []signature.Tag{
		{Name: "i", Value: i},
		{Name: "a", Value: algorithm},
		{Name: "c", Value: "relaxed/relaxed"},
		{Name: "d", Value: in.Domain},
		{Name: "s", Value: in.Selector},
		{Name: "t", Value: t},
		{Name: "h", Value: strings.Join(in.Fields, ":")},
		{Name: "bh", Value: body},
	})
	raw, err := draft.SignMessage(in.Key, signature.NewFields(h.Fields), in.Fields)
	if err != nil {
		return nil, fmt.Errorf("ARC: %w", err)
	}
	next.signature = header.Field{Name: SignatureField, Raw: raw}

	status := in.Chain.Status
	draft = signature.NewDraft(SealField, []signature.Tag{
		{Name: "i", Value: i},
		{Name: "a", Value: algorithm},
		{Name: "cv", Value: string(status)},
		{Name: "d", Value: in.Domain},
		{Name: "s", Value: in.Selector},
		{Name: "t", Value: t},
	})
	raw, err = draft.Sign(in.Key, sealed(append(slices.Clip(all.sets), next)))
	if err != nil {
		return nil, fmt.Errorf("ARC: %w", err)
	}
	return bytes.Join([][]byte{raw, next.signature.Raw, next.results.Raw}, nil), nil
}
