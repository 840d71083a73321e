package sign

import (
	"time"

	"mxbypass/mailbox"
	"mxbypass/relay/header"
)

// Complete gives a message of a user what it must have and lacks (RFC 6409 section 8): Date, Message-ID. hostname and id
// make the Message-ID. The error is that of reading c.
func Complete(c mailbox.Content, hostname, id string, now time.Time) (mailbox.Content, error) {
	h, err := header.Read(c, c.Size())
	if err != nil {
		return nil, err
	}
	var missing []header.Field
	if !h.Has("Date") {
		missing = append(missing, header.NewField("Date", now.Format("Mon, 02 Jan 2006 15:04:05 -0700")))
	}
	if !h.Has("Message-ID") {
		missing = append(missing, header.NewField("Message-ID", "<"+id+"@"+hostname+">"))
	}
	if len(missing) == 0 {
		return c, nil
	}
	h.Prepend(missing...)
	return h.Content(), nil
}
