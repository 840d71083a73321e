package tlsrpt

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	// maxPolicies is how many policies, of all domains, are counted in a day, and maxDetails how many different failures of
	// each are told apart. What is more is counted with the others of its domain, or not at all.
	maxPolicies = 20_000
	maxDetails  = 100
	// maxStrings bounds the lines of a policy, and maxString each of them, in octets.
	maxStrings = 50
	maxString  = 500
	// maxDay is the longest file of a day that is read.
	maxDay = 256 << 20

	dayFormat = time.DateOnly
	suffix    = ".json"
	temporary = ".new"
)

// day is what was counted on one day (UTC).
type day struct {
	Day      string              `json:"day"`
	Policies map[string]*counted `json:"policies"`
	// Done are the domains that have their report, or want none.
	Done map[string]bool `json:"done,omitempty"`

	changed bool
	sent    bool // since it was written
}

// counted is a policy with its sessions.
type counted struct {
	Policy  Policy             `json:"policy"`
	Good    int64              `json:"good"`
	Bad     int64              `json:"bad"`
	Details map[string]*detail `json:"details,omitempty"`
}

// detail is one way of failing.
type detail struct {
	Failure Failure `json:"failure"`
	Count   int64   `json:"count"`
}

func newDay(at time.Time) *day {
	return &day{Day: at.UTC().Format(dayFormat), Policies: map[string]*counted{}}
}

// start is when the day begins.
func (d *day) start() time.Time {
	t, _ := time.Parse(dayFormat, d.Day) // it was written or checked by us
	return t
}

// record counts one session.
func (d *day) record(p Policy, f *Failure) {
	k := key(p)
	c := d.Policies[k]
	if c == nil {
		if len(d.Policies) >= maxPolicies {
			return
		}
		c = &counted{Policy: bounded(p)}
		d.Policies[k] = c
	}
	d.changed = true
	if f == nil {
		c.Good++
		return
	}
	c.Bad++
	g := *f
	g.Reason = cut(g.Reason)
	at := strings.Join([]string{string(g.Type), shownAddr(g.SendingIP), shownAddr(g.ReceivingIP), g.MX, g.Reason}, "\n")
	if had := c.Details[at]; had != nil {
		had.Count++
		return
	}
	if len(c.Details) >= maxDetails {
		return
	}
	if c.Details == nil {
		c.Details = map[string]*detail{}
	}
	c.Details[at] = &detail{g, 1}
}

func key(p Policy) string {
	return p.Domain + "\n" + string(p.Type) + "\n" + strings.Join(p.Strings, "\n")
}

func bounded(p Policy) Policy {
	p.Strings, p.MX = boundedAll(p.Strings), boundedAll(p.MX)
	return p
}

func boundedAll(all []string) []string {
	all = slices.Clone(all[:min(len(all), maxStrings)])
	for i := range all {
		all[i] = cut(all[i])
	}
	return all
}

func cut(s string) string { return strings.ToValidUTF8(s[:min(len(s), maxString)], "") }

func shownAddr(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.Unmap().String()
}

// domains are those of the policies, in order, without those that are done.
func (d *day) domains() []string {
	all := map[string]bool{}
	for _, c := range d.Policies {
		if !d.Done[c.Policy.Domain] {
			all[c.Policy.Domain] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}

// of gives the policies of a domain, in order.
func (d *day) of(domain string) (all []*counted) {
	for _, k := range slices.Sorted(maps.Keys(d.Policies)) {
		if c := d.Policies[k]; c.Policy.Domain == domain {
			all = append(all, c)
		}
	}
	return all
}

// details gives the failures of a policy, the most frequent first.
func (c *counted) details() []*detail {
	all := slices.Collect(maps.Values(c.Details))
	slices.SortFunc(all, func(a, b *detail) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), strings.Compare(string(a.Failure.Type), string(b.Failure.Type)),
			strings.Compare(a.Failure.MX, b.Failure.MX), a.Failure.ReceivingIP.Compare(b.Failure.ReceivingIP),
			strings.Compare(a.Failure.Reason, b.Failure.Reason), a.Failure.SendingIP.Compare(b.Failure.SendingIP))
	})
	return all
}

func dayPath(dir, name string) string { return filepath.Join(dir, name+suffix) }

// encode gives the file of the day.
func (d *day) encode() ([]byte, error) { return json.Marshal(d) }

func write(dir, name string, raw []byte) error {
	path := dayPath(dir, name)
	if err := os.WriteFile(path+temporary, raw, 0o600); err != nil {
		return err
	}
	return os.Rename(path+temporary, path)
}

func readDay(dir, name string) (*day, error) {
	path := dayPath(dir, name)
	info, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxDay {
		return nil, fmt.Errorf("%s is no file of ours", path)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	d := &day{}
	if err := json.Unmarshal(raw, d); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if _, err := time.Parse(dayFormat, d.Day); err != nil || d.Day != name {
		return nil, fmt.Errorf("%s is not the file of its day", path)
	}
	if d.Policies == nil {
		d.Policies = map[string]*counted{}
	}
	for k, c := range d.Policies {
		if c == nil || k != key(c.Policy) && len(c.Policy.Strings) < maxStrings {
			delete(d.Policies, k)
			continue
		}
		maps.DeleteFunc(c.Details, func(_ string, f *detail) bool { return f == nil })
	}
	return d, nil
}
