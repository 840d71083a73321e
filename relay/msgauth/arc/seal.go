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
	results, err := resultsField(in.Results, instance)
	if err != nil {
		return nil, err
	}
	next := set{results: results}
	if next.signature, err = sign(h, in, instance); err != nil {
		return nil, fmt.Errorf("ARC: %w", err)
	}
	raw, err := seal(in, instance, append(slices.Clip(all.sets), next))
	if err != nil {
		return nil, fmt.Errorf("ARC: %w", err)
	}
	return bytes.Join([][]byte{raw, next.signature.Raw, next.results.Raw}, nil), nil
}

// resultsField makes ARC-Authentication-Results.
func resultsField(payload string, instance int) (header.Field, error) {
	payload = strings.Trim(payload, " \t\r\n")
	if plain := strings.NewReplacer("\r\n ", " ", "\r\n\t", " ").Replace(payload); strings.ContainsAny(plain, "\r\n") {
		return header.Field{}, errors.New("ARC: the results do not make one field")
	}
	return header.NewField(ResultsField, fmt.Sprintf("i=%d; %s", instance, payload)), nil
}

// sign makes ARC-Message-Signature.
func sign(h *header.Header, in SealInput, instance int) (header.Field, error) {
	body, err := signature.BodyHash(h.Body(), signature.Relaxed)
	if err != nil {
		return header.Field{}, err
	}
	draft := signature.NewDraft(SignatureField, []signature.Tag{
		{Name: "i", Value: strconv.Itoa(instance)},
		{Name: "a", Value: signature.Algorithm(in.Key)},
		{Name: "c", Value: "relaxed/relaxed"},
		{Name: "d", Value: in.Domain},
		{Name: "s", Value: in.Selector},
		{Name: "t", Value: strconv.FormatInt(in.Time.Unix(), 10)},
		{Name: "h", Value: strings.Join(in.Fields, ":")},
		{Name: "bh", Value: body},
	})
	raw, err := draft.SignMessage(in.Key, signature.NewFields(h.Fields), in.Fields)
	return header.Field{Name: SignatureField, Raw: raw}, err
}

// seal makes ARC-Seal: over those sets, the last of which is new and has none yet.
func seal(in SealInput, instance int, sets []set) ([]byte, error) {
	draft := signature.NewDraft(SealField, []signature.Tag{
		{Name: "i", Value: strconv.Itoa(instance)},
		{Name: "a", Value: signature.Algorithm(in.Key)},
		{Name: "cv", Value: string(in.Chain.Status)},
		{Name: "d", Value: in.Domain},
		{Name: "s", Value: in.Selector},
		{Name: "t", Value: strconv.FormatInt(in.Time.Unix(), 10)},
	})
	return draft.Sign(in.Key, sealed(sets))
}
