package peer

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// Verifiers are OpenDKIM and OpenDMARC as Postfix uses them for mail that comes in: the one verifies signatures, the other
// judges SPF itself, believes the first of the rest, and refuses what DMARC wants refused. They judge every client, and ask
// the resolvers of the system.
type Verifiers struct {
	DKIM, DMARC *Process
	Milters     string // for smtpd_milters, in order
}

// StartVerifiers runs both with their files in a folder.
func StartVerifiers(dir, authserv string) (v *Verifiers, err error) {
	// 192.0.2.254 stands for nobody: else both leave out clients from 127.0.0.1.
	nobody := filepath.Join(dir, "nobody")
	if err := os.WriteFile(nobody, []byte("192.0.2.254\n"), 0o644); err != nil {
		return nil, err
	}
	resolvers, err := os.ReadFile("/etc/resolv.conf") // libunbound does not look there
	if err != nil {
		return nil, err
	}
	var servers []string
	for line := range strings.Lines(string(resolvers)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "nameserver" {
			servers = append(servers, f[1])
		}
	}
	v = &Verifiers{}
	var dkim, dmarc string
	if v.DKIM, dkim, err = startMilter(dir, "opendkim", fmt.Sprintf(`AuthservID %s
Mode v
InternalHosts %s
ExternalIgnoreList %[2]s
Nameservers %[3]s
Syslog no
`, authserv, nobody, strings.Join(servers, ",")), "-f", "-x"); err != nil {
		return nil, err
	}
	if v.DMARC, dmarc, err = startMilter(dir, "opendmarc", fmt.Sprintf(`AuthservID %s
IgnoreHosts %s
SPFIgnoreResults true
SPFSelfValidate true
RejectFailures true
Syslog false
`, authserv, nobody), "-f", "-c"); err != nil {
		v.DKIM.Kill()
		return nil, err
	}
	v.Milters = "inet:" + dkim + ", inet:" + dmarc
	return v, nil
}

func startMilter(dir, name, config string, options ...string) (*Process, string, error) {
	port, err := FreePort()
	if err != nil {
		return nil, "", err
	}
	file := filepath.Join(dir, name+".conf")
	if err := os.WriteFile(file, []byte(config+fmt.Sprintf("Socket inet:%d@127.0.0.1\n", port)), 0o644); err != nil {
		return nil, "", err
	}
	p, err := Start(exec.Command("/usr/sbin/"+name, append(options, file)...))
	if err != nil {
		return nil, "", err
	}
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	return p, addr, p.listening(addr, "")
}

// Close ends both.
func (v *Verifiers) Close() {
	_ = v.DMARC.Stop(syscall.SIGTERM) // their codes are those of the signal
	_ = v.DKIM.Stop(syscall.SIGTERM)
}

// StartOpenDKIMVerifier runs an opendkim that verifies what comes from anywhere, and asks the DNS at an address of this
// machine.
func StartOpenDKIMVerifier(dir, authserv, dnsAddr string) (*OpenDKIM, error) {
	resolver, nobody := filepath.Join(dir, "unbound.conf"), filepath.Join(dir, "nobody")
	text := fmt.Sprintf("server:\n  do-not-query-localhost: no\nforward-zone:\n  name: \".\"\n  forward-addr: %s\n",
		strings.Replace(dnsAddr, ":", "@", 1))
	if err := errors.Join(os.WriteFile(resolver, []byte(text), 0o644), os.WriteFile(nobody, []byte("192.0.2.254\n"), 0o644)); err != nil {
		return nil, err
	}
	p, addr, err := startMilter(dir, "opendkim", fmt.Sprintf(`AuthservID %s
Mode v
InternalHosts %s
ResolverConfiguration %s
Syslog no
`, authserv, nobody, resolver), "-f", "-x")
	if err != nil {
		return nil, err
	}
	return &OpenDKIM{p, addr}, nil
}
