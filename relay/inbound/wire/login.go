package wire

import (
	"encoding/base64"
	"errors"
	"strings"
)

// Errors of a dialogue of AUTH that concern the client alone; the connection goes on.
var (
	errCancelled = errors.New("AUTH cancelled")
	errBase64    = errors.New("malformed base64")
)

var answerCancelled = syntax(501, 0, "authentication cancelled")

// parseAuth parses the arguments of AUTH (RFC 4954 section 4). About stays empty: there are secrets in them.
func (cmd *Command) parseAuth(args string) *refusal {
	fields := strings.Fields(args)
	if len(fields) < 1 || len(fields) > 2 {
		return refused(answerAuth)
	}
	cmd.Mechanism = upper(fields[0])
	if len(fields) == 1 {
		return nil
	}
	if fields[1] == "=" { // an initial response of no octets
		cmd.Initial = []byte{}
		return nil
	}
	b, err := base64.StdEncoding.DecodeString(fields[1])
	if err != nil {
		return refused(answerBase64)
	}
	cmd.Initial = b
	return nil
}

// login runs an AUTH command. The error ends the connection.
func (c *Conn) login() error {
	cmd := c.command
	r, err := c.peer.Login(&cmd, c.ask)
	switch {
	case errors.Is(err, errCancelled):
		return c.refuse(&refusal{rep: answerCancelled, err: err})
	case errors.Is(err, errBase64):
		return c.refuse(&refusal{rep: answerBase64, err: err})
	case err != nil:
		return err
	}
	c.say(r)
	return nil
}

// ask sends a challenge and reads the response to it.
func (c *Conn) ask(challenge string) ([]byte, error) {
	c.put([]byte("334 " + base64.StdEncoding.EncodeToString([]byte(challenge)) + "\r\n"))
	b := c.cfg.Buffers.getSmall()
	defer func() {
		clear(b.b) // there was a password in it
		c.cfg.Buffers.put(b)
	}()
	line, err := c.nextLine(b.b)
	if err != nil {
		return nil, err
	}
	text := strings.TrimRight(string(line), "\r\n")
	if text == "*" {
		return nil, errCancelled
	}
	response, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, errBase64
	}
	return response, nil
}
