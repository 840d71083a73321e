package peer

import (
	"os/exec"
	"syscall"
)

// Sink is Postfix's smtp-sink: it takes mail and throws it away, or misbehaves as its options say.
type Sink struct {
	*Process
	Addr string
}

// StartSink runs smtp-sink on addr with options such as "-w", "5" (see smtp-sink(1)). It is not asked whether it answers:
// some options keep it from that.
func StartSink(addr string, options ...string) (*Sink, error) {
	p, err := Start(exec.Command("smtp-sink", append(append([]string{"-u", "postfix"}, options...), "inet:"+addr, "1000")...))
	if err != nil {
		return nil, err
	}
	if err := p.listening(addr, ""); err != nil {
		return nil, err
	}
	return &Sink{p, addr}, nil
}

// Close ends the sink.
func (s *Sink) Close() error {
	_ = s.Stop(syscall.SIGTERM) // it does not end cleanly by signals
	return nil
}
