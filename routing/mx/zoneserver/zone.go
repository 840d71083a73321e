package zoneserver

import (
	"bytes"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/miekg/dns"
)

const (
	extension = ".zone"
	// maxAliases bounds a chain of CNAMEs.
	maxAliases = 8
)

// zone is the content of one file. A zone without SOA is lame.
type zone struct {
	origin string
	soa    *dns.SOA
	names  map[string][]dns.RR // by folded name; a name without records stands between others (RFC 8020)
}

// loadZones reads every NAME.zone of a folder.
func loadZones(files fs.FS) (map[string]*zone, error) {
	paths, err := fs.Glob(files, "*"+extension)
	if err != nil {
		return nil, err
	}
	if len(paths) == 0 {
		return nil, fmt.Errorf("no *%s files", extension)
	}
	zones := make(map[string]*zone, len(paths))
	for _, p := range paths {
		z, err := loadZone(files, p)
		if err != nil {
			return nil, err
		}
		zones[z.origin] = z
	}
	return zones, nil
}

func loadZone(files fs.FS, file string) (*zone, error) {
	text, err := fs.ReadFile(files, file)
	if err != nil {
		return nil, err
	}
	z := &zone{
		origin: dns.CanonicalName(strings.TrimSuffix(path.Base(file), extension)),
		names:  make(map[string][]dns.RR),
	}
	parser := dns.NewZoneParser(bytes.NewReader(text), z.origin, file)
	for rr, ok := parser.Next(); ok; rr, ok = parser.Next() {
		if err := z.add(rr); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
	}
	if err := parser.Err(); err != nil {
		return nil, err // names the file
	}
	if z.soa == nil && len(z.names) > 0 {
		return nil, fmt.Errorf("%s: records without SOA", file)
	}
	return z, nil
}

// add takes one record, and refuses what this server cannot answer rightly.
func (z *zone) add(rr dns.RR) error {
	h := rr.Header()
	name := dns.CanonicalName(h.Name)
	switch {
	case !dns.IsSubDomain(z.origin, name):
		return fmt.Errorf("%s is not in this zone", name)
	case strings.HasPrefix(name, "*."), h.Rrtype == dns.TypeDNAME, h.Rrtype == dns.TypeNS && name != z.origin:
		return fmt.Errorf("%s: wildcards, DNAME and delegations are not served", name)
	}
	if soa, ok := rr.(*dns.SOA); ok {
		z.soa = soa
	}
	z.names[name] = append(z.names[name], rr)
	for name != z.origin { // the names between this one and the origin exist as well
		next, _ := dns.NextLabel(name, 0)
		name = name[next:]
		if _, known := z.names[name]; !known {
			z.names[name] = nil
		}
	}
	return nil
}

// find gives the records of a type, and the alias if there is one instead.
func (z *zone) find(name string, qtype uint16) (records []dns.RR, alias *dns.CNAME, exists bool) {
	all, exists := z.names[name]
	for _, rr := range all {
		if rr.Header().Rrtype == qtype {
			records = append(records, rr)
		}
		if c, ok := rr.(*dns.CNAME); ok && qtype != dns.TypeCNAME {
			alias = c
		}
	}
	return records, alias, exists
}
