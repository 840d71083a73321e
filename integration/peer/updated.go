package peer

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/miekg/dns"
)

// Updated is a private authoritative DNS server whose zone takes updates (RFC 2136) of TXT records that a
// key has signed.
type Updated struct {
	*Process
	Addr string
}

// UpdatedOptions say what zone it is, and who may update it.
type UpdatedOptions struct {
	Zone                   string
	Key, Algorithm, Secret string // the secret in base64
	Records                []string
}

const updatedZone = `$ORIGIN %s.
$TTL 60
@ IN SOA ns hostmaster 1 3600 600 86400 60
@ IN NS ns
ns IN A 127.0.0.1
`

// StartKnot runs Knot DNS with its files in a folder.
func StartKnot(dir string, o UpdatedOptions) (*Updated, error) {
	return startUpdated(dir, o, func(port int) (string, []string) {
		return fmt.Sprintf(`server:
  rundir: %[1]q
  listen: 127.0.0.1@%[2]d
  udp-workers: 1
  tcp-workers: 1
  background-workers: 1
database:
  storage: %[1]q
key:
- id: %[3]q
  algorithm: %[4]s
  secret: %[5]s
acl:
- id: updates
  key: %[3]q
  action: update
  update-type: TXT
zone:
- domain: %[6]s
  storage: %[1]q
  file: zone
  acl: updates
`, dir, port, o.Key, o.Algorithm, o.Secret, o.Zone), []string{"/usr/sbin/knotd", "-c"}
	})
}

// StartBIND runs BIND with its files in a folder.
func StartBIND(dir string, o UpdatedOptions) (*Updated, error) {
	return startUpdated(dir, o, func(port int) (string, []string) {
		return fmt.Sprintf(`options {
  directory %[1]q; pid-file none; lock-file none; session-keyfile none; managed-keys-directory %[1]q;
  listen-on port %[2]d { 127.0.0.1; }; listen-on-v6 { none; };
  recursion no; dnssec-validation no; notify no;
};
controls {};
key %[3]q { algorithm %[4]s; secret %[5]q; };
zone %[6]q { type primary; file "zone"; update-policy { grant %[3]q zonesub TXT; }; };
`, dir, port, o.Key, o.Algorithm, o.Secret, o.Zone), []string{"/usr/sbin/named", "-g", "-n", "1", "-c"}
	})
}

func startUpdated(dir string, o UpdatedOptions, config func(port int) (text string, command []string)) (*Updated, error) {
	port, err := FreePort()
	if err != nil {
		return nil, err
	}
	text, command := config(port)
	file := filepath.Join(dir, "server.conf")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return nil, err
	}
	zone := fmt.Appendf(nil, updatedZone, o.Zone)
	for _, r := range o.Records {
		zone = append(zone, r+"\n"...)
	}
	if err := os.WriteFile(filepath.Join(dir, "zone"), zone, 0o600); err != nil {
		return nil, err
	}
	p, err := Start(exec.Command(command[0], append(command[1:], file)...))
	if err != nil {
		return nil, err
	}
	u := &Updated{p, net.JoinHostPort("127.0.0.1", fmt.Sprint(port))}
	if err := p.listening(u.Addr, ""); err != nil {
		return nil, err
	}
	// It listens before it has the zone.
	err = Until(patience, o.Zone+" at "+u.Addr, func() bool {
		r, err := u.ask(o.Zone, dns.TypeSOA)
		return err == nil && r.Rcode == dns.RcodeSuccess && len(r.Answer) == 1
	})
	if err != nil {
		_ = u.Close()
		return nil, fmt.Errorf("%w\n%s", err, p.Output())
	}
	return u, nil
}

func (u *Updated) ask(name string, qtype uint16) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	client := &dns.Client{Net: "tcp", Timeout: 5 * time.Second}
	r, _, err := client.ExchangeContext(ctx, new(dns.Msg).SetQuestion(dns.Fqdn(name), qtype), u.Addr)
	return r, err
}

// TXT gives the TXT records of a name.
func (u *Updated) TXT(name string) ([]string, error) {
	r, err := u.ask(name, dns.TypeTXT)
	if err != nil {
		return nil, err
	}
	var texts []string
	for _, rr := range r.Answer {
		if t, ok := rr.(*dns.TXT); ok {
			texts = append(texts, strings.Join(t.Txt, ""))
		}
	}
	return texts, nil
}

// Serial is the number of the zone's version: it grows with each update.
func (u *Updated) Serial(zone string) (uint32, error) {
	r, err := u.ask(zone, dns.TypeSOA)
	if err != nil {
		return 0, err
	}
	for _, rr := range r.Answer {
		if soa, ok := rr.(*dns.SOA); ok {
			return soa.Serial, nil
		}
	}
	return 0, fmt.Errorf("no SOA record of %s", zone)
}

// Close ends the server.
func (u *Updated) Close() error { return u.Stop(syscall.SIGTERM) }
