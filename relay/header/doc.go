// Package header reads and edits the header of a message, without a change to any octet that it was not told to change.
//
// A message on its way is a [mailbox.Content]: complete, unchanging, perhaps in a file. [Read] takes its header apart
// into fields as they stand, folds and all. What an edit gives is again a content: the new header, and the body of the
// old one, which is not copied. So what was judged, signed or filtered is what is delivered.
package header
