package peer

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// HAProxy is a private proxy in front of SMTP servers, which says in a PROXY header who connects.
type HAProxy struct{ *Process }

// Proxied is one port of a proxy.
type Proxied struct {
	From, To string
	Version  int // of the PROXY protocol
}

// StartHAProxy runs a proxy with its files in a folder.
func StartHAProxy(dir string, ports ...Proxied) (*HAProxy, error) {
	text := "global\n  maxconn 1000\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 1m\n  timeout server 1m\n"
	for i, p := range ports {
		send := "send-proxy"
		if p.Version == 2 {
			send = "send-proxy-v2"
		}
		text += fmt.Sprintf("listen smtp%d\n  bind %s\n  server relay %s %s\n", i, p.From, p.To, send)
	}
	config := filepath.Join(dir, "haproxy.cfg")
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		return nil, err
	}
	p, err := Start(exec.Command("/usr/sbin/haproxy", "-db", "-f", config))
	if err != nil {
		return nil, err
	}
	for _, port := range ports {
		if err := p.listening(port.From, "220"); err != nil {
			return nil, err
		}
	}
	return &HAProxy{p}, nil
}

// Close ends the proxy and its connections.
func (h *HAProxy) Close() error {
	_ = h.Stop(syscall.SIGTERM) // its code is that of the signal
	return nil
}
