package configs

import (
	"fmt"
	"strings"
	"time"
)

// WhenDown is what becomes of mail while a filter cannot be asked.
type WhenDown string

// What can become of it.
const (
	DownTempfail WhenDown = "tempfail" // it is refused for now
	DownAccept   WhenDown = "accept"   // it goes on without the filter
)

// Filter is a program that judges mail, spoken to as a milter.
type Filter struct {
	Name           string    `toml:"name"` // by which listeners refer to it
	Address        Endpoint  `toml:"address"`
	WhenDown       WhenDown  `toml:"when_down"`
	Timeout        Duration  `toml:"timeout"`         // for its part of one command, or of a message
	ConnectTimeout Duration  `toml:"connect_timeout"` // to connect and to agree on a protocol
	MaxSize        SizeOrAll `toml:"max_size"`        // longer messages are not shown to it
}

func (f *Filter) setDefaults() {
	f.WhenDown = DownTempfail
	f.Timeout = Duration(30 * time.Second)
	f.ConnectTimeout = Duration(5 * time.Second)
}

// SizeOrAll is a size as [Size], or "all", which is zero: there is no bound.
type SizeOrAll int64

const all = "all"

// UnmarshalText implements [encoding.TextUnmarshaler].
func (s *SizeOrAll) UnmarshalText(text []byte) error {
	if string(text) == all {
		*s = 0
		return nil
	}
	if err := (*Size)(s).UnmarshalText(text); err != nil {
		return fmt.Errorf("%w, or %q", err, all)
	}
	return nil
}

// String writes the size as it is read.
func (s SizeOrAll) String() string {
	if s == 0 {
		return all
	}
	return Size(s).String()
}

func (k checker) filters() {
	for i, f := range k.Filters {
		path := element("filter", i)
		k.filterName(path+".name", i, f.Name)
		address := path + ".address"
		switch {
		case !k.required(address, f.Address == Endpoint{} && k.sound(address),
			`where it listens, such as "unix:/run/rspamd/milter.sock"`):
		case f.Address.Network == NetworkSystemd, strings.HasPrefix(f.Address.Address, ":"):
			k.at(address, `%q: want where to connect, "host:port" or "unix:/path"`, f.Address)
		}
		oneOf(k, path+".when_down", f.WhenDown, DownTempfail, DownAccept)
		if most := k.Limits.StoreTimeout; f.Timeout >= most && k.sound("limits.store_timeout") {
			k.at(path+".timeout", `%q: want less than "limits.store_timeout", which is %s`, f.Timeout, most)
		}
	}
}

// filterName looks at the name of a filter, which is that of a folder, too.
func (k checker) filterName(path string, i int, name string) {
	if !k.required(path, name == "" && k.sound(path), "listeners refer to a filter by its name") || name == "" {
		return
	}
	if len(name) > 63 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
		k.at(path, "%q: want a name of small letters, digits, - and _", name)
		return
	}
	for j, other := range k.Filters[:i] {
		if other.Name == name {
			k.at(path, "%q is already the filter in line %d", name, k.doc.line(element("filter", j)))
			return
		}
	}
}
