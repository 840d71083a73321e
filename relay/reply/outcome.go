package reply

// Outcome is what became of one copy of a message.
type Outcome struct {
	// Err is why nobody has taken the responsibility for this copy. Nil: it is in its mailbox or in the queue, durably.
	Err    error
	Queued bool // it is in the queue
}
