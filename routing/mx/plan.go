package mx

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"mxbypass/mailbox"
)

// idMark stands for the domain with hyphens for dots in the host of a record.
const idMark = "{id}"

// ErrNoPlan: it is not known which records the provider asks for.
var ErrNoPlan = errors.New("the records of this provider are not known")

// Record is an MX record to set.
type Record struct {
	TTL      time.Duration
	Priority uint16
	Host     mailbox.DomainName

	accepts []pattern // other hosts that do as well
}

// fulfilledBy tells whether a host does what the record asks for.
func (r Record) fulfilledBy(host mailbox.DomainName) bool {
	return r.Host == host || anyMatches(r.accepts, host)
}

// Plan is what to set at a domain for its mail to go to a provider.
type Plan struct {
	Domain      mailbox.DomainName
	Provider    Provider
	Records     []Record
	Alternative []Record // another set that does the same; empty: there is none
}

// Plan gives the records to set at a domain. The error wraps [ErrNoPlan] or [mailbox.ErrSyntax] (the domain makes a host
// name that cannot be).
func (p Provider) Plan(domain mailbox.DomainName) (Plan, error) {
	if !p.HasPlan() {
		return Plan{}, fmt.Errorf("%s: %w", p.Name, ErrNoPlan)
	}
	if domain.IsZero() || domain.IsLiteral() {
		return Plan{}, fmt.Errorf("%w: records stand at a domain", mailbox.ErrSyntax)
	}
	records, err := fillIn(p.records, domain)
	if err != nil {
		return Plan{}, fmt.Errorf("%s: %w", p.Name, err)
	}
	alternative, err := fillIn(p.alternative, domain)
	if err != nil {
		return Plan{}, fmt.Errorf("%s: %w", p.Name, err)
	}
	return Plan{Domain: domain, Provider: p, Records: records, Alternative: alternative}, nil
}

func fillIn(templates []recordTemplate, domain mailbox.DomainName) ([]Record, error) {
	var records []Record
	for _, t := range templates {
		id := strings.ReplaceAll(domain.ASCII(), ".", "-")
		host, err := mailbox.ParseDomainName(strings.ReplaceAll(t.host, idMark, id))
		if err != nil {
			return nil, fmt.Errorf("%w: the domain is too long for the host %s", mailbox.ErrSyntax, t.host)
		}
		records = append(records, Record{TTL: t.ttl, Priority: t.priority, Host: host, accepts: t.accepts})
	}
	return records, nil
}
