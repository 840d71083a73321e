package main

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"mxbypass/integration/peer"
)

const (
	boxes   = 50
	gateway = "mx.host.test"
	hosted  = "exemple.org"
)

// server is one of the two that are compared.
type server interface {
	addr() string
	mail() string // the folder below which the Maildirs are
	pid() int
	helpers() []int // other processes that work for it
	stop() error
}

func boxAddress(i int) string { return fmt.Sprintf("u%d%%%s@%s", i%boxes, hosted, gateway) }

type relayServer struct {
	*peer.Relay
	dir string
}

const relayConfig = `hostname = "mx.host.test"
state_dir = "%[1]s/state"
[[listener]]
address = "%[2]s"
protocol = "smtp"
[[gateway]]
host = "mx.host.test"
sites = ["*"]
[[site]]
name = "cloud"
store = "maildir"
path = "%[1]s/mail/{domain}/{user}/Maildir"
[limits]
connections = 20000
connections_per_client = 20000
[abuse]
exempt_networks = ["127.0.0.0/8", "192.0.2.0/24"]
[directory]
driver = "file"
path = "%[1]s/directory.toml"
`

// relayAlone has nobody to ask where mail comes from.
const relayAlone = `[dns]
servers = ["127.0.0.1:9"]
[msgauth]
policy = "off"
`

func startRelay(dir string) (server, error) { return startRelayAt("127.0.0.1", dir, relayAlone) }

// startRelayAt starts a relay that listens at an address of this machine, with more lines in its configuration.
func startRelayAt(host, dir, more string) (server, error) {
	port, err := peer.FreePort()
	if err != nil {
		return nil, err
	}
	addr := fmt.Sprintf("%s:%d", host, port)
	if err := os.MkdirAll(filepath.Join(dir, "mail"), 0o755); err != nil {
		return nil, err
	}
	names := make([]string, boxes)
	for i := range names {
		names[i] = fmt.Sprintf("%q", fmt.Sprintf("u%d", i))
	}
	directory := fmt.Sprintf("[[domain]]\nname = %q\nsite = \"cloud\"\nmailboxes = [%s]\n", hosted, strings.Join(names, ", "))
	conf := filepath.Join(dir, "mxbypass.toml")
	for name, text := range map[string]string{
		conf: fmt.Sprintf(relayConfig, dir, addr) + more, filepath.Join(dir, "directory.toml"): directory,
	} {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	r, err := peer.StartRelay(conf, addr)
	if err != nil {
		return nil, err
	}
	return relayServer{r, dir}, nil
}

func (r relayServer) addr() string { return r.Addr }
func (r relayServer) mail() string { return filepath.Join(r.dir, "mail") }
func (r relayServer) pid() int     { return r.Cmd.Process.Pid }

func (r relayServer) helpers() []int { return nil }

func (r relayServer) stop() error { return r.Close() }

type postfixServer struct {
	*peer.Postfix
	dir      string
	listens  string          // empty: where all of them do
	verifies *peer.Verifiers // nil: nothing is verified
}

// Tuned for this load: no brakes, as many processes as sessions, and the Maildir deliveries side by side.
const postfixTuned = `mydestination = mx.host.test
allow_percent_hack = yes
default_process_limit = 200
in_flow_delay = 0
default_destination_concurrency_limit = 50
virtual_destination_concurrency_limit = 50
initial_destination_concurrency = 50
virtual_destination_recipient_limit = 1
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
smtpd_client_message_rate_limit = 0
smtpd_client_event_limit_exceptions = 127.0.0.0/8
smtpd_peername_lookup = no
message_size_limit = 52428800
mailbox_size_limit = 0
virtual_mailbox_limit = 0
virtual_mailbox_domains = exemple.org
virtual_mailbox_base = %[1]s/mail
virtual_mailbox_maps = hash:%[1]s/boxes
virtual_uid_maps = static:5000
virtual_gid_maps = static:5000
virtual_minimum_uid = 100
`

func startPostfix(dir string) (server, error) { return startPostfixFor(dir, "", "") }

// startPostfixFor starts a Postfix with the mailboxes of the load, and more lines in its main.cf and master.cf.
func startPostfixFor(dir, main, master string) (server, error) {
	mail := filepath.Join(dir, "mail")
	if err := os.MkdirAll(mail, 0o755); err != nil {
		return nil, err
	}
	if err := os.Chown(mail, 5000, 5000); err != nil {
		return nil, err
	}
	var text strings.Builder
	for i := range boxes {
		fmt.Fprintf(&text, "u%d@%s u%d/Maildir/\n", i, hosted, i)
	}
	table := filepath.Join(dir, "boxes")
	if err := os.WriteFile(table, []byte(text.String()), 0o644); err != nil {
		return nil, err
	}
	if err := command("postmap", "hash:"+table); err != nil {
		return nil, err
	}
	home := filepath.Join(dir, "postfix")
	if err := os.Mkdir(home, 0o755); err != nil {
		return nil, err
	}
	p, err := peer.StartPostfix(peer.PostfixOptions{Dir: home, Main: fmt.Sprintf(postfixTuned, dir) + main, Master: master})
	if err != nil {
		return nil, err
	}
	return postfixServer{Postfix: p, dir: dir}, nil
}

func (p postfixServer) addr() string { return cmp.Or(p.listens, p.Addr) }
func (p postfixServer) mail() string { return filepath.Join(p.dir, "mail") }
func (p postfixServer) pid() int     { return p.Cmd.Process.Pid }

func (p postfixServer) helpers() []int {
	if p.verifies == nil {
		return nil
	}
	return []int{p.verifies.DKIM.Cmd.Process.Pid, p.verifies.DMARC.Cmd.Process.Pid}
}

func (p postfixServer) stop() error {
	err := p.Close()
	if p.verifies != nil {
		p.verifies.Close()
	}
	return err
}
