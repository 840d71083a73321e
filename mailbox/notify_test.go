package mailbox_test

import (
	"testing"

	"mxbypass/mailbox"
)

func TestNotify(t *testing.T) {
	for notify, want := range map[mailbox.Notify][3]bool{ // success, failure, delay
		0:                     {false, true, true}, // what RFC 3461 section 4.1 leaves to the server
		mailbox.NotifyNever:   {},
		mailbox.NotifySuccess: {true, false, false},
		mailbox.NotifyFailure: {false, true, false},
		mailbox.NotifyDelay:   {false, false, true},
		mailbox.NotifySuccess | mailbox.NotifyFailure | mailbox.NotifyDelay: {true, true, true},
	} {
		if got := [3]bool{notify.Success(), notify.Failure(), notify.Delay()}; got != want {
			t.Errorf("%b: success, failure, delay %v, want %v", notify, got, want)
		}
	}
}

func TestNotifyWithoutSuccess(t *testing.T) {
	for notify, want := range map[mailbox.Notify]mailbox.Notify{
		0:                     0,
		mailbox.NotifyNever:   mailbox.NotifyNever,
		mailbox.NotifyFailure: mailbox.NotifyFailure,
		mailbox.NotifySuccess: mailbox.NotifyNever,
		mailbox.NotifySuccess | mailbox.NotifyDelay: mailbox.NotifyDelay,
	} {
		if got := notify.WithoutSuccess(); got != want {
			t.Errorf("%b: %b, want %b", notify, got, want)
		}
	}
}
