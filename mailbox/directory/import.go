package directory

import (
	"iter"

	"mxbypass/mailbox"
)

// Row is one line of what is imported: a mailbox, an alias, or a domain alone. The fields that describe the domain are
// used when the row makes it; when the domain is there, they are empty or say the same.
type Row struct {
	Line int
	Err  error // why the line is bad; the rest is then empty

	Entry    mailbox.Entry // Address.Local is empty when the row is about the domain alone
	Site     string        // empty: the domain must be there
	MX       mailbox.MXPolicy
	External mailbox.External
	Bypass   *bool
	CatchAll mailbox.Address
	Disabled bool   // of a domain alone
	Secret   string // of a mailbox: the hash of its password

	Authentication mailbox.Authentication
	Upstreams      []string // as mailbox.ParseUpstreams writes them
}

// Source yields what is imported. An error of the row is of its line; the error beside it ends the import.
type Source iter.Seq2[Row, error]

// ImportOptions say how to import.
type ImportOptions struct {
	KeepGoing bool                      // import what is good; otherwise one bad line means that nothing is
	Bad       func(line int, err error) // is told of every bad line, in the order in which they are found
	Progress  func(lines int)           // is told now and then how many lines were read; may be nil
}

// Report counts what was imported. With an error it counts what would have been.
type Report struct {
	Lines     int `json:"lines"` // that were read, without the header and empty ones
	Domains   int `json:"domains"`
	Mailboxes int `json:"mailboxes"`
	Aliases   int `json:"aliases"`
	Bad       int `json:"bad"`
}
