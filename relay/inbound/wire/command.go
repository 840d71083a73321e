package wire

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"mxbypass/mailbox"
	"mxbypass/relay/reply"
)

// Verbs of the commands that a session gets to see.
const (
	HELO = "HELO"
	EHLO = "EHLO"
	LHLO = "LHLO"
	MAIL = "MAIL"
	RCPT = "RCPT"
	DATA = "DATA"
	BDAT = "BDAT"
	RSET = "RSET"
	NOOP = "NOOP"
	VRFY = "VRFY"
	QUIT = "QUIT"

	STARTTLS = "STARTTLS"
	AUTH     = "AUTH"
)

// What go-smtp is handed as reverse-path and forward-path: something that it parses and that means nothing.
const (
	placeholderMail = "MAIL FROM:<sender@placeholder.invalid>\r\n"
	placeholderRcpt = "RCPT TO:<recipient@placeholder.invalid>\r\n"
)

// Command is a command of the client, parsed.
type Command struct {
	Verb  string
	Hello string       // HELO, EHLO, LHLO: the name, every octet that no host name or address literal has replaced
	Path  mailbox.Path // MAIL, RCPT
	Size  int64        // MAIL: announced size (RFC 1870), 0 when there is none
	UTF8  bool         // MAIL: SMTPUTF8 (RFC 6531)

	RequireTLS bool // MAIL: REQUIRETLS (RFC 8689)

	Return     mailbox.Return // MAIL: RET (RFC 3461)
	EnvelopeID string         // MAIL: ENVID, xtext as it came
	Report     mailbox.Report // RCPT: NOTIFY and ORCPT

	Mechanism string // AUTH (RFC 4954): in capitals
	Initial   []byte // AUTH: the initial response; nil: there is none

	Chunk int64 // BDAT: octets that follow
	Last  bool  // BDAT: LAST
	// About is what the command is about, printable, for the log: set before anything is found to be wrong with it.
	About string

	line string // for go-smtp
}

// The answers to what is wrong with a command. Nothing that the client wrote is repeated in them.
var (
	answerTooLong   = syntax(500, 2, "command line too long, closing the connection")
	answerControl   = syntax(500, 2, "control characters are not allowed in a command")
	answerUnknown   = syntax(500, 2, "command not recognized")
	answerUnable    = syntax(502, 1, "command not implemented")
	answerForbidden = syntax(500, 2, "this is a mail server, closing the connection")
	answerNoArgs    = syntax(501, 4, "the command has no arguments")
	answerMail      = syntax(501, 2, "the syntax is MAIL FROM:<address>")
	answerRcpt      = syntax(501, 2, "the syntax is RCPT TO:<address>")
	answerBadParam  = syntax(501, 4, "a parameter is malformed or given twice")
	answerParam     = syntax(555, 4, "a parameter is not recognized or not implemented")
	answerBody      = syntax(504, 4, "BODY is 7BIT or 8BITMIME")
	answerAuth      = syntax(501, 4, "the syntax is AUTH mechanism [initial-response]")
	answerBase64    = syntax(501, 2, "malformed base64")
	answerChunk     = syntax(501, 4, "the syntax is BDAT size [LAST], closing the connection")
)

func syntax(code, detail int, text string) reply.Reply {
	return reply.Reply{Code: code, Enhanced: [3]int{5, 5, detail}, Text: text}
}

var errSyntax = errors.New("syntax error")

func refused(r reply.Reply) *refusal { return &refusal{rep: r, err: errSyntax} }

// parse parses a line into c.command.
func (c *Conn) parse(raw []byte) *refusal {
	c.command = Command{}
	raw = raw[:len(raw)-1]
	if n := len(raw); n > 0 && raw[n-1] == '\r' {
		raw = raw[:n-1]
	}
	for _, b := range raw {
		if b < 0x20 || b == 0x7f {
			return refused(answerControl)
		}
	}
	word, args, _ := strings.Cut(string(raw), " ")
	verb := upper(word)
	cmd := &c.command
	switch verb {
	case HELO, EHLO, LHLO:
		cmd.Verb = verb
		cmd.Hello = helloName(args)
		cmd.line = verb + " " + cmd.Hello + "\r\n"
		if cmd.Hello == "" {
			cmd.line = verb + "\r\n" // go-smtp has an answer to it
		}
	case MAIL:
		cmd.Verb = verb
		if r := cmd.parseMail(args, c.cfg.MaxSize); r != nil {
			return r
		}
		if cmd.RequireTLS && c.secure == nil { // RFC 8689 section 2
			return &refusal{rep: reply.For(reply.ErrNeedsTLS), err: reply.ErrNeedsTLS}
		}
	case RCPT:
		cmd.Verb = verb
		_, utf8 := c.peer.Transaction()
		return cmd.parseRcpt(args, utf8)
	case BDAT:
		cmd.Verb = verb
		return cmd.parseChunk(args)
	case AUTH:
		cmd.Verb = verb
		return cmd.parseAuth(args)
	case DATA, RSET, QUIT, STARTTLS:
		cmd.Verb = verb
		cmd.line = verb + "\r\n"
		if strings.TrimSpace(args) != "" {
			return refused(answerNoArgs)
		}
	case NOOP, VRFY:
		cmd.Verb = verb
		cmd.line = verb + "\r\n"
	case "EXPN", "HELP", "ETRN", "SEND", "SOML", "SAML", "TURN":
		return refused(answerUnable)
	case "GET", "POST", "PUT", "HEAD", "CONNECT", "OPTIONS": // a browser made to talk to us
		return &refusal{rep: answerForbidden, err: errForbidden, end: true}
	default:
		return refused(answerUnknown)
	}
	return nil
}

// upper folds ASCII only: to Unicode a "ſ" is an S as well, to SMTP it is not.
func upper(s string) string {
	for i := 0; i < len(s); i++ {
		if 'a' <= s[i] && s[i] <= 'z' {
			b := []byte(s)
			for ; i < len(b); i++ {
				if 'a' <= b[i] && b[i] <= 'z' {
					b[i] -= 'a' - 'A'
				}
			}
			return string(b)
		}
	}
	return s
}

// helloName gives the argument of HELO as it can be shown anywhere: octets that no domain and no address literal has
// (RFC 5321 section 4.1.2, with the underscore of real life) are replaced.
func helloName(args string) string {
	name, _, _ := strings.Cut(strings.TrimLeft(args, " "), " ")
	if len(name) > mailbox.MaxDomainName {
		name = name[:mailbox.MaxDomainName]
	}
	b := []byte(name)
	for i, c := range b {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case strings.IndexByte("-._:[]", c) >= 0:
		default:
			b[i] = '?'
		}
	}
	return string(b)
}

// parseMail parses the arguments of MAIL (RFC 5321 section 4.1.1.2).
func (cmd *Command) parseMail(args string, maxSize int64) *refusal {
	path, rest, r := cutArgument(args, "FROM:", answerMail)
	if r != nil {
		return r
	}
	cmd.About = mailbox.Printable(path)
	if r := cmd.mailParams(rest, maxSize); r != nil {
		return r
	}
	var err error
	if cmd.Path, err = mailbox.ParseReversePath(path, cmd.UTF8); err != nil {
		err = fmt.Errorf("%w: %w", reply.ErrSender, err)
		return &refusal{rep: reply.For(err), err: err}
	}
	cmd.line = placeholderMail
	return nil
}

// parseRcpt parses the arguments of RCPT (RFC 5321 section 4.1.1.3).
func (cmd *Command) parseRcpt(args string, utf8 bool) *refusal {
	path, rest, r := cutArgument(args, "TO:", answerRcpt)
	if r != nil {
		return r
	}
	cmd.About = mailbox.Printable(path)
	if r := cmd.rcptParams(rest, utf8); r != nil {
		return r
	}
	var err error
	if cmd.Path, err = mailbox.ParsePath(path, utf8); err != nil {
		return &refusal{rep: reply.For(err), err: err}
	}
	cmd.line = placeholderRcpt
	return nil
}

// cutArgument takes the path out of "FROM:<path> parameters".
func cutArgument(args, prefix string, answer reply.Reply) (path, rest string, r *refusal) {
	args = strings.TrimLeft(args, " ")
	if len(args) < len(prefix) || upper(args[:len(prefix)]) != prefix {
		return "", "", refused(answer)
	}
	path, rest, err := mailbox.CutPath(args[len(prefix):])
	if err != nil {
		return "", "", &refusal{rep: answer, err: err}
	}
	return path, rest, nil
}

// parseSize parses 1 to 20 digits (RFC 1870 section 4); what is beyond all limits saturates.
func parseSize(s string) (int64, bool) {
	if len(s) == 0 || len(s) > 20 {
		return 0, false
	}
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return 0, false
		}
	}
	n, _ := strconv.ParseInt(s, 10, 64) // the largest number when it is out of range
	return n, true
}

// parseChunk parses the arguments of BDAT (RFC 3030 section 2). When they are malformed nobody knows where the chunk
// ends: the connection does.
func (cmd *Command) parseChunk(args string) *refusal {
	fields := strings.Fields(args)
	ok := len(fields) == 1 || len(fields) == 2 && upper(fields[1]) == "LAST"
	if ok {
		cmd.Chunk, ok = parseSize(fields[0])
	}
	if !ok {
		return &refusal{rep: answerChunk, err: errBadChunk, end: true}
	}
	cmd.Last = len(fields) == 2
	cmd.line = "DATA\r\n"
	return nil
}
