// Package file is the directory in a TOML file, for up to some ten thousand mailboxes that people write by hand. It is in
// memory as a whole, and read again when the file changes and when it is told to. A file with anything wrong in it is
// not used: the one before stays, and the log says what is wrong, once.
//
// The format, with every key:
//
//	[[domain]]
//	name               = "exemple.org"         # required
//	site               = "cloud"               # required; a site of the configuration
//	mx                 = "auto"                # auto (default) | local | external | split
//	external           = ""                    # by which way its external mail leaves: "" as all mail for elsewhere
//	                                           # (default), "mx" by its MX without us, "smtp://host:port" to a server
//	bypass             = true                  # default: true
//	disabled           = false                 # default: false; true refuses all of its mail for now
//	mailboxes          = ["foobar", "contact"] # local parts
//	disabled_mailboxes = ["foobar"]            # which of them are refused for now
//	catch_all          = ""                    # a mailbox address that takes unknown local parts
//	authentication     = ""                    # off | mark | enforce; "": as the configuration says (default)
//	upstreams          = []                    # who forwards its mail here: networks, names of SPF records, "auto"
//	[domain.aliases]
//	info       = ["contact@exemple.org"]       # each a list of one or more addresses, here or elsewhere
//	"john.doe" = ["foobar@exemple.org"]        # a name with a dot needs its quotes
//	[domain.copies]
//	foobar     = ["archive@example.net"]       # of a mailbox: addresses, here or elsewhere, that get its mail as well
//	[domain.passwords]
//	foobar     = "$argon2id$v=19$…"            # of a mailbox: the hash of its password; mxbypass mailbox passwd makes it
//
// A file with passwords is refused when everybody on the machine may read it.
package file
