package configs

import (
	"net/netip"
	"time"

	"mxbypass/mailbox"
)

// Config is the whole configuration. [Default] gives every key that has a default; lists of tables are empty there.
type Config struct {
	Hostname        mailbox.DomainName `toml:"hostname"`         // banner, EHLO, Received; zero: the machine's name
	Addresses       []netip.Addr       `toml:"addresses"`        // ours, as the world sees them: an MX there is ours
	StateDir        string             `toml:"state_dir"`        // absolute path
	Postmaster      mailbox.Address    `toml:"postmaster"`       // null: a Maildir at StateDir/postmaster
	ShutdownTimeout Duration           `toml:"shutdown_timeout"` // for transactions in progress

	Listeners []Listener `toml:"listener"`
	Gateways  []Gateway  `toml:"gateway"`
	Sites     []Site     `toml:"site"`
	DNS       DNS        `toml:"dns"`
	Clients   Clients    `toml:"clients"`
	Abuse     Abuse      `toml:"abuse"`
	Limits    Limits     `toml:"limits"`
	Relay     Relay      `toml:"relay"`
	Queue     Queue      `toml:"queue"`
	Directory Directory  `toml:"directory"`

	TLS          TLS           `toml:"tls"`
	Certificates []Certificate `toml:"certificate"`
	ACME         ACME          `toml:"acme"`
	Auth         Auth          `toml:"auth"`
	MsgAuth      MsgAuth       `toml:"msgauth"`
	Sign         Sign          `toml:"sign"`
	Transport    Transport     `toml:"transport"`
	Destinations []Destination `toml:"destination"`
	Filters      []Filter      `toml:"filter"`
	Greylist     Greylist      `toml:"greylist"`
	Lists        []List        `toml:"dnslist"`

	Log Log `toml:"log"`

	doc *document // where every key stands; nil: no file
}

// Gateway is a host name under which bypass addresses are accepted.
type Gateway struct {
	Host       mailbox.DomainName `toml:"host"`
	Sites      []string           `toml:"sites"` // names of sites, or "*" alone
	Separators []string           `toml:"separators"`
}

// StoreKind is what keeps the messages of a site.
type StoreKind string

// The kinds of stores.
const (
	StoreMaildir StoreKind = "maildir"
	StoreLMTP    StoreKind = "lmtp"
	StoreSMTP    StoreKind = "smtp"
)

// Sync is how a Maildir makes messages durable; mailbox/maildir says what each way costs.
type Sync string

// The ways.
const (
	SyncAuto  Sync = "auto"
	SyncFsync Sync = "fsync"
)

// Site is a group of domains whose mailboxes live in the same place.
type Site struct {
	Name  string    `toml:"name"`
	Store StoreKind `toml:"store"`

	// For a Maildir.
	Path       string   `toml:"path"`  // absolute, with {domain} and {user}; {site} is the name of the site
	Owner      Owner    `toml:"owner"` // of files and folders; zero: who runs mxbypass
	Mode       FileMode `toml:"mode"`  // of folders; files have the same without execute bits
	TagFolders bool     `toml:"tag_folders"`
	Sync       Sync     `toml:"sync"`

	// For LMTP and SMTP.
	Address        Endpoint `toml:"address"`
	Connections    int      `toml:"connections"` // at once
	ConnectTimeout Duration `toml:"connect_timeout"`
	CommandTimeout Duration `toml:"command_timeout"`
}

// DNS is how MX records are asked for.
type DNS struct {
	Servers      []netip.AddrPort `toml:"servers"`       // empty: the system's resolvers
	Timeout      Duration         `toml:"timeout"`       // of a whole lookup, over all servers
	CacheEntries int              `toml:"cache_entries"` // domains whose answers are kept
	Stale        Duration         `toml:"stale"`         // past the TTL of an answer, while no server answers
	Validating   bool             `toml:"validating"`    // the servers validate, and nobody can come between: DANE
}

// Clients says whom we trust.
type Clients struct {
	TrustedNetworks []netip.Prefix `toml:"trusted_networks"` // may submit mail for elsewhere
}

// Limits are what bounds a connection, a message and the relay as a whole.
type Limits struct {
	MessageSize          Size `toml:"message_size"`
	HeaderSize           Size `toml:"header_size"`
	MemoryPerMessage     Size `toml:"memory_per_message"` // beyond it a message goes to a temporary file
	Memory               Size `toml:"memory"`             // of all messages in flight
	Recipients           int  `toml:"recipients"`
	Received             int  `toml:"received"`               // Received fields; more are a loop
	Connections          int  `toml:"connections"`            // in all
	ConnectionsPerClient int  `toml:"connections_per_client"` // per client address
	ErrorsSlow           int  `toml:"errors_slow"`            // errors in one connection before answers slow down
	ErrorsClose          int  `toml:"errors_close"`           // before it is closed

	GreetingDelay  DurationOrNever `toml:"greeting_delay"`  // of silence before a client is greeted
	CommandTimeout Duration        `toml:"command_timeout"` // waiting for a command
	DataTimeout    Duration        `toml:"data_timeout"`    // waiting for the next octets of a message
	StoreTimeout   Duration        `toml:"store_timeout"`   // from the final dot to our answer
}

// Driver is what a directory is kept in.
type Driver string

// The drivers. The last two are part of the contract and come with a later version.
const (
	DriverFile     Driver = "file"
	DriverSQLite   Driver = "sqlite"
	DriverPostgres Driver = "postgres"
	DriverMySQL    Driver = "mysql"
)

// Directory is where domains and mailboxes are known.
type Directory struct {
	Driver              Driver `toml:"driver"`
	Path                string `toml:"path"` // absolute
	CacheEntries        int    `toml:"cache_entries"`
	SubaddressDelimiter string `toml:"subaddress_delimiter"` // empty: no subaddresses
}

// Log is how the log is written, to the standard error.
type Log struct {
	Format string `toml:"format"` // text | json
	Level  string `toml:"level"`  // debug | info | warn | error
}

// Default is the configuration of an empty file.
func Default() Config {
	return Config{
		StateDir:        "/var/lib/mxbypass",
		ShutdownTimeout: Duration(30 * time.Second),
		DNS: DNS{
			Timeout:      Duration(5 * time.Second),
			CacheEntries: 100_000,
			Stale:        Duration(24 * time.Hour),
		},
		Limits: Limits{
			MessageSize:          50 << 20,
			HeaderSize:           1 << 20,
			MemoryPerMessage:     1 << 20,
			Memory:               256 << 20,
			Recipients:           1000,
			Received:             50,
			Connections:          20_000,
			ConnectionsPerClient: 50,
			ErrorsSlow:           10,
			ErrorsClose:          20,
			CommandTimeout:       Duration(5 * time.Minute),
			DataTimeout:          Duration(3 * time.Minute),
			StoreTimeout:         Duration(60 * time.Second),
		},
		Relay:     defaultRelay(),
		Queue:     defaultQueue(),
		Abuse:     defaultAbuse(),
		TLS:       defaultTLS(),
		ACME:      defaultACME(),
		Auth:      defaultAuth(),
		MsgAuth:   defaultMsgAuth(),
		Sign:      defaultSign(),
		Transport: defaultTransport(),
		Greylist:  defaultGreylist(),
		Directory: Directory{
			Driver:              DriverFile,
			Path:                "/etc/mxbypass/directory.toml",
			CacheEntries:        100_000,
			SubaddressDelimiter: "+",
		},
		Log: Log{Format: "text", Level: "info"},
	}
}

// Tables of a list start with these.
func (g *Gateway) setDefaults() { g.Separators = []string{"%"} }
func (s *Site) setDefaults() {
	s.Mode = 0o700
	s.Sync = SyncAuto
	s.Connections = 20
	s.ConnectTimeout = Duration(30 * time.Second)
	s.CommandTimeout = Duration(5 * time.Minute)
}

type defaulter interface{ setDefaults() }
