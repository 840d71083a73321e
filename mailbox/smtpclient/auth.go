package smtpclient

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/emersion/go-sasl"

	"mxbypass/mailbox"
)

// Auth is who we are to the server (RFC 4954: PLAIN, LOGIN).
type Auth struct{ User, Password string }

// maxCommand is the length of a command line that every server has to accept (RFC 5321 section 4.5.3.1.4).
const maxCommand = 512

// maxChallenges is how often a server may ask: LOGIN has two questions.
const maxChallenges = 2

// authenticate proves who we are. A wrong password is a *mailbox.RemoteError of the command AUTH.
func (c *Client) authenticate(ctx context.Context) error {
	if c.TLS() == "" {
		return c.noTLS(fmt.Errorf("%s: AUTH is not done without", c.opts.Host))
	}
	auth, err := c.mechanism()
	if err != nil {
		return fmt.Errorf("%s: %w: %w", c.opts.Host, mailbox.ErrUnavailable, err)
	}
	name, response, err := auth.Start()
	if err != nil {
		return c.lost(ctx, "AUTH", err)
	}
	line := "AUTH " + name
	initial := line + " " + base64.StdEncoding.EncodeToString(response)
	if name == sasl.Plain && len(initial+"\r\n") <= maxCommand {
		line, response = initial, nil // LOGIN is asked for the name: not every server takes it sooner
	}
	for range maxChallenges + 1 {
		rep, err := c.ask(ctx, "AUTH", line)
		if err != nil || rep.positive() {
			return err
		}
		if response == nil {
			challenge, err := base64.StdEncoding.DecodeString(rep.text)
			if err == nil {
				response, err = auth.Next(challenge)
			}
			if err != nil {
				return c.lost(ctx, "AUTH", err)
			}
		}
		line, response = base64.StdEncoding.EncodeToString(response), nil
	}
	return c.lost(ctx, "AUTH", fmt.Errorf("%w: too many challenges", errReply))
}

// ask sends a line of AUTH and reads the answer: 2xx is the end, 334 wants to know more.
func (c *Client) ask(ctx context.Context, command, line string) (reply, error) {
	timeout := c.opts.Timeouts.Hello
	if err := c.say(ctx, command, []byte(line+"\r\n"), timeout); err != nil {
		return reply{}, err
	}
	rep, err := c.answer(ctx, command, timeout)
	if err == nil && !rep.positive() && rep.code != 334 {
		return reply{}, c.lost(ctx, command, fmt.Errorf("%w: %d", errReply, rep.code))
	}
	return rep, err
}

// mechanism chooses among what the server offers.
func (c *Client) mechanism() (sasl.Client, error) {
	a := c.opts.Auth
	if strings.Contains(a.User+a.Password, "\x00") { // it would be cut in two by PLAIN
		return nil, errors.New("NUL in the user name or password")
	}
	offered := strings.Fields(strings.ToUpper(c.ext["AUTH"]))
	switch {
	case slices.Contains(offered, sasl.Plain):
		return sasl.NewPlainClient("", a.User, a.Password), nil
	case slices.Contains(offered, sasl.Login):
		return anyPrompt{sasl.NewLoginClient(a.User, a.Password)}, nil
	}
	return nil, ErrNoAuth
}

// anyPrompt is LOGIN with servers that ask in other words: their questions have an order, and no meaning.
type anyPrompt struct{ sasl.Client }

// Next implements sasl.Client.
func (a anyPrompt) Next([]byte) ([]byte, error) { return a.Client.Next([]byte("Password:")) }
