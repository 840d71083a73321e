package arc

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"mxbypass/mailbox"
	"mxbypass/relay/header"
	"mxbypass/relay/msgauth/signature"
)

// Validate validates the chain of a message as it came in (RFC 8617 section 5.2). h is its header as it was read. It asks
// for each key once: at most two for each set, one after the other, and no further than to the first that fails.
func Validate(ctx context.Context, h *header.Header, lookupTXT signature.Lookup) Chain {
	return validate(ctx, h, lookupTXT, time.Now())
}

func validate(ctx context.Context, h *header.Header, lookupTXT signature.Lookup, now time.Time) Chain {
	all, err := collect(h.Fields)
	c := Chain{Status: Fail, Instances: all.highest}
	switch {
	case err == nil && all.highest == 0:
		c.Status = None
		return c
	case all.ended:
		err = fmt.Errorf("%w: its newest seal says that it was broken already", errBroken)
	case err == nil:
		v := validator{ctx: ctx, lookup: lookupTXT, header: h, sets: all.sets, keys: map[string]keyAnswer{}}
		if err = v.validate(now); err == nil {
			v.passed(&c)
			return c
		}
	}
	c.Reason = mailbox.Printable(err.Error())
	if len(c.Reason) > maxReason {
		c.Reason = strings.ToValidUTF8(c.Reason[:maxReason], "") + "..."
	}
	c.Temporary = errors.Is(err, signature.ErrTemporary) || errors.Is(err, errUnreadable)
	return c
}

// maxReason bounds what is said about text of others.
const maxReason = 250

// errUnreadable: the message cannot be read.
var errUnreadable = errors.New("the message cannot be read now")

// validator validates one chain that is there in full.
type validator struct {
	ctx    context.Context // that of the call, which it does not outlive
	lookup signature.Lookup
	header *header.Header
	fields signature.Fields
	sets   []set
	bodies map[signature.Form][]byte // hashes
	keys   map[string]keyAnswer      // by name
}

type keyAnswer struct {
	key signature.Key
	err error
}

func (v *validator) validate(now time.Time) error {
	var forms []signature.Form
	for i := range v.sets {
		s := &v.sets[i]
		if err := s.parse(i+1, now); err != nil {
			return err
		}
		if s.ams != nil {
			forms = append(forms, s.ams.Body)
		}
	}
	var err error
	if v.bodies, err = signature.BodyHashes(v.header.Body(), forms...); err != nil {
		return fmt.Errorf("%w: %w", errUnreadable, err)
	}
	v.fields = signature.NewFields(v.header.Fields)
	if err := v.message(len(v.sets)); err != nil {
		return err
	}
	hashes := sealedHashes(v.sets)
	for i := len(v.sets); i > 0; i-- {
		if err := v.seal(i, hashes[i-1]); err != nil {
			return err
		}
	}
	return nil
}

// message checks the message signature of an instance.
func (v *validator) message(instance int) error {
	s := v.sets[instance-1].ams
	if s == nil {
		return fmt.Errorf("signature of instance %d: %w", instance, v.sets[instance-1].amsErr)
	}
	if !s.Fits(v.bodies[s.Body]) {
		return fmt.Errorf("signature of instance %d (%s): %w: the body has changed", instance, s.Domain, signature.ErrInvalid)
	}
	key, err := v.key(&s.Signature)
	if err == nil {
		err = s.Verify(key, s.Hash(v.fields))
	}
	if err != nil {
		return fmt.Errorf("signature of instance %d (%s): %w", instance, s.Domain, err)
	}
	return nil
}

// seal checks the seal of an instance, which is over that hash.
func (v *validator) seal(instance int, hashed []byte) error {
	s := v.sets[instance-1].as
	key, err := v.key(s)
	if err == nil {
		err = s.Verify(key, hashed)
	}
	if err != nil {
		return fmt.Errorf("seal of instance %d (%s): %w", instance, s.Domain, err)
	}
	return nil
}

func (v *validator) key(s *signature.Signature) (signature.Key, error) {
	name := signature.Name(s.Selector, s.Domain)
	a, asked := v.keys[name]
	if !asked {
		a.key, a.err = signature.FindKey(v.ctx, v.lookup, s.Selector, s.Domain)
		v.keys[name] = a
	}
	return a.key, a.err
}

// passed tells what a chain that passes says.
func (v *validator) passed(c *Chain) {
	c.Status = Pass
	for i := len(v.sets); i > 0; i-- {
		c.Sealers = append(c.Sealers, v.sets[i-1].as.Domain)
	}
	c.Results = v.sets[len(v.sets)-1].payload
	for i := len(v.sets) - 1; i > 0; i-- {
		if v.message(i) != nil {
			c.OldestPass = i + 1
			return
		}
	}
}
