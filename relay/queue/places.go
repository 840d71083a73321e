package queue

import (
	"database/sql/driver"
	"math"
	"time"
)

const (
	// never is when nothing is to be done.
	never = math.MaxInt64
	// idleTurn is when a destination without waiting mail has its turn to be removed, or looked at again.
	idleTurn = time.Hour
	// maxPlaces bounds the destinations that the writer remembers.
	maxPlaces = 10_000
)

// place is what the writer remembers of a destination. Commands may have made it due earlier meanwhile, never later, and
// they do not remove it: what follows from old news is still true.
type place struct {
	due, until int64
	fate       *Destination // as it was read; it does not change
}

// places are the destinations that were used last.
type places map[string]*place

func (p places) forget() { clear(p) }

// forgetID: the row of a destination changes.
func (p places) forgetID(id int64) {
	for name, at := range p {
		if at.fate.ID == id {
			delete(p, name)
			return
		}
	}
}

const (
	destinationColumns = `id, name, due, until, failures, last_time, last_host, last_command, last_code, last_enhanced,
		last_text, last_tls`
	selectPlace = "SELECT " + destinationColumns + " FROM destination WHERE name = ?"
	insertPlace = "INSERT INTO destination (name, due, until, failures) VALUES (?, ?, 0, 0)"
	hastenPlace = `UPDATE destination SET due = max(until, ?2) WHERE id = ?1 AND due > max(until, ?2)`
)

// place gives the destination of a name. One that is new is due at due.
func (t *tx) place(name string, due int64) (*place, error) {
	if at := t.places[name]; at != nil {
		return at, nil
	}
	at, err := t.readPlace(name)
	if err == nil && at == nil {
		if _, err = t.exec(insertPlace, name, due); err == nil {
			at, err = t.readPlace(name)
		}
	}
	if err != nil {
		return nil, err
	}
	if len(t.places) >= maxPlaces {
		t.places.forget()
	}
	t.places[name] = at
	return at, nil
}

func (t *tx) readPlace(name string) (at *place, err error) {
	err = t.query(selectPlace, func(row []driver.Value) error {
		r := record{values: asAny(row)}
		fate, until := r.destination()
		at = &place{due: r.due, until: until, fate: fate}
		return nil // what is damaged in it is of no use, and does no harm
	}, name)
	return at, err
}

// hasten: there is something to do for the destination at due.
func (t *tx) hasten(at *place, due int64) error {
	want := max(at.until, due)
	if at.due <= want {
		return nil
	}
	if _, err := t.exec(hastenPlace, at.fate.ID, due); err != nil {
		return err
	}
	at.due = want
	return nil
}

const (
	earliest    = "SELECT due FROM recipient WHERE destination = ? AND state = 0 AND lease = 0 ORDER BY due LIMIT 1"
	anyLeased   = "SELECT 1 FROM recipient WHERE destination = ? AND lease <> 0 LIMIT 1"
	anyAside    = "SELECT 1 FROM recipient WHERE destination = ? AND state <> 0 LIMIT 1"
	setDue      = "UPDATE destination SET due = max(until, ?2) WHERE id = ?1"
	removePlace = "DELETE FROM destination WHERE id = ?"
)

// settle brings the time of a destination in line with its mail, and removes one that has none.
func (t *tx) settle(id, now int64) error {
	t.places.forgetID(id)
	due, some, err := t.integer(earliest, id)
	for _, question := range []struct {
		ask string
		due int64
	}{{anyLeased, now + idleTurn.Microseconds()}, {anyAside, never}} {
		if some || err != nil {
			break
		}
		due = question.due
		_, some, err = t.integer(question.ask, id)
	}
	switch {
	case err != nil:
		return err
	case some:
		_, err = t.exec(setDue, id, due)
	default:
		_, err = t.exec(removePlace, id)
	}
	return err
}
