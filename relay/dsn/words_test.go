package dsn

import "testing"

// TestSentence: words of ours become a sentence, and the name of a server stays a name.
func TestSentence(t *testing.T) {
	for s, want := range map[string]string{
		"there is no such mailbox":               "There is no such mailbox.",
		"The server said no!":                    "The server said no!",
		"ärger":                                  "ärger.",
		"x":                                      "X.",
		"null.example accepts no mail":           "null.example accepts no mail.",
		"mx.test[192.0.2.1]: connection refused": "mx.test[192.0.2.1]: connection refused.",
		"localhost[127.0.0.1]: connection refused": "localhost[127.0.0.1]: connection refused.",
	} {
		if got := sentence(s); got != want {
			t.Errorf("%q: %q", s, got)
		}
	}
}
