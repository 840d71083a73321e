package queue

// rowBlock is how many numbers of messages are reserved at a time.
const rowBlock = 1 << 16

// numbers gives the numbers of messages and the tokens of leases. Neither is ever used twice, also by another process:
// the contents of one message would be taken for those of another, or an old lease for a new one.
type numbers struct {
	next, limit int64
	written     int64 // limit as it is on disk
	token       int64
}

// tokenBits is how many bits of a token count; those above are the epoch, which each process begins anew.
const tokenBits = 40

func newNumbers(epoch, next int64) numbers {
	return numbers{next: next, limit: next, written: next, token: epoch << tokenBits}
}

// settle: the transaction is on disk.
func (n *numbers) settle() { n.written = n.limit }

// undo: the transaction is not.
func (n *numbers) undo() { n.limit = min(n.limit, n.written) }

// row gives the number of a new message.
func (t *tx) row() (int64, error) {
	n := &t.numbers
	if n.next >= n.limit {
		limit := n.next + rowBlock
		if _, err := t.exec("UPDATE queue_state SET next_row = ?", limit); err != nil {
			return 0, err
		}
		n.limit = limit
	}
	n.next++
	return n.next - 1, nil
}

// lease gives a new token.
func (t *tx) lease() int64 {
	t.numbers.token++
	return t.numbers.token
}
