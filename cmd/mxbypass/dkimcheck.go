package main

import (
	"context"
	"errors"
	"fmt"

	"mxbypass/relay/msgauth/signature"
)

// What DNS has of a key.
const (
	publishedYes     = "yes"
	publishedNo      = "no"
	publishedOther   = "another key"
	publishedUnknown = "unknown, DNS does not answer"
)

// checkKeys asks DNS for the records of keys, and notes what it has. The error tells that a key which signs cannot be
// verified by anybody, or that DNS did not tell.
func (a *app) checkKeys(ctx context.Context, keys []marked) error {
	c, err := a.loadConfig()
	if err != nil {
		return err
	}
	lookups, err := openLookup(c)
	if err != nil {
		return exit(exitConfig, err)
	}
	var wrong, unknown []error
	for i := range keys {
		k := &keys[i]
		if k.published, err = publication(ctx, lookups.TXT, k); err != nil {
			unknown = append(unknown, err)
		} else if k.signs && k.published != publishedYes {
			wrong = append(wrong, fmt.Errorf("%s signs, but is not in DNS at %s: %s", k.Selector, k.Name(), k.published))
		}
	}
	switch {
	case len(wrong) > 0:
		return exit(exitRefused, errors.Join(append(wrong, unknown...)...))
	case len(unknown) > 0:
		return exit(exitTemporary, errors.Join(unknown...))
	}
	return nil
}

func publication(ctx context.Context, lookup signature.Lookup, k *marked) (string, error) {
	own, err := signature.ParseKey(k.Record())
	if err != nil {
		return publishedUnknown, fmt.Errorf("%s: %w", k.Selector, err)
	}
	found, err := signature.FindKey(ctx, lookup, k.Selector, k.Domain.ASCII())
	switch {
	case errors.Is(err, signature.ErrTemporary):
		return publishedUnknown, err
	case err != nil:
		return publishedNo, nil //nolint:nilerr // what is there is no key: as good as nothing
	case !found.Equal(own):
		return publishedOther, nil
	}
	return publishedYes, nil
}
