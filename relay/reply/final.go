package reply

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"mxbypass/mailbox"
	"mxbypass/routing"
	"mxbypass/routing/mx"
)

// Result is what became of one recipient of a message.
type Result struct {
	Route  routing.Route // its route, whose action is deliver or relay
	Err    error         // why nobody has taken it; see [Worst] for a route with several targets
	Queued bool          // it waits in the queue
}

// maxNamed is how many recipients of each outcome a reply names.
const maxNamed = 8

// ForRoute gives the answer to RCPT: the reason of a refusal, with the name that it is about, and the remedy.
func ForRoute(r routing.Route) Reply {
	if r.Action == routing.Deliver || r.Action == routing.Relay {
		return Reply{250, [3]int{2, 1, 5}, "OK"}
	}
	rep := For(r.Err)
	if rep.Code == 250 { // a refusal without a reason is a mistake of ours, and no reason to accept
		rep = unknown.reply()
	}
	rep.Text = clip(who(r) + ": " + rep.Text)
	return rep
}

// Each gives the reply for one recipient after the end of data, as LMTP has it (RFC 2033 section 4.2). id is ours, for
// the log.
func Each(id string, r Result) Reply {
	if r.Err == nil {
		return taken(done(r)+" "+who(r.Route)+bypassing(r), id)
	}
	rep := For(r.Err)
	rep.Text = clip(who(r.Route)+": "+rep.Text) + ", id " + id
	return rep
}

// Final gives the one reply of SMTP after the end of data. When something can be tried again it is that, because the
// client then keeps the message; those who have it by then are remembered (see package delivery). Otherwise it is a
// success if everybody has it, and a refusal that names who has it and who will not, if somebody cannot have it: the
// client's bounce then tells the truth.
func Final(id string, results []Result) Reply {
	if len(results) == 1 {
		return Each(id, results[0])
	}
	var good, final, held, temporary []Result
	for _, r := range results {
		switch {
		case r.Err == nil:
			good = append(good, r)
		case errors.Is(r.Err, ErrHeldBack): // says nothing when it is known who holds them back
			held = append(held, r)
		case For(r.Err).Permanent():
			final = append(final, r)
		default:
			temporary = append(temporary, r)
		}
	}
	switch {
	case len(results) == 0:
		return For(ErrNoRecipients)
	case len(temporary) > 0:
		return shared(id, temporary, nil)
	case len(held) > 0:
		return shared(id, held, nil)
	case len(final) > 0:
		return shared(id, final, good)
	}
	return taken(allGood(good), id)
}

// allGood says what became of several recipients who are all well.
func allGood(good []Result) string {
	queued, by := 0, bypassing(good[0])
	for _, r := range good {
		if r.Queued {
			queued++
		}
		if bypassing(r) != by {
			by = ""
		}
	}
	switch queued {
	case 0:
		return fmt.Sprintf("delivered to %d mailboxes%s", len(good), by)
	case len(good):
		return fmt.Sprintf("queued for %d recipients", queued)
	}
	return fmt.Sprintf("delivered to %s, queued for %s", number(len(good)-queued, "mailbox", "mailboxes"),
		number(queued, "recipient", "recipients"))
}

func number(n int, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, more)
}

// done says what became of a recipient who is well.
func done(r Result) string {
	if r.Queued {
		return "queued for"
	}
	return "delivered to"
}

func taken(what, id string) Reply {
	return Reply{250, [3]int{2, 0, 0}, clip(what) + ", id " + id}
}

// shared is the reply for the recipients that failed, with the code of the first of them, naming those who have it.
func shared(id string, failed, good []Result) Reply {
	rep := For(failed[0].Err)
	var lines []string
	for i, r := range good {
		if i == maxNamed {
			lines = append(lines, fmt.Sprintf("delivered to or queued for %d more", len(good)-i))
			break
		}
		lines = append(lines, clip(done(r)+" "+who(r.Route)))
	}
	for i, r := range failed {
		if i == maxNamed {
			lines = append(lines, fmt.Sprintf("not delivered to %d more", len(failed)-i))
			break
		}
		lines = append(lines, clip("not delivered to "+who(r.Route)+": "+For(r.Err).Text))
	}
	last := "not delivered to any recipient"
	switch {
	case rep.Temporary():
		last = "try again for all recipients"
	case len(good) > 0:
		last = "do not send it again to those who have it"
	}
	rep.Text = strings.Join(append(lines, last+", id "+id), "\n")
	return rep
}

// bypassing says past whose MX the message went.
func bypassing(res Result) string {
	r := res.Route
	if res.Queued || r.Bypassed == nil || r.Bypassed.Kind != mx.External && r.Bypassed.Kind != mx.Mixed {
		return ""
	}
	provider := plainText(r.Bypassed.Provider, 60)
	if provider == "" {
		provider = "the external MX"
	}
	return ", bypassing " + provider
}

// who names the recipient of a route without telling more than the client wrote: the mailbox when the path is plainly
// that mailbox, as it is or under a gateway; otherwise the path itself.
func who(r routing.Route) string {
	if len(r.Recipients) == 1 && spells(r.Path.Address, r.Recipients[0].Delivered, !r.Gateway.IsZero()) {
		return clip(mailbox.Printable(r.Recipients[0].Delivered.Wire()))
	}
	return clip("<" + mailbox.Printable(r.Path.Written) + ">")
}

// spells tells whether written is the address of box, or, under a gateway, box with its "@" replaced by one separator.
func spells(written, box mailbox.Address, gateway bool) bool {
	box = box.Fold()
	if !gateway {
		return written.Fold() == box
	}
	local := string(written.Local.Fold())
	user, ok := strings.CutPrefix(local, string(box.Local))
	if !ok || user == "" {
		return false
	}
	_, n := utf8.DecodeRuneInString(user)
	domain, err := mailbox.ParseDomainName(user[n:])
	return err == nil && domain == box.Domain
}

// clip cuts a line to what fits in a reply beside an id.
func clip(s string) string {
	const room = maxLine - 40
	if len(s) <= room {
		return s
	}
	cut := room - 3
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "..."
}
