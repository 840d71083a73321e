package lmtp

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"mxbypass/mailbox/smtpclient"
)

// act is what the scripted server does instead of its duty.
type act struct {
	say   string // sent instead of the reply
	hang  bool   // then: nothing more is sent or read, until the client or the test ends
	close bool   // then: the connection is closed
}

// script tells what to do at a stage of a connection (counted from 1): "connect", "LHLO", "MAIL", "RCPT1", "DATA", "body",
// "end1", "RSET", "QUIT". False: its duty.
type script func(conn int, stage string) (act, bool)

// taken is a message that the server has acknowledged.
type taken struct {
	mail string   // the arguments of MAIL
	to   []string // the recipients that were told 250
	data string
}

type server struct {
	t        *testing.T
	protocol smtpclient.Protocol
	ext      []string
	address  string
	ln       net.Listener
	reached  chan string   // gets every stage at which the server hangs
	quit     chan struct{} // closed when a client says QUIT
	done     chan struct{}
	wg       sync.WaitGroup

	mu       sync.Mutex
	script   script
	conns    int
	open     map[net.Conn]bool
	most     int // connections at a time
	commands []string
	messages []taken
}

func newServer(t *testing.T, protocol smtpclient.Protocol, ext ...string) *server {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, protocol: protocol, ext: ext, address: "unix:" + path, ln: ln, reached: make(chan string, 100),
		quit: make(chan struct{}, 100), done: make(chan struct{}), open: map[net.Conn]bool{}}
	s.wg.Go(s.accept)
	t.Cleanup(func() {
		close(s.done)
		_ = ln.Close()
		s.closeAll()
		s.wg.Wait()
	})
	return s
}

func (s *server) accept() {
	for {
		conn, err := s.ln.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.conns++
		n := s.conns
		s.open[conn] = true
		s.most = max(s.most, len(s.open))
		s.mu.Unlock()
		s.wg.Go(func() {
			(&session{server: s, conn: conn, r: bufio.NewReader(conn), n: n}).run()
			_ = conn.Close()
			s.mu.Lock()
			delete(s.open, conn)
			s.mu.Unlock()
		})
	}
}

// closeAll closes the connections, as a server does that is restarted.
func (s *server) closeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for conn := range s.open {
		_ = conn.Close()
	}
}

func (s *server) setScript(f script) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.script = f
}

func (s *server) connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conns
}

func (s *server) log() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.commands...)
}

func (s *server) taken() []taken {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]taken(nil), s.messages...)
}

// session is one connection of the scripted server.
type session struct {
	*server
	conn net.Conn
	r    *bufio.Reader
	n    int
	mail string
	to   []string
	rcpt int
}

func (s *session) scripted(stage string) (act, bool) {
	s.mu.Lock()
	f := s.script
	s.mu.Unlock()
	if f == nil {
		return act{}, false
	}
	return f(s.n, stage)
}

// reply does what the script wants at a stage, or says the reply. False: the session is over.
func (s *session) reply(stage, reply string) bool {
	if a, ok := s.scripted(stage); ok {
		if _, err := io.WriteString(s.conn, a.say); err != nil || a.close {
			return false
		}
		if a.hang {
			s.reached <- stage
			<-s.done
			return false
		}
		return true
	}
	_, err := io.WriteString(s.conn, reply)
	return err == nil
}

func (s *session) run() {
	if !s.reply("connect", "220 server.test ready\r\n") {
		return
	}
	for {
		line, err := s.r.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimSuffix(line, "\r\n")
		s.mu.Lock()
		s.commands = append(s.commands, line)
		s.mu.Unlock()
		if !s.command(line) {
			return
		}
	}
}

func (s *session) command(line string) bool {
	verb, args, _ := strings.Cut(line, " ")
	switch verb {
	case "LHLO", "EHLO":
		reply := "server.test\n" + strings.Join(s.ext, "\n")
		lines := strings.Split(strings.TrimSuffix(reply, "\n"), "\n")
		var b strings.Builder
		for i, l := range lines {
			sep := "-"
			if i == len(lines)-1 {
				sep = " "
			}
			b.WriteString("250" + sep + l + "\r\n")
		}
		return s.reply("LHLO", b.String())
	case "HELO":
		return s.reply("HELO", "250 server.test\r\n")
	case "MAIL":
		if s.mail != "" {
			return s.reply("nested", "503 5.5.1 nested MAIL\r\n")
		}
		s.to, s.rcpt = nil, 0
		if a, ok := s.scripted("MAIL"); !ok || strings.HasPrefix(a.say, "2") {
			s.mail = args
		}
		return s.reply("MAIL", "250 2.1.0 OK\r\n")
	case "RCPT":
		s.rcpt++
		stage := fmt.Sprintf("RCPT%d", s.rcpt)
		if a, ok := s.scripted(stage); !ok || strings.HasPrefix(a.say, "2") {
			s.to = append(s.to, strings.TrimSuffix(strings.TrimPrefix(args, "TO:<"), ">"))
		}
		return s.reply(stage, "250 2.1.5 OK\r\n")
	case "RSET":
		s.mail = ""
		return s.reply("RSET", "250 2.0.0 OK\r\n")
	case "QUIT":
		s.quit <- struct{}{}
		_ = s.reply("QUIT", "221 2.0.0 bye\r\n")
		return false
	case "DATA":
		return s.data()
	}
	return s.reply("unknown", "500 5.5.2 unknown command\r\n")
}

func (s *session) data() bool {
	if _, ok := s.scripted("DATA"); ok {
		return s.reply("DATA", "")
	}
	if !s.reply("DATA", "354 go on\r\n") || !s.reply("body", "") {
		return false
	}
	var body bytes.Buffer
	for {
		line, err := s.r.ReadSlice('\n')
		if err != nil && err != bufio.ErrBufferFull {
			return false
		}
		atStart := body.Len() == 0 || bytes.HasSuffix(body.Bytes(), []byte("\r\n"))
		if atStart && string(line) == ".\r\n" {
			break
		}
		if atStart && line[0] == '.' {
			line = line[1:]
		}
		body.Write(line)
	}
	return s.verdicts(body.String())
}

// verdicts answers to the complete message: for each recipient with LMTP. A recipient is acknowledged before it is told.
func (s *session) verdicts(data string) bool {
	to := s.to
	if s.protocol == smtpclient.SMTP {
		to = []string{strings.Join(s.to, " ")}
	}
	m := taken{mail: s.mail, data: data}
	s.mail = ""
	s.mu.Lock()
	s.messages = append(s.messages, m)
	index := len(s.messages) - 1
	s.mu.Unlock()
	for i, r := range to {
		stage := fmt.Sprintf("end%d", i+1)
		if a, ok := s.scripted(stage); !ok || strings.HasPrefix(a.say, "2") {
			s.mu.Lock()
			s.messages[index].to = append(s.messages[index].to, strings.Fields(r)...)
			s.mu.Unlock()
		}
		if !s.reply(stage, "250 2.0.0 <"+r+"> saved\r\n") {
			return false
		}
	}
	return true
}
