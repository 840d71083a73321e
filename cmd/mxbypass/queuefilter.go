package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"mxbypass/configs"
	"mxbypass/mailbox"
	"mxbypass/relay/queue"
)

// queueFilter selects mail on the command line. What is given is never taken for "everything": an empty value is most
// likely a variable of a script that was not set.
type queueFilter struct {
	sender, recipient, domain, olderThan, reason, state string

	given []string // the flags on the command line
}

func (f *queueFilter) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.sender, "sender", "", "only from this `address`, from any at \"@domain\", or from none: \"<>\"")
	flags.StringVar(&f.recipient, "recipient", "", "only to this `address`, or to any at \"@domain\"")
	flags.StringVar(&f.domain, "domain", "", "only to addresses of this `domain`")
	flags.StringVar(&f.olderThan, "older-than", "", "only what has waited for this `time`: \"30m\", \"5d\"")
	flags.StringVar(&f.reason, "reason", "", "only what shows these `words` as its last failure, capitals or not")
	flags.StringVar(&f.state, "state", "", "only what is in this `state`: waiting, active, held or quarantined")
}

// read gives the filter of a command line with these IDs.
func (f *queueFilter) read(cmd *cobra.Command, ids []string) (queue.Filter, error) {
	selected := queue.Filter{IDs: ids, Reason: f.reason}
	for _, id := range ids {
		if id == "" {
			return selected, exit(exitUsage, errors.New("an empty ID"))
		}
	}
	for _, flag := range []struct {
		name, value string
		read        func(s string) error
	}{
		{"sender", f.sender, into(&selected.Sender, filterSender)},
		{"recipient", f.recipient, into(&selected.Recipient, filterAddress)},
		{"domain", f.domain, into(&selected.Domain, filterDomain)},
		{"older-than", f.olderThan, into(&selected.OlderThan, filterAge)},
		{"reason", f.reason, into(&selected.Reason, filterText)},
		{"state", f.state, into(&selected.State, filterState)},
	} {
		if !cmd.Flags().Changed(flag.name) {
			continue
		}
		f.given = append(f.given, "--"+flag.name)
		if err := flag.read(flag.value); err != nil {
			return selected, exit(exitUsage, fmt.Errorf("--%s %q: %w", flag.name, flag.value, err))
		}
	}
	return selected, nil
}

func selectsAll(f queue.Filter) bool {
	return len(f.IDs) == 0 && f.Sender+f.Recipient+f.Domain+f.Reason+string(f.State) == "" && f.OlderThan == 0
}

func into[T any](to *T, read func(string) (T, error)) func(string) error {
	return func(s string) (err error) {
		*to, err = read(s)
		return err
	}
}

func filterSender(s string) (string, error) {
	if s == "<>" {
		return s, nil
	}
	return filterAddress(s)
}

func filterAddress(s string) (string, error) {
	if domain, ok := strings.CutPrefix(s, "@"); ok {
		name, err := filterDomain(domain)
		return "@" + name, err
	}
	p, err := mailbox.ParseReversePath(s, true)
	if err == nil && (p.Address.IsNull() || p.Address.Domain.IsZero()) {
		err = errors.New(`want local@domain, or "@domain"`)
	}
	return p.Address.Wire(), err
}

// filterDomain reads a domain or an address literal.
func filterDomain(s string) (string, error) {
	p, err := mailbox.ParseReversePath("x@"+s, true)
	if err == nil && p.Address.Local != "x" {
		err = errors.New("want a domain")
	}
	return p.Address.Domain.ASCII(), err
}

func filterAge(s string) (time.Duration, error) {
	var d configs.Duration
	err := d.UnmarshalText([]byte(s))
	return d.Std(), err
}

func filterText(s string) (string, error) {
	if s == "" {
		return "", errors.New("want some words of the reason")
	}
	return s, nil
}

func filterState(s string) (queue.State, error) {
	switch state := queue.State(s); state {
	case queue.Waiting, queue.Active, queue.Held, queue.Quarantined:
		return state, nil
	}
	return "", fmt.Errorf("want %s, %s, %s or %s", queue.Waiting, queue.Active, queue.Held, queue.Quarantined)
}
