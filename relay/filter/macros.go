package filter

import (
	"strconv"
	"strings"

	"github.com/d--j/go-milter"

	"mxbypass/mailbox"
)

// macros are what a filter is told beside the commands, by the names that Sendmail has given them.
type macros map[milter.MacroName]string

func newMacros(mta string, c Client) macros {
	m := macros{}
	name, _, address := c.peer()
	m.set(milter.MacroMTAFQDN, c.Hostname)
	m.set(milter.MacroMTAVersion, mta)
	m.set(milter.MacroDaemonName, c.Hostname) // as Postfix has it; filters sign their results with it
	m.set(milter.MacroClientName, name)
	m.set(milter.MacroClientPTR, c.Name)
	m.set(milter.MacroClientAddr, address)
	if c.Addr.IsValid() {
		m.set(milter.MacroClientPort, strconv.Itoa(int(c.Port)))
	}
	m.set(milter.MacroTlsVersion, c.TLSVersion)
	m.set(milter.MacroCipher, c.TLSCipher)
	if c.Login != "" {
		m.set(milter.MacroAuthAuthen, c.Login)
		m.set(milter.MacroAuthType, "PLAIN") // filters look whether there is one
	}
	m.set(milter.MacroQueueId, c.ID)
	return m
}

// Get implements [milter.Macros].
func (m macros) Get(name milter.MacroName) string { return m[name] }

// GetEx implements [milter.Macros].
func (m macros) GetEx(name milter.MacroName) (value string, ok bool) {
	value, ok = m[name]
	return value, ok
}

// set sets a macro that has a value. Zero octets would end it, and the next one would begin.
func (m macros) set(name milter.MacroName, value string) {
	if value = strings.ReplaceAll(value, "\x00", ""); value != "" {
		m[name] = value
	}
}

func (m macros) id(id string) { m.set(milter.MacroQueueId, id) }

func (m macros) mail(reverse mailbox.Address) {
	m[milter.MacroMailAddr] = reverse.Wire() // also when it is null
	m.set(milter.MacroMailHost, reverse.Domain.ASCII())
	m.set(milter.MacroMailMailer, "esmtp")
}

func (m macros) rcpt(to mailbox.Address) {
	m[milter.MacroRcptAddr] = to.Wire()
	m[milter.MacroRcptHost] = to.Domain.ASCII()
	m.set(milter.MacroRcptMailer, "esmtp")
}

// stages says which macros are sent with which command. The identifier comes early: filters want it for their log.
func stages() []milter.Option {
	return []milter.Option{
		milter.WithoutDefaultMacros(),
		milter.WithMacroRequest(milter.StageConnect, []milter.MacroName{milter.MacroMTAFQDN, milter.MacroMTAVersion,
			milter.MacroDaemonName, milter.MacroClientName, milter.MacroClientPTR, milter.MacroClientAddr,
			milter.MacroClientPort}),
		milter.WithMacroRequest(milter.StageHelo, []milter.MacroName{milter.MacroTlsVersion, milter.MacroCipher}),
		milter.WithMacroRequest(milter.StageMail, []milter.MacroName{milter.MacroQueueId, milter.MacroAuthType,
			milter.MacroAuthAuthen, milter.MacroMailMailer, milter.MacroMailHost, milter.MacroMailAddr}),
		milter.WithMacroRequest(milter.StageRcpt, []milter.MacroName{milter.MacroRcptMailer, milter.MacroRcptHost,
			milter.MacroRcptAddr}),
		milter.WithMacroRequest(milter.StageData, []milter.MacroName{milter.MacroQueueId}),
		milter.WithMacroRequest(milter.StageEOM, []milter.MacroName{milter.MacroQueueId}),
	}
}

// peer is the client in the words of the protocol: a name, which is the address in brackets when there is none, and the
// address itself.
func (c Client) peer() (name string, family milter.ProtoFamily, address string) {
	if !c.Addr.IsValid() {
		return "localhost", milter.FamilyUnknown, ""
	}
	a := c.Addr.Unmap().WithZone("")
	family = milter.FamilyInet
	if a.Is6() {
		family = milter.FamilyInet6
	}
	if name = c.Name; name == "" {
		name = "[" + a.String() + "]"
	}
	return name, family, a.String()
}

// original is the ESMTP argument that tells what the client wrote; empty when that is the mailbox.
func original(to mailbox.Address, written string) string {
	if written == "" || strings.EqualFold(written, to.Wire()) {
		return ""
	}
	var b strings.Builder
	b.WriteString("ORCPT=rfc822;")
	for _, c := range []byte(written) {
		if c <= ' ' || c >= 0x7f || c == '+' || c == '=' { // RFC 3461 section 4: xtext
			b.WriteString("+" + strings.ToUpper(strconv.FormatUint(uint64(c)+0x100, 16)[1:]))
			continue
		}
		b.WriteByte(c)
	}
	return b.String()
}
