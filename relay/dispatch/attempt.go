package dispatch

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"mxbypass/mailbox"
	"mxbypass/mailbox/smtpclient"
	"mxbypass/relay/outbound"
	"mxbypass/relay/queue"
	"mxbypass/relay/reply"
)

// storePatience is how long a store may take for one group; its own timers are shorter.
const storePatience = 15 * time.Minute

// result is what was said about one recipient, and by whom.
type result struct {
	outbound.Result
	host, tls string
}

// attempt gives the group to its server or store. It gives one result for each item. A bug on the other side of the
// interface becomes a temporary failure: it must not end the process, and what was done before is not known.
func (w *worker) attempt(g *group) (results []result) {
	defer func() {
		if p := recover(); p != nil {
			results = sameResult(len(g.items), ours(fmt.Errorf("panic in a delivery: %v", p), true))
		}
		if n := len(results); n != len(g.items) {
			results = sameResult(len(g.items), ours(fmt.Errorf("%d results for %d recipients", n, len(g.items)), true))
		}
	}()
	if w.at.site != "" {
		return w.store(g)
	}
	first := g.items[0]
	known := &smtpclient.Octets{EightBit: first.Message.EightBit, UTF8Header: first.Message.UTF8Header || !isASCII(first.Mark)}
	mail := outbound.Mail{Message: rebuilt(g, w.queue), Trace: append([]byte(first.Mark), first.Message.Trace...),
		Known: known}
	for _, item := range g.items {
		mail.To = append(mail.To, smtpclient.Rcpt{Address: item.To, Report: item.Report})
	}
	said := w.conn.Send(w.sending, mail)
	host, tls := w.conn.Host(), w.conn.TLS() // only now: a kept connection that was dead has been replaced
	for _, r := range said {
		results = append(results, result{r, host, tls})
	}
	return results
}

// rebuilt makes the message again that was queued, with the sender of this group.
func rebuilt(g *group, q backlog) *mailbox.Message {
	first := g.items[0]
	h := first.Message
	return &mailbox.Message{ID: h.ID, Reverse: first.Reverse, UTF8: h.UTF8, Trace: h.Trace, Content: g.content(q)(h),
		RequireTLS: h.RequireTLS, Return: h.Return, EnvelopeID: h.EnvelopeID}
}

// store gives the group to a store.
func (w *worker) store(g *group) []result {
	s := w.env.Stores[w.at.site]
	if s == nil {
		err := fmt.Errorf("%w: no store for site %q", mailbox.ErrUnavailable, w.at.site)
		return sameResult(len(g.items), fromStore(err))
	}
	ctx, cancel := context.WithTimeout(w.sending, storePatience)
	defer cancel()
	to := make([]mailbox.Recipient, len(g.items))
	for i, item := range g.items {
		to[i] = mailbox.Recipient{Mailbox: mailbox.Mailbox{Address: item.Mailbox, Site: w.at.site}, Tag: item.Tag,
			Original: item.Original, Delivered: item.To, Report: item.Report}
	}
	delivery, errs := s.Prepare(ctx, rebuilt(g, w.queue), to)
	if delivery != nil {
		if ctx.Err() != nil {
			delivery.Abort()
			errs = sameError(len(to), ctx.Err())
		} else {
			errs = delivery.Commit(ctx)
		}
	}
	results := make([]result, len(errs))
	for i, err := range errs {
		results[i].host = w.at.name
		if err != nil {
			results[i].Failure = fromStore(err)
		}
	}
	return results
}

// fromStore makes a failure of a store's error. It is final where the table of replies says so, or the server itself.
func fromStore(err error) *outbound.Failure {
	rep := reply.For(err)
	f := &outbound.Failure{Scope: outbound.ScopeRecipient, Permanent: rep.Permanent(), Enhanced: rep.Enhanced, Text: rep.Text,
		InDoubt: errors.Is(err, mailbox.ErrInDoubt), Err: err}
	var remote *mailbox.RemoteError
	var lost *smtpclient.LostError
	switch {
	case errors.As(err, &remote):
		f.Host, f.MTA, f.Command, f.Code, f.Text = remote.Host, mtaOf(remote.Host), remote.Command, remote.Code, remote.Text
		if remote.Enhanced[0] == remote.Code/100 {
			f.Enhanced = remote.Enhanced
		}
		switch remote.Command {
		case "connect", "LHLO", "EHLO", "HELO", "AUTH", "STARTTLS":
			f.Scope, f.Permanent, f.Enhanced[0] = outbound.ScopeDestination, false, 4
		}
	case f.InDoubt, f.Permanent, errors.Is(err, queue.ErrDamaged):
	case errors.As(err, &lost) && lost.Command == smtpclient.MailData: // as with servers elsewhere
	case errors.Is(err, mailbox.ErrUnavailable), errors.Is(err, mailbox.ErrNoSpace):
		f.Scope = outbound.ScopeDestination
	}
	return f
}

// ours makes a failure of what went wrong on our side.
func ours(err error, doubt bool) *outbound.Failure {
	return &outbound.Failure{Scope: outbound.ScopeMessage, InDoubt: doubt, Enhanced: [3]int{4, 3, 0},
		Text: "a problem on the side of the relay", Err: err}
}

// untold is the cause of a failure whose words do not tell it: of one here, where senders are to read nothing of our files
// and programs. It is for the log.
func untold(f *outbound.Failure) error {
	if f == nil || f.Host != "" || f.Command != "" {
		return nil
	}
	return f.Err
}

func sameResult(n int, f *outbound.Failure) []result {
	all := make([]result, n)
	for i := range all {
		all[i].Failure = f
	}
	return all
}

func sameError(n int, err error) []error {
	errs := make([]error, n)
	for i := range errs {
		errs[i] = err
	}
	return errs
}

// attemptOf gives what is kept of a failure.
func attemptOf(f *outbound.Failure) *queue.Attempt {
	return &queue.Attempt{Time: time.Now(), Host: f.Host, Command: f.Command, Code: f.Code, Enhanced: f.Enhanced, Text: f.Text,
		TLS: f.TLS}
}

// stopped is the attempt that the end of our process broke off, or did not begin.
func stopped() *queue.Attempt {
	return &queue.Attempt{Time: time.Now(), Enhanced: [3]int{4, 3, 2}, Text: "the relay was stopped before it was tried"}
}

// words says in a sentence why an attempt failed, printable. The words of the other server are quoted as they are.
func words(a *queue.Attempt) string {
	if a == nil {
		return "it was not tried"
	}
	text := mailbox.Printable(strings.Join(strings.Fields(a.Text), " "))
	switch {
	case a.Code != 0 && a.Command != "":
		return fmt.Sprintf("%s answered %s with %s", mailbox.Printable(a.Host), a.Command, said(a))
	case a.Code != 0:
		return fmt.Sprintf("%s said %s", mailbox.Printable(a.Host), said(a))
	case a.Host != "":
		return fmt.Sprintf("%s: %s", mailbox.Printable(a.Host), text)
	}
	return text
}

// said is the reply of the other server with its codes, in one line. A status without a subject is what we took in place
// of one that the server did not give: it is no word of the server.
func said(a *queue.Attempt) string {
	status, class := "", a.Code/100
	if a.Enhanced[0] == class && a.Enhanced != [3]int{class} {
		status = fmt.Sprintf("%d.%d.%d ", a.Enhanced[0], a.Enhanced[1], a.Enhanced[2])
	}
	return fmt.Sprintf("%d %s%s", a.Code, status, mailbox.Printable(strings.Join(strings.Fields(a.Text), " ")))
}

// mtaOf cuts the name from "name[address]".
func mtaOf(host string) string {
	name, _, _ := strings.Cut(host, "[")
	return name
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
