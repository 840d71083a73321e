package configs

import (
	"regexp"
	"slices"
	"strings"

	"mxbypass/mailbox"
)

// The keys of a site that mean something to one kind of store only.
var (
	maildirKeys = []string{"path", "owner", "mode", "tag_folders", "sync"}
	serverKeys  = []string{"address", "connections", "connect_timeout", "command_timeout"}
)

func (k checker) sites() {
	k.required("site", len(k.Sites) == 0, "without a [[site]] there is nowhere to deliver")
	for i, s := range k.Sites {
		path := element("site", i)
		k.siteName(i, path+".name", s.Name)
		if !k.required(path+".store", s.Store == "", "the site needs a store: maildir, lmtp or smtp") ||
			!oneOf(k, path+".store", s.Store, StoreMaildir, StoreLMTP, StoreSMTP) {
			continue
		}
		if s.Store == StoreMaildir {
			k.meaningless(path, s.Store, serverKeys)
			k.maildirPath(path+".path", s.Path)
			oneOf(k, path+".sync", s.Sync, SyncAuto, SyncFsync)
			continue
		}
		k.meaningless(path, s.Store, maildirKeys)
		k.required(path+".address", s.Address == Endpoint{}, `where the server is: "unix:/path" or "host:port"`)
		k.positive(path+".connections", s.Connections)
		if s.Store == StoreSMTP && s.Address.Network == "unix" {
			k.at(path+".address", "%q: an SMTP next hop is reached over TCP", s.Address)
		}
		if s.Address.Network == NetworkSystemd {
			k.at(path+".address", "%q: systemd opens sockets to listen, not to connect", s.Address)
		}
	}
}

func (k checker) siteName(i int, path, name string) {
	if !k.required(path, name == "", "the name of the site") {
		return
	}
	for j, other := range k.Sites[:i] {
		if other.Name == name {
			k.at(path, "%q is already the site in line %d", name, k.doc.line(element("site", j)))
			return
		}
	}
	if name == "*" || name == mailbox.SitePostmaster || mailbox.Printable(name) != name {
		k.at(path, "%q cannot be the name of a site", name)
	}
}

// meaningless reports keys that this kind of store would ignore: somebody expects something of them.
func (k checker) meaningless(path string, store StoreKind, keys []string) {
	for _, key := range keys {
		if k.doc.has(path + "." + key) {
			k.doc.atKey(path+"."+key, "means nothing for a site whose store is %s", store)
		}
	}
}

var placeholder = regexp.MustCompile(`\{[^}]*\}?`)

func (k checker) maildirPath(path, value string) {
	if !k.required(path, value == "", "the folder of a mailbox, with {domain} and {user}") || !k.absolute(path, value) {
		return
	}
	found := placeholder.FindAllString(value, -1)
	for _, p := range found {
		if p != "{domain}" && p != "{user}" && p != "{site}" {
			k.at(path, "%q: there is no %s, only {domain}, {user} and {site}", value, p)
			return
		}
	}
	for part := range strings.SplitSeq(value, "/") {
		// No domain has an "@", and no local part either: it alone keeps a.b and c from a and b.c.
		at := placeholder.FindAllStringIndex(part, -1)
		for i := 1; i < len(at); i++ {
			if part[at[i-1][1]:at[i][0]] != "@" {
				k.at(path, `%q: two placeholders in one folder name need an "@" between them`, value)
				return
			}
		}
	}
	switch {
	case !slices.Contains(found, "{user}"):
		k.at(path, "%q has no {user}: two mailboxes would be in one folder", value)
	case !slices.Contains(found, "{domain}"):
		k.at(path, "%q has no {domain}: mailboxes of two domains would be in one folder", value)
	}
}
