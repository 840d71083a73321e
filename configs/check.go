package configs

import (
	"path/filepath"
	"slices"
	"strings"

	"mxbypass/mailbox"
)

// checker looks for contradictions in a configuration whose types are right. A key that was already reported is not
// looked at again: its value is not what the file says.
type checker struct {
	*Config
	doc *document
}

func check(c *Config, d *document) {
	k := checker{Config: c, doc: d}
	k.paths()
	k.listeners()
	k.sites()
	k.gateways()
	k.networks()
	k.limits()
	k.relay()
	k.queue()
	k.directory()
	k.log()
	k.tls()
	k.auth()
	k.msgauth()
	k.transport()
	k.filters()
	k.abuse()
}

// sound tells whether the value of a path is what the file says, or its default: neither it nor what it stands in was
// reported.
func (k checker) sound(path string) bool {
	for ; path != ""; path = path[:max(strings.LastIndexAny(path, ".["), 0)] {
		if k.doc.bad[path] {
			return false
		}
	}
	return true
}

func (k checker) at(path, format string, args ...any) {
	if k.sound(path) {
		k.doc.atValue(path, format, args...)
	}
}

// oneOf reports a value that is none of those that are known.
func oneOf[T ~string](k checker, path string, value T, known ...T) bool {
	if slices.Contains(known, value) {
		return true
	}
	names := make([]string, len(known))
	for i, n := range known {
		names[i] = string(n)
	}
	k.at(path, "%q is not one of %s", value, strings.Join(names, ", "))
	return false
}

// required reports a key that is missing or empty.
func (k checker) required(path string, empty bool, why string) bool {
	if !empty {
		return true
	}
	k.at(path, "missing: %s", why)
	return false
}

func (k checker) absolute(path, value string) bool {
	switch {
	case !k.sound(path):
		return false
	case !filepath.IsAbs(value):
		k.at(path, "%q: want an absolute path", value)
	case strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r == 0x7f }):
		k.at(path, "%q: a control character in a path", value)
	case slices.Contains(strings.Split(value, "/"), ".."):
		k.at(path, `%q: want a path without ".."`, value)
	default:
		return true
	}
	return false
}

func (k checker) paths() { k.absolute("state_dir", k.StateDir) }

func (k checker) gateways() {
	k.required("gateway", len(k.Gateways) == 0, "without a [[gateway]] no bypass address is accepted")
	for i, g := range k.Gateways {
		path := element("gateway", i)
		host := path + ".host"
		if k.required(host, g.Host.IsZero(), "the host name of the gateway") {
			for j, other := range k.Gateways[:i] {
				if other.Host == g.Host {
					k.at(host, "%q is already the gateway in line %d", g.Host, k.doc.line(element("gateway", j)))
					break
				}
			}
			if g.Host.ASCII() == "localhost" {
				k.at(host, "%q cannot be a gateway: every machine has that name", g.Host)
			}
		}
		k.gatewaySites(path+".sites", g.Sites)
		k.separators(path+".separators", g.Separators)
	}
}

// possibleSeparators are what a dot-string may hold and a domain may not, without "+" (subaddresses) and "!" (bang
// paths).
const possibleSeparators = "%=#$&'*/?^`{|}~"

func (k checker) separators(path string, separators []string) {
	k.required(path, len(separators) == 0, `leave the key out for the usual "%"`)
	for i, s := range separators {
		switch item := element(path, i); {
		case len(s) != 1 || !strings.Contains(possibleSeparators, s):
			k.at(item, "%q cannot be a separator: want one of %s", s, possibleSeparators)
		case s == k.Directory.SubaddressDelimiter:
			k.at(item, "%q cannot be a separator: it is %q", s, "directory.subaddress_delimiter")
		}
	}
}

func (k checker) gatewaySites(path string, sites []string) {
	if !k.required(path, len(sites) == 0, `the sites that the gateway serves; ["*"] for every site`) {
		return
	}
	for i, name := range sites {
		item := element(path, i)
		switch {
		case name == "*" && len(sites) > 1:
			k.at(item, `"*" is every site: name it alone`)
		case name == "*":
		case slices.Contains(sites[:i], name):
			k.at(item, "%q is there twice", name)
		case !slices.ContainsFunc(k.Sites, func(s Site) bool { return s.Name == name }):
			k.at(item, "there is no site %q", name)
		}
	}
}

func (k checker) networks() {
	for i, p := range k.Clients.TrustedNetworks {
		if p.IsValid() && p.Bits() == 0 {
			k.at(element("clients.trusted_networks", i), "%q trusts the whole world: that is an open relay", p)
		}
	}
	k.positive("dns.cache_entries", k.DNS.CacheEntries)
}

func (k checker) positive(path string, n int) {
	if n <= 0 {
		k.at(path, "%d: want a number greater than zero", n)
	}
}

func (k checker) limits() {
	l := k.Limits
	k.positive("limits.recipients", l.Recipients)
	k.positive("limits.received", l.Received)
	k.positive("limits.connections", l.Connections)
	k.positive("limits.connections_per_client", l.ConnectionsPerClient)
	k.positive("limits.errors_slow", l.ErrorsSlow)
	k.positive("limits.errors_close", l.ErrorsClose)
	// Of a pair the file may name only one: then the default of the other is no contradiction.
	pairs := []struct {
		less, more string
		wrong      bool
	}{
		{"limits.errors_slow", "limits.errors_close", l.ErrorsSlow > l.ErrorsClose},
		{"limits.connections_per_client", "limits.connections", l.ConnectionsPerClient > l.Connections},
		{"limits.memory_per_message", "limits.memory", l.MemoryPerMessage > l.Memory},
		{"limits.header_size", "limits.message_size", l.HeaderSize > l.MessageSize},
	}
	for _, p := range pairs {
		if p.wrong && k.doc.has(p.less) && k.doc.has(p.more) && k.sound(p.more) {
			k.at(p.less, "greater than %q", p.more)
		}
	}
}

func (k checker) directory() {
	d := k.Directory
	if d.Driver == DriverPostgres || d.Driver == DriverMySQL {
		k.at("directory.driver", "%q is not available in this version: want file or sqlite", d.Driver)
	}
	oneOf(k, "directory.driver", d.Driver, DriverFile, DriverSQLite, DriverPostgres, DriverMySQL)
	k.absolute("directory.path", d.Path)
	k.positive("directory.cache_entries", d.CacheEntries)
	if s := d.SubaddressDelimiter; s != "" && (len(s) != 1 || !mailbox.LocalPart(s).IsDotString() || s == "%" ||
		s >= "0" && s <= "9" || s >= "A" && s <= "Z" || s >= "a" && s <= "z") {
		k.at("directory.subaddress_delimiter", "%q: want one character such as %q, or nothing", s, "+")
	}
}

func (k checker) log() {
	oneOf(k, "log.format", k.Log.Format, "text", "json")
	oneOf(k, "log.level", k.Log.Level, "debug", "info", "warn", "error")
}
