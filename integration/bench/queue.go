package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"mxbypass/integration/peer"
)

// The load of plain mail: smtp-source, the server under test with its queue on a fresh file system, smtp-sink.
const (
	queueSessions = 50
	queueMessages = 10000
	queueSize     = 10240
)

// passing is what one run of plain mail through a server gave.
type passing struct {
	accepted, arrived float64       // messages per second
	cpu               time.Duration // of the server, per message
}

// starter starts a server that relays everything to an address.
type starter func(dir, sink string) (server, error)

// queueMeasures are what is measured of plain mail.
var queueMeasures = []struct {
	name string
	run  func(options, *disk, *table) error
}{
	{"queue passing", measureQueue},
	{"queue acceptance", measureAcceptance},
	{"queue backlog", measureBacklog},
	{"queue million", measureMillion},
}

func measureQueue(o options, disk *disk, t *table) error {
	n := max(queueSessions, int(queueMessages*o.scale))
	for _, keep := range []bool{true, false} {
		name := "queue, new connection each, 50 sessions, 10 KiB"
		if keep {
			name = "queue, 50 kept sessions, 10 KiB"
		}
		var ours, theirs []passing
		for range o.runs {
			for _, s := range []struct {
				start starter
				into  *[]passing
			}{{startRelaying, &ours}, {startPostfixRelaying, &theirs}} {
				got, err := pass(s.start, disk, n, keep)
				if err != nil {
					return err
				}
				*s.into = append(*s.into, got)
			}
		}
		t.passing(name, ours, theirs)
	}
	return nil
}

// pass sends n messages through a server and waits until the sink, which ends by itself then, has all of them.
func pass(start starter, disk *disk, n int, keep bool) (got passing, err error) {
	dir, done, err := disk.fresh()
	if err != nil {
		return got, err
	}
	defer func() { err = errors.Join(err, done()) }()
	warm := n/50 + 1
	sink, addr, err := startSink(n + warm)
	if err != nil {
		return got, err
	}
	defer sink.Kill()
	s, err := start(dir, addr)
	if err != nil {
		return got, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	if err := source(s.addr(), warm, queueSize, keep); err != nil {
		return got, err
	}
	begin := time.Now()
	if err := source(s.addr(), n, queueSize, keep); err != nil {
		return got, err
	}
	got.accepted = float64(n) / time.Since(begin).Seconds()
	if err := arrival(sink, 3*time.Minute); err != nil {
		return got, err
	}
	got.arrived = float64(n) / time.Since(begin).Seconds()
	cpu, err := treeCPU(s.pid())
	got.cpu = cpu / time.Duration(n+warm)
	return got, err
}

// startSink runs a sink that ends after so many messages.
func startSink(messages int) (*peer.Process, string, error) {
	port, err := peer.FreePort()
	if err != nil {
		return nil, "", err
	}
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	p, err := sinkAt(addr, messages)
	return p, addr, err
}

func sinkAt(addr string, messages int) (*peer.Process, error) {
	s, err := peer.StartSink(addr, "-m", "500", "-M", strconv.Itoa(messages))
	if err != nil {
		return nil, err
	}
	return s.Process, nil
}

func arrival(sink *peer.Process, limit time.Duration) error {
	select {
	case <-sink.Done():
		return nil
	case <-time.After(limit):
		return fmt.Errorf("not all of the mail arrived within %v", limit)
	}
}

func source(addr string, messages, size int, keep bool) error {
	args := []string{"-s", strconv.Itoa(min(queueSessions, messages)), "-m", strconv.Itoa(messages), "-l", strconv.Itoa(size),
		"-M", "load.test", "-f", "sender@load.test", "-t", "someone@remote.example"}
	if keep {
		args = append(args, "-d")
	}
	cmd := exec.Command("smtp-source", append(args, "inet:"+addr)...)
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("smtp-source: %w", err)
	}
	return nil
}

const relayingConfig = `hostname = "mx.host.test"
state_dir = "%[1]s/state"
[[listener]]
address = "%[2]s"
[[gateway]]
host = "mx.host.test"
sites = ["*"]
[[site]]
name = "cloud"
store = "maildir"
path = "%[1]s/mail/{domain}/{user}/Maildir"
[dns]
servers = ["127.0.0.1:9"]
[clients]
trusted_networks = ["127.0.0.1/32"]
[relay]
smarthost = "smtp://%[3]s"
[queue]
retry_first = "1s"
retry_max = "1s"
delay_notice = "never"
connections_per_destination = 50
[limits]
connections_per_client = 20000
[directory]
driver = "file"
path = "%[1]s/directory.toml"
`

func startRelaying(dir, sink string) (server, error) {
	port, err := peer.FreePort()
	if err != nil {
		return nil, err
	}
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	conf := filepath.Join(dir, "mxbypass.toml")
	for name, text := range map[string]string{
		conf:                                 fmt.Sprintf(relayingConfig, dir, addr, sink),
		filepath.Join(dir, "directory.toml"): fmt.Sprintf("[[domain]]\nname = %q\nsite = \"cloud\"\nmailboxes = [\"u0\"]\n", hosted),
	} {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	return runRelaying(dir, addr)
}

// runRelaying starts the relay of a folder, also once more.
func runRelaying(dir, addr string) (server, error) {
	r, err := peer.StartRelay(filepath.Join(dir, "mxbypass.toml"), addr)
	if err != nil {
		return nil, err
	}
	return relayServer{r, dir}, nil
}

// Tuned for this load, as for the Maildirs.
const postfixRelaying = `default_process_limit = 200
in_flow_delay = 0
default_destination_concurrency_limit = 50
initial_destination_concurrency = 50
smtp_connection_cache_on_demand = yes
qmgr_message_active_limit = 40000
qmgr_message_recipient_limit = 40000
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
smtpd_client_message_rate_limit = 0
smtpd_client_event_limit_exceptions = 127.0.0.0/8
smtpd_peername_lookup = no
mydestination =
smtp_dns_support_level = disabled
smtp_tls_security_level = none
relayhost = [127.0.0.1]:%s
`

// What waits is tried again as often as by the relay.
const postfixWaiting = `minimal_backoff_time = 1s
maximal_backoff_time = 1s
queue_run_delay = 1s
`

func startPostfixRelaying(dir, sink string) (server, error) { return startPostfixWith(dir, sink, "") }

func startPostfixWaiting(dir, sink string) (server, error) {
	return startPostfixWith(dir, sink, postfixWaiting)
}

func startPostfixWith(dir, sink, more string) (server, error) {
	home := filepath.Join(dir, "postfix")
	if err := os.Mkdir(home, 0o755); err != nil {
		return nil, err
	}
	p, err := peer.StartPostfix(peer.PostfixOptions{Dir: home, Main: fmt.Sprintf(postfixRelaying, sink[len("127.0.0.1:"):]) + more})
	if err != nil {
		return nil, err
	}
	return postfixServer{Postfix: p, dir: dir}, nil
}
