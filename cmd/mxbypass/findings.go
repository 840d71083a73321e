package main

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"mxbypass/configs"
	"mxbypass/mailbox/directory/file"
)

// findings are what was found out about a configuration: mistakes, with which it is not used, and warnings.
type findings struct {
	config   *configs.Config
	mistakes configs.Problems
	others   []error // mistakes that have a place in another file
	warnings configs.Problems
}

// wrong notes what is wrong with the value of a key: each of several errors by itself. Where the value was reported
// already, what follows from it is not told as well.
func (f *findings) wrong(key string, err error) {
	var inDirectory file.Problems
	var placed configs.Problems
	several := separate(err)
	switch {
	case err == nil:
	case len(several) > 0:
		for _, err := range several {
			f.wrong(key, err)
		}
	case errors.As(err, &placed):
		for _, p := range placed {
			if f.config.Sound(p.Key) {
				f.mistakes = append(f.mistakes, p)
			}
		}
	case !f.config.Sound(key):
	case errors.As(err, &inDirectory):
		f.others = append(f.others, inDirectory)
	default:
		f.mistakes = append(f.mistakes, f.config.Problem(key, "%s", strings.ReplaceAll(err.Error(), "\n", "; ")))
	}
}

// separate gives the errors that were joined, and nothing for an error that is one. One that has several causes is.
func separate(err error) []error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return nil
	}
	all := joined.Unwrap()
	lines := make([]string, len(all))
	for i, err := range all {
		lines[i] = err.Error()
	}
	if strings.Join(lines, "\n") != err.Error() {
		return nil
	}
	return all
}

// warn notes what may not be meant so, and can be used all the same.
func (f *findings) warn(key, format string, args ...any) {
	if f.config.Sound(key) {
		f.warnings = append(f.warnings, f.config.Problem(key, format, args...))
	}
}

// err has all mistakes, in the order of the file.
func (f *findings) err() error {
	var errs []error
	if len(f.mistakes) > 0 {
		f.mistakes.Sort()
		errs = append(errs, f.mistakes)
	}
	return errors.Join(append(errs, f.others...)...)
}

// warned gives the warnings, in the order of the file, as people read them beside mistakes.
func (f *findings) warned() []string {
	f.warnings.Sort()
	lines := make([]string, len(f.warnings))
	for i, p := range f.warnings {
		p.Text = "warning: " + p.Text
		lines[i] = p.Error()
	}
	return lines
}

// log says the warnings in the log of a relay.
func (f *findings) log(log *slog.Logger) {
	f.warnings.Sort()
	for _, p := range f.warnings {
		log.Warn(p.Text, "key", p.Key, "at", fmt.Sprintf("%s:%d", p.File, p.Line))
	}
}
