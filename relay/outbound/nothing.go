package outbound

import (
	"io"
	"strings"
)

// nothing is the content of a message that is never sent.
type nothing struct{}

// Size implements mailbox.Content.
func (nothing) Size() int64 { return 0 }

// Buffers implements mailbox.Content.
func (nothing) Buffers() [][]byte { return [][]byte{} }

// NewReader implements mailbox.Content.
func (nothing) NewReader() io.Reader { return strings.NewReader("") }
