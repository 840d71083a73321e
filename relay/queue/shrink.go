package queue

const (
	// sparePages stay in the database for the mail to come.
	sparePages = (32 << 20) / pageSize
	// movedPages is how much there may be in the database when it is written anew without what it does not need: others
	// wait for that. A full queue uses its spare pages sooner or later.
	movedPages = (32 << 20) / pageSize
	// calm is how many looks (see lookEvery) without anything to write make a writer that has nothing to do.
	calm = 20
)

// tidy gives the file system back what a surge has left behind, when there is nothing else to do, or when there is little
// room: a queue that once filled the disk would otherwise keep new mail out for ever. Databases that shrink by themselves
// (auto_vacuum) cost half as much again for every message.
func (w *writer) tidy() {
	if w.session == nil {
		return
	}
	room, short := w.space.room()
	if w.idle++; w.idle < calm && !short {
		return
	}
	spare := int64(sparePages)
	if short {
		spare /= 32
	}
	unused, _, err := w.session.integer("PRAGMA freelist_count")
	var pages int64
	if err == nil && unused > spare {
		pages, _, err = w.session.integer("PRAGMA page_count")
	}
	used := pages - unused
	if err == nil && unused > spare && used < movedPages && room > 3*used*pageSize {
		_, err = w.session.exec("VACUUM")
		w.copier.pages += used
		short = true
	}
	if err == nil && short && w.copier.pages > 0 {
		var whole bool
		if whole, err = w.session.checkpoint(checkpointTruncate); whole {
			w.copier.pages = 0
			w.space.log.Store(0)
		}
	}
	if err != nil {
		w.log.Warn("the queue cannot be made smaller", "path", w.path, "error", err)
		w.recover(err)
	}
}
