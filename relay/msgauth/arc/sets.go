package arc

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"mxbypass/relay/header"
	"mxbypass/relay/msgauth/signature"
)

// errBroken: the sets are not as they must be (RFC 8617 section 5.2, step 3).
var errBroken = errors.New("malformed chain")

// set is one ARC set.
type set struct {
	results, signature, seal header.Field
	payload                  string // of results, after the instance

	as     *signature.Signature
	ams    *signature.Message
	amsErr error // why there is no ams
}

// kinds are the fields of a set, in the order in which they are sealed.
var kinds = [...]string{ResultsField, SignatureField, SealField}

func kindOf(f header.Field) int {
	for i, name := range kinds {
		if f.Is(name) {
			return i
		}
	}
	return -1
}

// found are the fields of a message that belong to a chain, by instance.
type found struct {
	sets    []set
	highest int  // instance, also in a chain that is broken
	ended   bool // its newest seal says that the chain was broken already
}

// collect finds the sets of a message. Of a broken chain it gives what there is, with an error that wraps errBroken.
func collect(fields []header.Field) (found, error) {
	var all found
	var broken error
	var slots [MaxInstances + 1][len(kinds)]header.Field
	for _, f := range fields {
		kind := kindOf(f)
		if kind < 0 {
			continue
		}
		instance, err := instanceOf(f, kind)
		if err != nil {
			if broken == nil { // the first one is enough, and a header has room for many
				broken = fmt.Errorf("%w: %s: %w", errBroken, kinds[kind], err)
			}
			continue
		}
		all.highest = max(all.highest, instance)
		slot := &slots[instance][kind]
		if slot.Name != "" && broken == nil {
			broken = fmt.Errorf("%w: two %s fields of instance %d", errBroken, kinds[kind], instance)
		}
		*slot = f
	}
	if seal := slots[all.highest][2]; seal.Name != "" {
		all.ended = statusOf(seal) == Fail
	}
	for i := 1; i <= all.highest && broken == nil; i++ {
		for kind, f := range slots[i] {
			if f.Name == "" {
				broken = fmt.Errorf("%w: no %s of instance %d", errBroken, kinds[kind], i)
			}
		}
		all.sets = append(all.sets, set{results: slots[i][0], signature: slots[i][1], seal: slots[i][2]})
	}
	return all, broken
}

// instanceOf reads the instance of a field (RFC 8617 section 4.2.1).
func instanceOf(f header.Field, kind int) (int, error) {
	if kind == 0 {
		instance, _, err := cutInstance(f)
		return instance, err
	}
	_, value, _ := bytes.Cut(f.Raw, []byte{':'})
	tags, err := signature.ParseTags(value)
	if err != nil {
		return 0, err
	}
	i, _ := tags.Get("i")
	return parseInstance(i)
}

func parseInstance(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 8)
	if err != nil || n == 0 || n > MaxInstances || len(s) > 2 {
		return 0, errors.New("no instance between 1 and 50")
	}
	return int(n), nil
}

// cutInstance splits the value of an ARC-Authentication-Results field: the instance comes first.
func cutInstance(f header.Field) (instance int, payload string, err error) {
	first, payload, ok := strings.Cut(f.Value(), ";")
	name, value, both := strings.Cut(first, "=")
	if !ok || !both || strings.Trim(name, " \t") != "i" {
		return 0, "", errors.New("it does not begin with its instance")
	}
	instance, err = parseInstance(strings.Trim(value, " \t"))
	return instance, strings.Trim(payload, " \t"), err
}

// statusOf is what a seal says about the chain before it; empty when it cannot be read.
func statusOf(seal header.Field) Status {
	_, value, _ := bytes.Cut(seal.Raw, []byte{':'})
	tags, err := signature.ParseTags(value)
	if err != nil {
		return ""
	}
	cv, _ := tags.Get("cv")
	return Status(cv)
}

// parse reads the fields of a set, whose instance is known, as for a message that is looked at now. What is wrong with
// the message signature stays in the set: that of an older one may be of no use any more in a chain that is whole.
func (s *set) parse(instance int, now time.Time) error {
	var err error
	if s.as, err = signature.Parse(s.seal); err != nil {
		return fmt.Errorf("seal of instance %d: %w", instance, err)
	}
	// A seal covers the sets and nothing else (RFC 8617 section 4.1.3).
	for _, tag := range []string{"h", "bh"} {
		if _, there := s.as.Tags.Get(tag); there {
			return fmt.Errorf("%w: %s= in the seal of instance %d", errBroken, tag, instance)
		}
	}
	want := Pass
	if instance == 1 {
		want = None
	}
	if cv, _ := s.as.Tags.Get("cv"); Status(cv) != want {
		return fmt.Errorf("%w: the seal of instance %d says cv=%s", errBroken, instance, cv)
	}
	if _, s.payload, err = cutInstance(s.results); err != nil {
		return fmt.Errorf("%w: %w", errBroken, err)
	}
	s.ams, s.amsErr = signature.ParseMessage(s.signature, now)
	if s.ams != nil && slices.Contains(s.ams.Fields, strings.ToLower(SealField)) {
		return fmt.Errorf("%w: the signature of instance %d covers a seal", errBroken, instance)
	}
	return nil
}

// sealedHashes gives what the seal of each set is over (RFC 8617 section 5.1.1): all sets before it, and its own.
func sealedHashes(sets []set) [][]byte {
	hashes := make([][]byte, len(sets))
	var text []byte
	for i, s := range sets {
		text = signature.AppendField(text, s.results.Raw, signature.Relaxed)
		text = signature.AppendField(text, s.signature.Raw, signature.Relaxed)
		hashes[i] = s.as.Sum(text, signature.Relaxed)
		text = signature.AppendField(text, s.seal.Raw, signature.Relaxed)
	}
	return hashes
}

// sealed is what a new seal is over, up to that seal itself.
func sealed(sets []set) []byte {
	var text []byte
	for i, s := range sets {
		text = signature.AppendField(text, s.results.Raw, signature.Relaxed)
		text = signature.AppendField(text, s.signature.Raw, signature.Relaxed)
		if i < len(sets)-1 {
			text = signature.AppendField(text, s.seal.Raw, signature.Relaxed)
		}
	}
	return text
}
