package maillog

import (
	"log/slog"
	"strings"

	"mxbypass/mailbox"
	"mxbypass/relay/reply"
	"mxbypass/routing"
)

// maxWhy bounds the explanation of a verdict, which has several parts.
const maxWhy = 1500

// loginsPerConn is how many failed logins one connection may write.
const loginsPerConn = 20

// Secured: the connection is encrypted. certificate names that of a client which is trusted by it; empty: none.
func (c *Conn) Secured(version, cipher, certificate string) {
	c.tls = version
	if certificate == "" && (c.quiet || !c.enabled(slog.LevelDebug)) {
		return
	}
	level := slog.LevelDebug
	if certificate != "" {
		level = slog.LevelInfo
	}
	c.event(level, "secured", slog.String("tls", version), slog.String("cipher", cipher), optional("certificate", certificate))
}

// Insecure: TLS failed, and the connection with it.
func (c *Conn) Insecure(err error) {
	if !c.quiet {
		c.event(slog.LevelInfo, "no tls", errorAttr(err))
	}
}

// LoggedIn: the client has proved to be this mailbox.
func (c *Conn) LoggedIn(user string) {
	c.login = user
	c.event(slog.LevelInfo, "logged in", slog.String("login", clip(user)))
}

// LoginFailed: it has not, under this name; beyond the first ones of a connection they are counted.
func (c *Conn) LoginFailed(name string, rep reply.Reply, err error) {
	if c.logins.Add(1) > loginsPerConn {
		c.suppressed.Add(1)
		return
	}
	c.event(slog.LevelInfo, "login failed", slog.String("login", clip(name)), slog.String("reply", clip(rep.String())),
		errorAttr(err))
}

// Judged: what was found out about where a message comes from, step by step.
func (c *Conn) Judged(msg string, steps []string) {
	if len(steps) > 0 && c.enabled(slog.LevelInfo) {
		why := strings.Join(steps, "; ")
		if len(why) > maxWhy {
			why = why[:maxWhy] + "..."
		}
		c.event(slog.LevelInfo, "judged", slog.String("id", msg), slog.String("why", mailbox.Printable(why)))
	}
}

// Discarded: a filter has had the message accepted and thrown away.
func (c *Conn) Discarded(msg string, r routing.Route) {
	c.event(slog.LevelInfo, "discarded", slog.String("id", msg), to(r))
}
