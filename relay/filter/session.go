package filter

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"strconv"

	"github.com/d--j/go-milter"

	"mxbypass/mailbox"
	"mxbypass/relay/spool"
)

// Client is who brings the message, as a filter is told of it. Empty fields are not known.
type Client struct {
	Addr     netip.Addr // zero: it came over a unix socket
	Port     uint16
	Name     string // by reverse DNS
	Hello    string // as it called itself
	Login    string // of a user
	Hostname string // ours
	ID       string // of the message, in the log and in Received

	TLSVersion, TLSCipher string
}

// Result is what a filter has made of a message.
type Result struct {
	Content    mailbox.Content // the same that it was given, when nothing is to be changed; valid until Close of the session
	Discard    bool            // it is to be accepted and thrown away
	Quarantine string          // why it is to be put aside: one line; empty: it is not
}

// Session is one message on its way past a filter: Mail, any number of Rcpt, and Message, in this order. It belongs to
// one goroutine.
type Session struct {
	filter  *Filter
	client  Client
	macros  macros
	line    *line                 // nil: not connected
	milter  *milter.ClientSession // nil: nothing more is to be said, or nothing has been yet
	discard bool
	body    *spool.Writer // which the filter has written
}

// NewSession begins with a message. Nothing is connected yet. The caller closes the session in the end.
func (f *Filter) NewSession(c Client) *Session {
	return &Session{filter: f, client: c, macros: newMacros(f.options.MTA, c)}
}

// Mail connects, lets the filter see who has connected, and who sends; size is what the sender announces, zero when it
// does not. The error is a [*Rejection], wraps [ErrDown], or is that of the context.
func (s *Session) Mail(ctx context.Context, reverse mailbox.Address, size int64) error {
	if !s.filter.health.try() {
		return s.down(errLeftAlone)
	}
	if err := s.connect(ctx); err != nil {
		return s.failed(ctx, err, false)
	}
	s.macros.mail(reverse)
	end := s.line.begin(ctx, s.filter.options.Timeout)
	defer end()
	name, family, address := s.client.peer()
	for _, ask := range []func() (*milter.Action, error){
		func() (*milter.Action, error) { return s.milter.Conn(name, family, s.client.Port, address) },
		func() (*milter.Action, error) { return s.milter.Helo(s.client.Hello) },
		func() (*milter.Action, error) { return s.milter.Mail(reverse.Wire(), sizeArgument(size)) },
	} {
		if act, err := ask(); err != nil {
			return s.failed(ctx, err, true)
		} else if err := s.follow(act); err != nil {
			s.end()
			return err
		}
		if s.milter == nil {
			return nil
		}
	}
	return nil
}

func sizeArgument(size int64) string {
	if size <= 0 {
		return ""
	}
	return "SIZE=" + strconv.FormatInt(size, 10)
}

// Rcpt lets the filter see a recipient: the mailbox, and as ORCPT what the client wrote when that is something else
// (RFC 3461 section 4.2). The error is that of Mail; a [*Rejection] is about this recipient only.
func (s *Session) Rcpt(ctx context.Context, to mailbox.Address, written string) error {
	if s.milter == nil {
		return nil
	}
	end := s.line.begin(ctx, s.filter.options.Timeout)
	defer end()
	s.macros.rcpt(to)
	act, err := s.milter.Rcpt(to.Wire(), original(to, written))
	if err != nil {
		return s.failed(ctx, err, true)
	}
	return s.follow(act)
}

// Message lets the filter see the message, and gives what is to become of it. The error is that of Mail, wraps
// [ErrFieldTooBig], or says that a changed body finds no room or the content cannot be read.
func (s *Session) Message(ctx context.Context, id string, c mailbox.Content) (Result, error) {
	same := Result{Content: c, Discard: s.discard}
	if s.milter == nil {
		return same, nil
	}
	if most := s.filter.options.MaxSize; most > 0 && c.Size() > most {
		s.filter.options.Log.Info("message too long for the filter", slog.String("id", id), slog.Int64("size", c.Size()))
		s.end()
		return same, nil
	}
	s.macros.id(id)
	end := s.line.begin(ctx, s.filter.options.Timeout)
	defer end()
	shown, err := show(c)
	if err != nil {
		return same, err
	}
	judged, err := s.judge(shown)
	if err == nil {
		var r Result
		if r, err = s.result(shown, judged, c); err == nil || isRejection(err) {
			s.end()
			s.filter.health.well()
			return r, err
		}
	}
	return same, s.failed(ctx, err, true)
}

// Close ends the session; what it has changed is not valid any more.
func (s *Session) Close() {
	s.end()
	if s.body != nil {
		s.body.Release()
		s.body = nil
	}
}

// connect connects to the filter and agrees with it on a protocol.
func (s *Session) connect(ctx context.Context) error {
	o := &s.filter.options
	conn, err := s.filter.dial(ctx)
	if err != nil {
		return err
	}
	line := newLine(conn)
	s.line = line
	end := line.begin(ctx, o.Connect)
	defer end()
	s.milter, err = milter.NewClient(o.Network, o.Address, append(stages(), milter.WithDialer(line),
		milter.WithReadTimeout(0), milter.WithWriteTimeout(0), milter.WithoutProtocol(milter.OptRcptRej))...).Session(s.macros)
	return err
}

// follow does what the filter wants after a command. The error is a [*Rejection].
func (s *Session) follow(act *milter.Action) error {
	switch act.Type {
	case milter.ActionContinue, milter.ActionSkip:
	case milter.ActionAccept:
		s.end()
		s.filter.health.well()
	case milter.ActionDiscard:
		s.discard = true
		s.end()
		s.filter.health.well()
	default:
		s.filter.health.well()
		return rejection(s.filter.options.Name, act)
	}
	return nil
}

// end says good-bye to the filter, which is not asked any more.
func (s *Session) end() {
	if s.milter != nil {
		_ = s.milter.Close() // it has nothing more to say
		s.milter = nil
	}
	if s.line != nil {
		_ = s.line.Close()
		s.line = nil
	}
}

// failed ends the session after an error, and says whether mail goes on: nil if so. begun tells whether the filter had
// answered before.
func (s *Session) failed(ctx context.Context, err error, begun bool) error {
	s.end()
	name := s.filter.options.Name
	if cause := ctx.Err(); cause != nil {
		return fmt.Errorf("filter %q: %w", name, cause) // it is not to blame for it
	}
	if own := ours(err); own != nil {
		return fmt.Errorf("filter %q: %w", name, own)
	}
	s.filter.health.failed(err, begun)
	return s.down(err)
}

// down gives the error of a filter that cannot be asked; nil when mail goes on without it.
func (s *Session) down(cause error) error {
	o := &s.filter.options
	if o.WhenDown == Tempfail {
		return fmt.Errorf("%w: %q: %w", ErrDown, o.Name, cause)
	}
	o.Log.Warn("message goes on without the filter", slog.String("id", s.client.ID), slog.String("error", clip(cause.Error())))
	return nil
}
