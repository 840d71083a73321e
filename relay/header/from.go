package header

import (
	"errors"
	"fmt"
	"net/mail"

	"mxbypass/mailbox"
)

// ErrFrom: there is not exactly one From field, or no addresses can be read in it.
var ErrFrom = errors.New("no valid From field")

// From gives the addresses of the From field (RFC 5322 section 3.6.2). The error wraps [ErrFrom].
func From(h *Header) ([]mailbox.Address, error) {
	fields := h.All("From")
	if len(fields) != 1 {
		return nil, fmt.Errorf("%w: there are %d", ErrFrom, len(fields))
	}
	list, err := mail.ParseAddressList(fields[0].Value())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFrom, err)
	}
	all := make([]mailbox.Address, 0, len(list))
	for _, a := range list {
		p, err := mailbox.ParsePath(a.Address, true)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrFrom, err)
		}
		all = append(all, p.Address)
	}
	return all, nil
}
