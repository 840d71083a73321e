package peer

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync"
)

// lowestPort is the first of the ports that FreePort gives. They end where the kernel begins to take those of outgoing
// connections: one of these could have a port between our look at it and the start of the program that it is for.
const lowestPort = 10000

// given are the ports of this process, and what keeps other test processes from taking them: a name for each, which the
// kernel gives back when the process ends, however it does.
var given = struct {
	sync.Mutex
	next int
	held []net.Listener
}{next: os.Getpid()}

// FreePort gives a TCP port of 127.0.0.1 that nobody listens on. No port is given twice, neither by this process nor by
// another one of the same network that runs at the same time.
func FreePort() (int, error) {
	given.Lock()
	defer given.Unlock()
	end, err := firstOutgoingPort()
	if err != nil {
		return 0, err
	}
	for range end - lowestPort {
		given.next += 7919 // a prime: every port has its turn, and the processes do not queue for the same ones
		port := lowestPort + given.next%(end-lowestPort)
		lease, err := net.Listen("unix", "@mxbypass-test-port-"+strconv.Itoa(port))
		if err != nil {
			continue
		}
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err == nil {
			err = l.Close()
		}
		if err == nil {
			given.held = append(given.held, lease)
			return port, nil
		}
		if err := lease.Close(); err != nil {
			return 0, err
		}
	}
	return 0, errors.New("no free port found")
}

// firstOutgoingPort is where the ports for tests end.
func firstOutgoingPort() (int, error) {
	const file = "/proc/sys/net/ipv4/ip_local_port_range"
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	var first int
	if _, err := fmt.Sscan(string(text), &first); err != nil {
		return 0, fmt.Errorf("%s: %w", file, err)
	}
	if first <= lowestPort { // it was widened: then no port is safe from it, and all are as good
		return 1 << 16, nil
	}
	return first, nil
}
