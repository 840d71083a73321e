// Package maildir keeps messages in Maildirs: one file per message, which a reader such as Dovecot sees in new/ only when
// it is complete.
package maildir
