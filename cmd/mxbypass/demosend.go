package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"strings"
	"sync"
	"time"

	"mxbypass/mailbox"
)

// demoPatience is how long the demo waits for its own relay.
const demoPatience = 30 * time.Second

// demoSend sends a message with that Message-ID to demoAddress as any client would, and prints the dialogue.
func (a *app) demoSend(ctx context.Context, address, id string) (err error) {
	d := net.Dialer{Timeout: demoPatience}
	raw, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	conn := textproto.NewConn(raw)
	defer func() { err = errors.Join(err, conn.Close()) }()
	if err := raw.SetDeadline(time.Now().Add(demoPatience)); err != nil {
		return err
	}
	if err := a.demoReply(conn, 220); err != nil {
		return err
	}
	message := strings.Join([]string{
		"From: Demo <demo@client.test>",
		"To: " + demoAddress,
		"Subject: past the MX",
		"Date: " + time.Now().Format(time.RFC1123Z),
		"Message-ID: " + id,
		"",
		"The MX records of exemple.org point to Google. This is in a Maildir here.",
		".",
	}, "\r\n")
	for _, step := range []struct {
		send string
		want int
	}{
		{"EHLO client.test", 250},
		{"MAIL FROM:<demo@client.test>", 250},
		{"RCPT TO:<" + demoAddress + ">", 250},
		{"DATA", 354},
		{message, 250},
		{"QUIT", 221},
	} {
		for line := range strings.SplitSeq(step.send, "\r\n") {
			fmt.Fprintln(a.out, "  C: "+line)
		}
		if err := conn.PrintfLine("%s", step.send); err != nil {
			return err
		}
		if err := a.demoReply(conn, step.want); err != nil {
			return err
		}
	}
	return nil
}

// demoReply reads and prints a reply.
func (a *app) demoReply(conn *textproto.Conn, want int) error {
	for {
		line, err := conn.ReadLine()
		if err != nil {
			return err
		}
		fmt.Fprintln(a.out, "  S: "+mailbox.Printable(line))
		switch {
		case len(line) > 3 && line[3] == '-':
		case !strings.HasPrefix(line, fmt.Sprint(want)):
			return fmt.Errorf("the relay said %q, not %d", line, want)
		default:
			return nil
		}
	}
}

// heldWriter keeps what is written to it until it is released.
type heldWriter struct {
	to io.Writer

	mu       sync.Mutex
	held     bytes.Buffer
	released bool
}

// Write implements [io.Writer].
func (w *heldWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.released {
		return w.to.Write(p)
	}
	return w.held.Write(p)
}

// release passes on what was kept, and from now on everything.
func (w *heldWriter) release() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.released = true
	_, err := w.held.WriteTo(w.to)
	return err
}
