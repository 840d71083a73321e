package peer

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// OpenDKIM is a private opendkim.
type OpenDKIM struct {
	*Process
	Addr string
}

// StartOpenDKIMSigner runs an opendkim that signs whatever comes from 127.0.0.0/8, for one domain with a key in PEM.
func StartOpenDKIMSigner(dir, domain, selector, pem string) (*OpenDKIM, error) {
	key := filepath.Join(dir, "signer.pem")
	if err := os.WriteFile(key, []byte(pem), 0o600); err != nil {
		return nil, err
	}
	p, addr, err := startMilter(dir, "opendkim", fmt.Sprintf(`Mode s
Domain %s
Selector %s
KeyFile %s
InternalHosts 127.0.0.0/8
Canonicalization relaxed/relaxed
OversignHeaders From
RequireSafeKeys no
Syslog no
`, domain, selector, key), "-f", "-x")
	if err != nil {
		return nil, err
	}
	return &OpenDKIM{p, addr}, nil
}

// Close ends it.
func (o *OpenDKIM) Close() { _ = o.Stop(syscall.SIGTERM) }
