package relay

import (
	"errors"
	"fmt"
	"net"

	"mxbypass/relay/inbound"
	"mxbypass/relay/spool"
)

// front is a server with the settings that it cannot change while it runs. A reload with other ones puts a new front on
// the same sockets, and lets the old one drain.
type front struct {
	hostname string
	limits   inbound.Limits
	timeouts inbound.Timeouts

	server *inbound.Server
	spool  *spool.Spool
	fail   func(error)
	loans  map[Endpoint]serving
}

// serving is one socket that the server accepts from.
type serving struct {
	service inbound.Service
	loan    *loan
	ended   chan struct{}
}

// suits tells whether the front can go on under p.
func (f *front) suits(p Parts) bool {
	return f.hostname == p.Hostname && f.limits == p.Limits && f.timeouts == p.Timeouts
}

// serve accepts from s until leave or shutdown.
func (f *front) serve(e Endpoint, s *socket, service inbound.Service) {
	if _, ok := f.loans[e]; ok {
		return
	}
	v := serving{service, s.lend(), make(chan struct{})}
	f.loans[e] = v
	go func() {
		defer close(v.ended)
		if err := f.server.Serve(v.loan, service); err != nil && !errors.Is(err, net.ErrClosed) {
			f.fail(fmt.Errorf("listener %s: %w", e.Address, err))
		}
	}()
}

// last closes the sockets for good, and lets in who was accepted before. Whoever comes from now on is refused at once, or
// waits for the next process where systemd keeps the socket open: nobody is left hanging here until the front has drained.
func (f *front) last(sockets map[Endpoint]*socket) {
	for e, s := range sockets {
		_ = s.Listener.Close() // what it could say changes nothing
		loan, lent := f.loans[e]
		if !lent { // nobody would take what it has accepted
			continue
		}
		select {
		case <-s.ended:
		case <-loan.ended:
		}
	}
}

// leave stops accepting wherever keep does not want it, or wants another service. Sessions that have begun go on.
func (f *front) leave(keep map[Endpoint]inbound.Service) {
	for e, v := range f.loans {
		if service, ok := keep[e]; ok && service.Equal(v.service) {
			continue
		}
		_ = v.loan.Close() // never fails
		<-v.ended
		delete(f.loans, e)
	}
}
