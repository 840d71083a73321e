package dsn

// cause is what a status code means to people.
type cause struct {
	title string // in the subject, after "Not delivered: "
	why   string // where nobody gave a better reason
	todo  string // what the sender can do when it failed for good
}

// causes by subject and detail of the code (RFC 3463 section 3); the class does not matter, since what was temporary at
// first has failed for good when its time is over.
var causes = map[[2]int]cause{
	{1, 1}: {"no such address", "There is no mailbox of that name.",
		"Check the spelling of the address. If it is right, ask the recipient in another way which address to use now."},
	{1, 2}: {"no such domain", "The domain of the address, which is what follows the @, cannot be found.",
		"Check the spelling of what follows the @."},
	{1, 3}: {"not a valid address", "The other server does not take it for an address.",
		"Check the spelling of the address."},
	{1, 6}: {"the mailbox has moved", "The recipient has another address now.",
		"Ask the recipient in another way which address to use now."},
	{1, 10}: {"the domain takes no mail", "The domain of the address says that it receives no mail at all.",
		"Check the spelling of what follows the @, or ask the recipient in another way which address to use."},
	{2, 1}: {"the mailbox is not in use", "The mailbox is disabled, it takes no messages.",
		"Ask the recipient in another way which address to use."},
	{2, 2}: {"the mailbox is full", "The mailbox has no room for more messages.",
		"Tell the recipient in another way, and send the message again when there is room."},
	{2, 3}:  tooBig,
	{3, 4}:  tooBig,
	{4, 3}:  notFound,
	{4, 4}:  notFound,
	{4, 1}:  noAnswer,
	{4, 2}:  noAnswer,
	{4, 6}:  {"the mail goes in circles", "The servers hand the message to one another without end.", askPostmaster},
	{4, 7}:  {"it took too long", "It could not be delivered in the time that there is for it.", tryLater},
	{6, 3}:  cannotCarry,
	{6, 7}:  cannotCarry,
	{7, 10}: encryption,
}

// causesBySubject are for the details that have none of their own.
var causesBySubject = map[int]cause{
	1: {"the address is not accepted", "The other server does not accept the address.",
		"Check the spelling of the address."},
	2: {"the mailbox cannot take it", "The mailbox cannot take the message.",
		"Ask the recipient in another way which address to use."},
	3: {"trouble at the recipient's server", "The mail system of the recipient cannot take the message.", tryLater},
	4: noAnswer,
	5: {"the servers do not understand each other", "The servers could not agree on how to hand over the message.",
		askPostmaster},
	6: {"the content is not accepted", "The other server does not accept what is in the message.",
		"Change what the server complains of, where it says so, and send the message again."},
	7: {"refused by a rule", "The other server has a rule against this message.",
		"What the server said may tell which rule. " + askPostmaster},
}

const (
	tryLater      = "Send it again later, or reach the recipient in another way."
	askPostmaster = "Ask your postmaster, whose address is at the end, or reach the recipient in another way."
)

var (
	unknown = cause{"it was refused", "The message was refused.", askPostmaster}
	tooBig  = cause{"the message is too big", "The message is larger than the recipient's server accepts.",
		"Send it in a smaller form, for instance without attachments, or share the files in another way."}
	notFound = cause{"the way to the recipient is not known", "The server that takes mail for this address cannot be found.",
		"Check the spelling of what follows the @. If it is right, send the message again later."}
	noAnswer = cause{"no answer from the recipient's server", "The mail server of the recipient cannot be reached.",
		tryLater}
	cannotCarry = cause{"the recipient's server is too old for it",
		"The other server cannot take the letters that the message or an address is written in, and messages are not altered.",
		"Send it in plain letters (a to z), from and to an address that has no others."}
	encryption = cause{"the way is not encrypted",
		"The message may only travel encrypted, which the next server does not offer.",
		askPostmaster}
)

// because gives the cause of what became of r.
func because(r *Recipient) cause {
	s := r.status()
	if c, ok := causes[[2]int{s[1], s[2]}]; ok {
		return c
	}
	if c, ok := causesBySubject[s[1]]; ok {
		return c
	}
	if s[0] == 4 {
		return cause{"trouble on the way", "The message could not be handed over.", tryLater}
	}
	return unknown
}
